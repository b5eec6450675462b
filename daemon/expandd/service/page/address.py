"""Owns where the page listens: the address as configured, and the socket that is bound to it before any work begins."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.naming import printable
from expandd.domain.settings import PageSettings

UNIX = "unix:"
MODE = 0o660
"""Of a unix socket: the service's user and group, such as that of a web server in front."""
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{UNIX}{printable(self.path)}"
        return f"http://[{self.host}]:{self.port}/" if ":" in self.host else f"http://{self.host}:{self.port}/"

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.path is not None or is_loopback(self.host)


def parse_address(listen: str) -> Address:
    """The address of "HOST:PORT", "[IPV6]:PORT" or "unix:/path". Raises ValueError for anything else."""
    if listen.startswith(UNIX):
        path = Path(listen.removeprefix(UNIX))
        if not path.is_absolute():
            raise ValueError("the path of a unix socket must begin with /")
        return Address(path=path)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("an address is HOST:PORT")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class AddressTaken(ConfigurationError):
    """The address cannot be listened on now; later it may be."""


@contextmanager
def bound(page: PageSettings, config: Path) -> Iterator[tuple[Address, socket.socket]]:
    """The address, with the port that was taken for port 0, and a listening socket.

    Raises AddressTaken when it cannot be bound, ConfigurationError when it never may be: when it is no address, or
    reaches beyond this machine without a password.
    """
    try:
        address = _permitted(page)
    except ValueError as error:
        raise ConfigurationError((_problem(page, config, error),)) from error
    try:
        listener = _unix(address.path) if address.path is not None else _tcp(address)
    except (OSError, ValueError, OverflowError) as error:
        raise AddressTaken((_problem(page, config, error),)) from error
    mine = _identity(address.path)
    try:
        if address.path is None:
            address = Address(address.host, listener.getsockname()[1])
        yield address, listener
    finally:
        listener.close()
        # Another run may have put its own there meanwhile.
        if address.path is not None and mine is not None and _identity(address.path) == mine:
            address.path.unlink(missing_ok=True)


def _permitted(page: PageSettings) -> Address:
    address = parse_address(page.listen)
    if not address.local and page.password_file is None:
        raise ValueError("beyond this machine it needs page.password_file")
    return address


def _problem(page: PageSettings, config: Path, error: Exception) -> Problem:
    why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return Problem(
        where=printable(config),
        path="page.listen",
        expected="an address that the page can listen on",
        found=f"{printable(page.listen)}: {why.lower() if why.isascii() else why}",
        hint="Choose another port or path, or end what listens there; without `page:` there is no page.",
    )


def _tcp(address: Address) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, name = found[0]
    # With its protocol named, asyncio sends small answers at once; without, each waits 40 ms for the browser.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(name)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _unix(path: Path) -> socket.socket:
    """A socket at `path`, of MODE from its first instant; one left by a run that is over is replaced."""
    _refuse_what_lives(path)
    ours = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        ours.unlink(missing_ok=True)
        listener.bind(os.fspath(ours))
        ours.chmod(MODE)
        listener.listen(BACKLOG)
        ours.replace(path)
    except BaseException:
        ours.unlink(missing_ok=True)
        listener.close()
        raise
    return listener


def _refuse_what_lives(path: Path) -> None:
    """Raise ValueError unless nothing, or a socket that nobody listens on, is at `path`."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ValueError("something that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return
    raise ValueError("another program listens there")


def _identity(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    with contextlib.suppress(OSError):
        found = path.lstat()
        return found.st_dev, found.st_ino
    return None
