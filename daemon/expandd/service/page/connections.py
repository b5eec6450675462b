"""Bounds what connections to the page may cost: how many are open, and how long each may keep the page waiting."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
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
