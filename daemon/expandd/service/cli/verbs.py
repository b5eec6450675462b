"""Shared parts of all commands: options, completion, errors as sentences and exit codes, the state's owner."""

# ruff: noqa: PLC0415 - the configuration is read only when a name of it is to be completed, traces when there are any

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from expandd.domain.errors import ConfigurationError, ExpanddError, InstanceRunning
from expandd.domain.naming import printable
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.observability.log_writer import prefixed

VARIABLE = "_EXPANDD_COMPLETE"


class Shell(Enum):
    """The shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script(command: click.Command, shell: Shell) -> str:
    """The script by which the shell completes expandd's verbs, options and names."""
    completion = get_completion_class(shell.value)
    assert completion is not None, "click knows the three"
    return completion(command, {}, "expandd", VARIABLE).source()


def presets(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The presets of the configuration that begin with `incomplete`."""
    settings = _settings(context)
    names = sorted(settings.presets) if settings else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def inboxes(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The inboxes of the configuration that begin with `incomplete`."""
    settings = _settings(context)
    names = [printable(folder.inbox) for folder in settings.folders] if settings else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _settings(context: click.Context) -> Settings | None:
    """The configuration, or None when it has errors, which completion does not show."""
    from expandd.adapters.config.load import load

    config = context.params.get("config") or os.environ.get("EXPANDD_CONFIG") or "/etc/expandd/config.yaml"
    try:
        return load(Path(config))
    except ExpanddError:
        return None


class Name(click.Path):
    """A file name, completed as a path. click's own type would ask its disk, which may hang."""

    def convert(self, value: str | os.PathLike[str], *_: object) -> str | bytes | os.PathLike[str]:
        return value


CONFIG = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/etc/expandd/config.yaml"),
    show_default=True,
    envvar="EXPANDD_CONFIG",
    show_envvar=True,
    help="The configuration file.",
)


def _instance(_: click.Context, __: click.Parameter, value: str) -> str:
    """A valid instance name for %i in unit files."""
    if not re.fullmatch(r"[A-Za-z0-9:_.-]*", value) or value.startswith("."):
        raise click.BadParameter(
            f"An instance's name has letters, digits, - and _ alone; this is “{printable(value)}”."
        )
    return value


INSTANCE = click.option("--instance", default="", metavar="NAME", callback=_instance, help="For expandd@NAME.service.")
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
VERBOSE = click.option("--verbose", "-v", is_flag=True, help="Log every step.")


def command(
    *options: Callable[[Any], Any], group: click.Group | None = None, name: str | None = None, by_owner: bool = False
) -> Callable[[Callable[..., int]], click.Command]:
    """A command with these options and arguments, of `group` where there is one.

    Errors that a person can correct become sentences on stderr and the exit codes of the table. `by_owner`: called by
    root, the command runs as the owner of the state, so that the service can use its files; other users get an error
    that names the owner.
    """

    def made(function: Callable[..., int]) -> click.Command:
        @wraps(function)
        def run(*arguments: Any, **given: Any) -> None:
            with _errors_as_sentences():
                if by_owner:
                    act_as_owner(given["config"])
                sys.exit(function(*arguments, **given))

        for option in reversed(options):
            run = option(run)
        return (group.command if group else click.command)(name)(run)

    return made


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """Turn errors into sentences and exit codes."""
    try:
        yield
    except ConfigurationError as error:
        for problem in error.problems:
            _complain(str(problem))
        sys.exit(ExitCode.CONFIGURATION)
    except InstanceRunning as error:
        _complain(f"expandd: {error}")
        sys.exit(ExitCode.RUNNING_ALREADY)
    except ExpanddError as error:
        _complain(f"expandd: {error}")
        sys.exit(ExitCode.OUR_FAULT)
    except BrokenPipeError:
        # The reader of the output has gone, such as `head`; click ends that in silence.
        raise
    except OSError as error:
        _complain(f"expandd: {_of_system(error)}")
        sys.exit(ExitCode.OUR_FAULT)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:  # noqa: BLE001 - no trace is ever shown to a person
        _complain(f"expandd: this is a fault of expandd's own ({_in_brief(error)}). {_kept(error)}")
        sys.exit(ExitCode.OUR_FAULT)


def _of_system(error: OSError) -> str:
    """An error of the system as a sentence."""
    what, why = printable(error.filename or "this cannot be done"), error.strerror or str(error)
    may_not = isinstance(error, PermissionError)
    return f"{what}: {why}." + (" Run it as root, or as the user that expandd runs as." if may_not else "")


def _in_brief(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}")[:300]


def _kept(error: Exception) -> str:
    """Save the trace of the error; returns a sentence that names its file."""
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="expandd-trace-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return "Please report it."
    return f"Please report it, with the file {file.name}."


def _complain(text: str) -> None:
    click.echo(prefixed(text, "error", os.environ), err=True)


UMASK = 0o007
"""The unit's umask, so that new files also belong to people's group."""


def act_as_owner(config: Path) -> None:
    """Drop root's rights permanently when the state directory of `config` is another user's.

    The service could neither read nor replace root's files there. Without a state directory nothing changes.

    Raises ConfigurationError when `config` cannot be read, ExpanddError for a user who may not read that directory.
    """
    from expandd.adapters.config.load import state_dir_of

    directory = state_dir_of(config)
    try:
        owner = pwd.getpwuid(directory.stat().st_uid) if directory else None
    except (OSError, KeyError):
        return
    if directory is None or owner is None or owner.pw_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        if not os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
            raise ExpanddError(
                f"The state directory {printable(directory)} belongs to the user {owner.pw_name}, and no one else may "
                "look into it. Run this as root, or as that user."
            )
        return
    os.initgroups(owner.pw_name, owner.pw_gid)
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.umask(UMASK)
