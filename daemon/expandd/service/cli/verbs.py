"""Owns what all verbs share: options, and errors that a person can mend as sentences and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from expandd.domain.errors import ConfigurationError, ExpanddError, InstanceRunning
from expandd.service.exit_codes import ExitCode
from expandd.service.observability.journald import prefixed

P = ParamSpec("P")


class Name(click.Path):
    """What a file is called, completed as a path. click itself would ask its disk, which may hang."""

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
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
VERBOSE = click.option("--verbose", "-v", is_flag=True, help="Log every step.")


def told(command: Callable[P, int]) -> Callable[P, None]:
    """Turn the errors a person can mend into sentences on stderr and the exit codes of the table."""

    @wraps(command)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            sys.exit(command(*arguments, **options))
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

    return wrapper


def as_owner(command: Callable[P, int]) -> Callable[P, int]:
    """Called by root, the verb works as the user whom the state belongs to, so that the service can go on with it."""

    @wraps(command)
    def wrapper(*arguments: P.args, **options: P.kwargs) -> int:
        if os.geteuid() == 0 and isinstance(config := options["config"], Path):
            from expandd.service.cli.owner import act_as_owner  # noqa: PLC0415 - root alone waits for it

            act_as_owner(config)
        return command(*arguments, **options)

    return wrapper


def _complain(text: str) -> None:
    click.echo(prefixed(text, "error", os.environ), err=True)
