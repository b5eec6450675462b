"""`install` and `uninstall`: what makes expandd a systemd service, as a list of commands, each done where it is due."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

import expandd
from expandd.adapters.config.folder_rules import is_directory
from expandd.adapters.config.load import load_for_service, settings_in, settings_of
from expandd.domain.errors import ConfigurationError
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder, Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.runtime.unit import HOMES, drop_in

USER = "expandd"
PREFIX = Path("/opt/expandd")
"""The path of the program in the units."""
UNITS = Path("/etc/systemd/system")
SERVICES = (UNITS / "expandd.service", UNITS / "expandd@.service")
LINK = Path("/usr/local/bin/expandd")
SYSUSERS = Path("/etc/sysusers.d/expandd.conf")
TMPFILES = Path("/etc/tmpfiles.d/expandd.conf")


EXAMPLE = "config.example.yaml"


def shipped(name: str) -> Path:
    """A file of systemd/, or the example of the configuration: in an installed package, or in a checkout."""
    package = Path(expandd.__file__).parent
    if (package / "shipped").is_dir():
        return package / "shipped" / name
    root = package.parents[1]
    return root / name if name == EXAMPLE else root / "systemd" / name


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and whether what it does is so already. `given` is its stdin; it is never shown."""

    command: tuple[str, ...]
    done: Callable[[], bool] = lambda: False
    given: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """The one service, or an instance by its name."""

    name: str = ""

    @property
    def unit(self) -> str:
        return f"expandd@{self.name}.service" if self.name else "expandd.service"

    @property
    def config(self) -> Path:
        return Path(f"/etc/expandd/{self.name or 'config'}.yaml")

    @property
    def login(self) -> Path:
        return Path("/etc/expandd", f"{self.name}.piktid" if self.name else "piktid")

    @property
    def folders(self) -> Path:
        return UNITS / f"{self.unit}.d" / "folders.conf"

    @property
    def has_login(self) -> bool:
        """Whether there is one, in the open or sealed."""
        return self.login.with_name(f"{self.login.name}.cred").exists() or any(
            line.strip() and not line.lstrip().startswith("#") for line in _text(self.login).splitlines()
        )


def run_install(name: str, *, dry_run: bool) -> int:
    """Install the service, or bring it up to date, and start it. What is so already is left alone."""
    service = Service(name)
    if not dry_run:
        _prove_here()
    # Not root's own umask: people and the service must reach what is made.
    os.umask(0o022)
    ask = not dry_run and sys.stdin.isatty() and not service.has_login
    if not _carry_out(_put_down(service, _asked() if ask else ""), dry_run=dry_run):
        return ExitCode.OUR_FAULT
    # From here on the configuration is there: its folders are made, and opened to the service.
    if not _carry_out(_opened(service), dry_run=dry_run):
        return ExitCode.OUR_FAULT
    if not dry_run and not service.has_login:
        click.echo(
            f"Not started yet: write PIKTID_EMAIL=… and PIKTID_PASSWORD=…, each on a line, into {service.login}. "
            f"Look at {service.config} too. Then run this again."
        )
        return ExitCode.CONFIGURATION
    if not _carry_out(_started(service), dry_run=dry_run):
        click.echo(f"It does not start: journalctl -u {service.unit} -e says why.", err=True)
        return ExitCode.OUR_FAULT
    if not dry_run:
        click.echo(f"{service.unit} runs: {_shown(service.unit, 'StatusText')['StatusText']}")
        for folder in load_for_service(service.config).folders:
            click.echo(f"Drop images into {printable(folder.inbox)}; results come to {printable(folder.outbox)}.")
        click.echo(f"People who drop and fetch: usermod -aG {USER} NAME")
    return ExitCode.FINE


def run_uninstall(name: str, *, dry_run: bool) -> int:
    """Stop the service and remove it. Data stays, and its paths are named."""
    service = Service(name)
    others = [] if name else sorted(path.name.removesuffix(".d") for path in UNITS.glob("expandd@?*.service.d"))
    if others:
        click.echo(
            f"They use the same program: {', '.join(others)}. Remove them first: expandd uninstall --instance NAME.",
            err=True,
        )
        return ExitCode.USAGE
    if not dry_run:
        _prove_root()
    left = list(_left(service))
    if not _carry_out(_removed(service), dry_run=dry_run):
        return ExitCode.OUR_FAULT
    click.echo("What is left is yours, and the user expandd, whose it is:" if left else "Nothing is left.")
    for what, path in left:
        click.echo(f"  {printable(path)}  {what}")
    return ExitCode.FINE


