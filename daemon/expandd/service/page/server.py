"""Owns the HTTP server inside the daemon's loop: no signals, no ticks, and an end that no open connection delays."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator

import uvicorn
from starlette.types import ASGIApp

MOST_CONNECTIONS = 64
"""Beyond these a browser is told to come again."""
PATIENCE = 1
"""Seconds that open answers get to end when the page ends."""


async def serve_http(app: ASGIApp, listener: socket.socket, closing: Callable[[], None]) -> None:
    """Serve until cancelled. `closing` is called first then: it must end answers that have no end of their own."""
    config = uvicorn.Config(
        app,
        ws="none",
        http="h11",
        lifespan="off",
        # What goes wrong in an answer is logged where it happens; the server's own log knows no JSON.
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
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

    async def main_loop(self) -> None:
        # Uvicorn's own loop looks ten times a second whether to end.
        await self.over.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
