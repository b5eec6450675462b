"""`unit`: the systemd drop-in that opens the configured directories to the service and waits for their disks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from expandd.adapters.config.addresses import parse_address
from expandd.adapters.config.load import load_for_service
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.naming import printable
from expandd.domain.settings import Hook, HotFolder, Settings
from expandd.service.exit_codes import ExitCode

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= takes away."""

_PLAIN = re.compile(r"[\w/.,:@+=~-]+")
_UNIT_NAME = re.compile(rb"[A-Za-z0-9:_.]")


def show_unit(config: Path, instance: str, output: Path | None = None) -> int:
    """Print the drop-in, or write it to `output`, whole or not at all, and say what comes next."""
    text = "\n".join(drop_in(load_for_service(config), instance))
    if output is None:
        click.echo(text)
        return ExitCode.FINE
    try:
        _put(output, text + "\n")
    except OSError as error:
        click.echo(f"expandd: {printable(output)} cannot be written: {error.strerror}.", err=True)
        return ExitCode.USAGE
    click.echo(f"Written. Next: systemctl daemon-reload && systemctl restart {_unit_name(instance)}")
    return ExitCode.FINE


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # systemd reads only names that end in .conf.
    spare = path.with_name(f".{path.name}.new")
    spare.write_text(text, encoding="utf-8")
    spare.chmod(0o644)
    spare.replace(path)


def _unit_name(instance: str) -> str:
    return f"expandd@{instance}.service" if instance else "expandd.service"


def drop_in(settings: Settings, instance: str = "") -> Iterator[str]:
    """The lines of the drop-in for expandd.service, or for the named instance. Raises ConfigurationError."""
    _prove_nameable(_all_directories(settings))
    writable = _writable(settings, instance)
    homes = [path for path in writable if _is_home(path)]
    seen = [path for path in sorted(set(_only_read(settings))) if _is_home(path)]
    unit = _unit_name(instance)
    yield f"# Made by `expandd unit`. It belongs into /etc/systemd/system/{unit}.d/folders.conf; then:"
    yield "#   systemctl daemon-reload && systemctl restart " + unit
    yield ""
    yield "[Unit]"
    yield from _mounts(settings)
    yield ""
    yield "[Service]"
    yield "# All that the service may write, besides its state. What is missing expandd itself tells, and what to do."
    yield from (f"ReadWritePaths=-{quoted(path)}" for path in writable if path not in homes)
    yield "# Nothing that lies there is ever run as a program."
    yield from (f"NoExecPaths=-{quoted(path)}" for path in writable)
    yield from _run_from_there(settings, writable)
    yield from _listened(settings)
    if homes or seen:
        yield "# Of the home directories the service sees these alone."
        yield "ProtectHome=tmpfs"
        yield from (f"BindPaths={_bound(path)}" for path in homes)
        yield from (f"BindReadOnlyPaths={_bound(path)}" for path in seen)


def _run_from_there(settings: Settings, writable: Iterable[Path]) -> Iterator[str]:
    programs = sorted({path for path in _programs(settings) if any(path.is_relative_to(one) for one in writable)})
    if programs:
        yield "# But for these hooks, which the service itself may not change. Better put them where nobody writes."
    for path in programs:
        yield f"ExecPaths=-{quoted(path)}"
        yield f"ReadOnlyPaths=-{quoted(path)}"


def _listened(settings: Settings) -> Iterator[str]:
    address = parse_address(settings.page.listen) if settings.page else None
    if address and not address.path:
        yield "# The page listens there, and nothing else anywhere."
        yield "SocketBindAllow=tcp" + (f":{address.port}" if address.port else "")


def quoted(path: Path) -> str:
    """The path as a word of a unit file: quotes around what would end it, percent signs doubled."""
    text = str(path)
    if not _PLAIN.fullmatch(text):
        text = "'" + text.replace("'", "'\"'\"'") + "'"
    return text.replace("%", "%%")


def mount_unit(path: Path) -> str:
    """The name of the unit that mounts `path`, as systemd-escape makes it."""
    raw = str(path).strip("/").encode()
    escaped = "".join(_escaped(raw[at : at + 1], first=at == 0) for at in range(len(raw)))
    return f"{escaped or '-'}.mount"