def _carry_out(steps: Iterator[Step], *, dry_run: bool) -> bool:
    """Show each command that is due and, unless it is a dry run, run it. False where one failed, which is said."""
    for step in steps:
        if step.done():
            continue
        click.echo(shlex.join(step.command))
        if dry_run:
            continue
        try:
            # Errors go to stderr; successes and next steps are printed here.
            ended = subprocess.run(  # noqa: S603 - a command that is shown
                step.command, input=step.given, text=True, stdout=subprocess.DEVNULL, check=False
            ).returncode
        except OSError as error:
            click.echo(f"expandd: {step.command[0]} cannot be run: {error.strerror}.", err=True)
            return False
        if ended:
            click.echo(f"expandd: that command failed ({ended}). Mend it, then run this again.", err=True)
            return False
    return True


def _put_down(service: Service, login: str) -> Iterator[Step]:
    yield _copied("expandd.sysusers", SYSUSERS)
    yield Step(("systemd-sysusers", str(SYSUSERS)), _has_user)
    yield _copied("expandd.tmpfiles", TMPFILES)
    made = Path("/etc/expandd"), Path("/var/lib/expandd")
    yield Step(("systemd-tmpfiles", "--create", str(TMPFILES)), lambda: all(path.is_dir() for path in made))
    for unit in SERVICES:
        yield _copied(unit.name, unit)
    example = "/dev/stdin" if service.name else str(shipped(EXAMPLE))
    yield Step(("install", "-m", "644", example, str(service.config)), service.config.exists, _example(service))
    empty = "# PIKTID_EMAIL=you@example.com\n# PIKTID_PASSWORD=secret\n"
    there = service.login.exists if not login else lambda: False
    yield Step(
        ("install", "-m", "600", "/dev/stdin", str(service.login)),
        lambda: there() or service.has_login,
        given=login or empty,
    )
    yield Step(
        ("ln", "-sfn", str(PREFIX / "bin/expandd"), str(LINK)),
        lambda: LINK.is_symlink() and LINK.readlink() == PREFIX / "bin/expandd",
    )


def _example(service: Service) -> str:
    """The example of the configuration, with paths of its own for an instance."""
    text = _text(shipped(EXAMPLE))
    if service.name:
        text = text.replace("/var/lib/expandd", f"/var/lib/expandd/{service.name}")
        text = text.replace("/srv/expand/", f"/srv/expand/{service.name}/")
    return text


def _opened(service: Service) -> Iterator[Step]:
    settings = _settings(service)
    yield from _made([folder for folder in settings.folders if _is_there(folder)])
    if spool := settings.cluster.spool:
        yield Step(("install", "-d", "-m", "700", "-o", USER, "-g", USER, str(spool)), partial(is_directory, spool))
    unit = (str(PREFIX / "bin/expandd"), "unit", "--config", str(service.config), "--output", str(service.folders))
    yield Step((*unit, *(("--instance", service.name) if service.name else ())), lambda: _is_opened(service))
    loaded = {"NeedDaemonReload": "no"}
    yield Step(("systemctl", "daemon-reload"), lambda: _shown(service.unit, *loaded) == loaded)


def _started(service: Service) -> Iterator[Step]:
    enabled = {"UnitFileState": "enabled"}
    yield Step(("systemctl", "enable", service.unit), lambda: _shown(service.unit, *enabled) == enabled)
    # One restart for all that has changed: nothing is lost by it, and nothing is paid twice.
    yield Step(("systemctl", "restart", service.unit), lambda: _runs_as_it_is(service))


def _removed(service: Service) -> Iterator[Step]:
    gone = _shown(service.unit, "ActiveState", "UnitFileState")
    yield Step(
        ("systemctl", "disable", "--now", service.unit),
        lambda: gone.get("ActiveState") in {"inactive", None} and gone.get("UnitFileState") in {"", "disabled", None},
    )
    shared = () if service.name else (*SERVICES, SYSUSERS, TMPFILES, LINK)
    for path in (service.folders.parent, *shared):
        yield Step(("rm", "-r", str(path)), partial(_is_gone, path))
    yield Step(("systemctl", "daemon-reload"))
    if not service.name:
        # Last: what runs just now lies there.
        yield Step(("rm", "-r", str(PREFIX)), partial(_is_gone, PREFIX))


