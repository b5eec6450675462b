"""Owns the HTTP server inside the daemon's loop: no signals, no ticks, and an end that no open connection delays."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from expandd.service.page.connections import Connection, Limits

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
    """Uvicorn that leaves the signals to the daemon and sleeps until it is told to end."""

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
