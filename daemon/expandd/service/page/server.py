"""The HTTP server of the page: its socket, its connections and their limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import stat
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from expandd.adapters.config.addresses import Address, parse_address
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.naming import printable
from expandd.domain.settings import PageSettings

MODE = 0o660
"""Of a unix socket: the service's user and group, such as that of a web server in front."""
BACKLOG = 64


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


MOST = 128
FEWEST = 8
SHARE = 8
"""Of the process's descriptors the page takes at most this part: the others are the work's."""

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n"
    b"connection: close\r\n\r\nToo many look at once. Load the page again later.\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many connections may be open, and for how many seconds each may be silent in which state."""

    most: int = MOST
    receiving: float = 10.0
    """For a whole request, from the connection's beginning or the request's first byte."""
    idle: float = 15.0
    """Between an answer and the next request."""
    reading: float = 20.0
    """For a browser that reads nothing of an answer that has not all been sent."""


def limits_here() -> Limits:
    """The limits for this process: where it may open few files, few connections."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = descriptors == resource.RLIM_INFINITY
    return Limits(most=MOST if unlimited else max(FEWEST, min(MOST, descriptors // SHARE)))


class Connection(H11Protocol):
    """One connection. Where there are too many, the one that has kept the page waiting longest makes room."""

    def __init__(self, *, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._receiving: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._silent = True
        """Whether no byte of a request has come since the beginning or the last answer."""
        self.since = 0.0
        """When it began to wait for a request, in the loop's time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own stub is narrower
        super().connection_made(transport)
        self._wait_for_request(self._limits.receiving)
        if len(self.connections) > self._limits.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        if self._silent:
            self._silent = False
            self._wait_for_request(self._limits.receiving)
        super().data_received(data)
        if self._answering:
            _cancel(self._receiving)

    def on_response_complete(self) -> None:
        self._silent = True
        # An answer that is not read to its end ends here too: closing waits for its last byte.
        self._wait_for_request(self._limits.idle)
        super().on_response_complete()
        if self._answering:
            _cancel(self._receiving)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self._limits.reading, self.drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._reading)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._receiving)
        _cancel(self._reading)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def drop(self) -> None:
        """End it at once, whatever was not sent yet."""
        self.connections.discard(self)
        self.transport.abort()

    @property
    def peer(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def waits(self) -> bool:
        """Whether the page waits for the browser, not the browser for the page."""
        return not self._answering or self.flow.write_paused

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _wait_for_request(self, seconds: float) -> None:
        _cancel(self._receiving)
        self.since = self.loop.time()
        self._receiving = self.loop.call_later(seconds, self.drop)

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        waiting = longest_waiting(others)
        if waiting is not None:
            waiting.drop()
            return
        self.transport.write(BUSY)
        self.connections.discard(self)
        self.transport.close()


def longest_waiting(connections: Collection[Connection]) -> Connection | None:
    """Of the peer with the most connections that wait, the one that waits longest."""
    waiting = [one for one in connections if one.waits]
    of_peer = Counter(one.peer for one in waiting)
    return max(waiting, key=lambda one: (of_peer[one.peer], -one.since), default=None)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


AT_ONCE = 8
"""Connections that are taken before what came on earlier ones is looked at."""
QUEUE = 128
"""Connections that wait in the kernel to be taken."""
PATIENCE = 1
"""Seconds that open answers get to end when the page ends."""
LONGEST_HEAD = 16 << 10
"""Bytes of a request's line and headers."""


async def serve_http(app: ASGIApp, listener: socket.socket, closing: Callable[[], None], limits: Limits) -> None:
    """Serve until cancelled. `closing` is called first then: it must end answers that have no end of their own."""
    config = uvicorn.Config(
        app,
        ws="none",
        http=cast("type[asyncio.Protocol]", partial(Connection, limits=limits)),
        lifespan="off",
        # What goes wrong in an answer is logged where it happens; the server's own log knows no JSON.
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=AT_ONCE,
        h11_max_incomplete_event_size=LONGEST_HEAD,
        timeout_graceful_shutdown=PATIENCE,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        closing()
        server.over.set()
        with contextlib.suppress(Exception):
            await serving


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals to the daemon and sleeps until it must end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.over = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # For asyncio one figure is both: how many wait in the kernel, and how many of them are taken at once.
        for listener in sockets or ():
            listener.listen(QUEUE)

    async def main_loop(self) -> None:
        # Uvicorn's own loop looks ten times a second whether to end.
        await self.over.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