def _is_gone(path: Path) -> bool:
    return not os.path.lexists(path)


def _left(service: Service) -> Iterator[tuple[str, Path]]:
    try:
        settings = _settings(service)
    except ConfigurationError:
        settings = Settings()
    told = [
        ("the configuration", service.config),
        ("the login", service.login),
        ("the job database, and what is paid for and not delivered yet", settings.state_dir),
        *(("images", path) for folder in settings.folders for path in folder.directories),
    ]
    yield from ((what, path) for what, path in told if path.exists())


def _is_there(folder: HotFolder) -> bool:
    """Whether its disk is mounted: below an empty mount point nothing is made."""
    return folder.require_mount is None or folder.require_mount.is_mount()


def _made(folders: Sequence[HotFolder]) -> Iterator[Step]:
    """The four directories of each, as systemd/README.md (Permissions) says, where there are none."""
    made = [path for folder in folders for path in folder.directories]
    inboxes = [folder.inbox for folder in folders]
    for around in dict.fromkeys(path.parent for path in made):
        yield Step(("install", "-d", "-m", "755", str(around)), partial(is_directory, around))
    for path in made:
        # Sticky: people can rename neither each other's files nor the work folder.
        mode = "3770" if path in inboxes else "2770"
        yield Step(("install", "-d", "-m", mode, "-o", USER, "-g", USER, str(path)), partial(is_directory, path))


def _copied(name: str, target: Path) -> Step:
    source = shipped(name)
    return Step(("install", "-D", "-m", "644", str(source), str(target)), lambda: _text(source) == _text(target))


def _settings(service: Service) -> Settings:
    """The configuration, even if directories are missing; before there is one, the one that will be written."""
    if service.config.exists():
        return settings_of(service.config)
    return settings_in(_example(service).encode(), service.config.parent)


def _is_opened(service: Service) -> bool:
    try:
        return _text(service.folders) == "\n".join(drop_in(load_for_service(service.config), service.name)) + "\n"
    except ConfigurationError:
        # The command names what is wrong.
        return False


def _runs_as_it_is(service: Service) -> bool:
    """Whether it runs, and nothing that it is made of is younger than its start."""
    found = _shown(service.unit, "ActiveState", "ActiveEnterTimestamp")
    if found.get("ActiveState") != "active":
        return False
    made_of = (SERVICES[bool(service.name)], service.folders, service.config, service.login, Path(expandd.__file__))
    return int(found["ActiveEnterTimestamp"].lstrip("@")) >= max(
        int(path.stat().st_mtime) for path in made_of if path.exists()
    )


def _shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit; none where systemd does not answer."""
    command = ("systemctl", "show", unit, "--timestamp=unix", *(f"--property={name}" for name in names))
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - put together here
    except OSError:
        return {}
    return dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)


def _has_user() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _asked() -> str:
    """The login, as a person types it; "" where they leave that for later."""
    email = click.prompt("E-mail address at PiktID (empty: later, or tokens)", default="", show_default=False)
    if not email:
        return ""
    password = click.prompt("Password", hide_input=True)
    return f"PIKTID_EMAIL={email}\nPIKTID_PASSWORD={password}\n"


def _prove_root() -> None:
    if os.geteuid() != 0:
        raise click.UsageError("Run this as root; --dry-run shows what it would do.")


def _prove_here() -> None:
    """Refuse a program that the service could not run."""
    _prove_root()
    if not Path("/run/systemd/system").is_dir():
        raise click.UsageError("systemd does not run here. Without it, see `expandd run --help`.")
    python = Path(sys.executable).resolve()
    if Path(sys.prefix) != PREFIX or any(python.is_relative_to(home) for home in HOMES):
        raise click.UsageError(
            f"The service runs {PREFIX}/bin/expandd, with a Python outside of home directories. Make that first: "
            f"/usr/bin/python3 -m venv {PREFIX} && {PREFIX}/bin/pip install …, then {PREFIX}/bin/expandd install."
        )