def _escaped(byte: bytes, *, first: bool) -> str:
    if byte == b"/":
        return "-"
    plain = _UNIT_NAME.fullmatch(byte) and not (first and byte == b".")
    return byte.decode() if plain else f"\\x{byte[0]:02x}"


def _bound(path: Path) -> str:
    """The path as BindPaths= reads it: split at colons too, and with backslashes that escape."""
    escaped = re.sub(r'([\\"])', r"\\\1", str(path))
    return f'"-{escaped}"'.replace("%", "%%")


def _mounts(settings: Settings) -> Iterator[str]:
    waits = sorted({folder.require_mount for folder in settings.folders if folder.require_mount})
    needed = [path for folder in settings.folders if not folder.require_mount for path in folder.directories]
    yield "# These disks are mounted before the service starts; without them it does not start."
    for path in _outermost([settings.state_dir, *_spool(settings), *needed]):
        yield f"RequiresMountsFor={quoted(path)}"
    if waits:
        yield "# With `require_mount` a folder waits by itself: its disk is tried first, and may come and go."
    for path in waits:
        yield f"Wants={mount_unit(path)}"
        yield f"After={mount_unit(path)}"


def _writable(settings: Settings, instance: str) -> list[Path]:
    paths = [path for folder in settings.folders for path in _opened(folder)]
    if settings.state_dir != Settings().state_dir / instance:
        paths.append(settings.state_dir)
    return _outermost([*paths, *_spool(settings), *_reporting_paths(settings)])


def _spool(settings: Settings) -> list[Path]:
    """The one on the share, where there is one; a host's own lies in its state directory."""
    return [settings.cluster.spool] if settings.cluster.spool else []


def _reporting_paths(settings: Settings) -> Iterator[Path]:
    """The directories in which the metrics file and the page's socket are made anew."""
    if settings.metrics_file:
        yield settings.metrics_file.parent
    if settings.page and (socket := parse_address(settings.page.listen).path):
        yield socket.parent


def _only_read(settings: Settings) -> Iterator[Path]:
    """The files that hooks, the page and the cluster are made of."""
    yield from _programs(settings)
    if settings.cluster.database_file:
        yield settings.cluster.database_file
    yield from (hook.secret_file for hook in _hooks(settings) if hook.secret_file)
    if settings.page and settings.page.password_file:
        yield settings.page.password_file


def _programs(settings: Settings) -> Iterator[Path]:
    yield from (Path(hook.command[0]) for hook in _hooks(settings) if hook.command)


def _hooks(settings: Settings) -> Iterator[Hook]:
    hooks = settings.hooks
    yield from (hook for hook in (hooks.on_done, hooks.on_error, hooks.on_paused) if hook)


def _opened(folder: HotFolder) -> Iterable[Path]:
    """The directory around all four where there is one of their own: then they can also be made anew.

    It also keeps them on one mount, so that an original is renamed into `done` and not copied.
    """
    parents = {path.parent for path in folder.directories}
    around = parents.pop()
    own = not parents and len(around.parts) > 2 and around not in HOMES  # noqa: PLR2004 - the root and a name in it
    return (around,) if own else folder.directories


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Each once, and none that lies inside another."""
    kept: list[Path] = []
    for path in sorted(paths):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def _is_home(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in HOMES)


def _all_directories(settings: Settings) -> Iterator[Path]:
    yield settings.state_dir
    yield from _spool(settings)
    yield from _reporting_paths(settings)
    yield from _only_read(settings)
    for folder in settings.folders:
        yield from folder.directories
        if folder.require_mount:
            yield folder.require_mount


def _prove_nameable(paths: Iterable[Path]) -> None:
    """Unit files are lines of UTF-8."""
    bad = sorted({path for path in paths if not _nameable(str(path))})
    if bad:
        raise ConfigurationError(tuple(_unnameable(path) for path in bad))


def _nameable(text: str) -> bool:
    return not any(sign < " " or sign == "\x7f" or "\ud800" <= sign <= "\udfff" for sign in text)


def _unnameable(path: Path) -> Problem:
    return Problem(
        where="the configuration",
        path="folders",
        expected="directories that a unit file can name: UTF-8, without line breaks or control characters",
        found=printable(path),
        hint="Rename that directory, or mount or link it under another name.",
    )
