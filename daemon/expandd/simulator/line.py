"""The line between the clients and the API: so many bytes per second each way, shared by all connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

_PIECE = 4096
"""Bytes after which another connection has its turn."""


class Line:
    """One direction of the line. `rate` tells bytes per second as they stand; 0 is no limit."""

    def __init__(self, rate: Callable[[], float]) -> None:
        self._rate = rate
        self._free = 0.0

    async def carry(self, body: bytes, cut: Callable[[], bool]) -> AsyncIterator[bytes]:
        """`body` in pieces, each once it has passed; what nobody waits for any more (`cut`) does not use the line."""
        passed = time.monotonic()
        step = _PIECE if self._rate() else len(body)
        for start in range(0, len(body), step or 1):
            piece, rate = body[start : start + step], self._rate()
            if rate and not cut():
                # After the piece before, not from now: what the loop is late by is no time of the line.
                passed = self._free = max(self._free, passed) + len(piece) / rate
                await asyncio.sleep(passed - time.monotonic())
            yield piece


def through(up: Line, down: Line, receive: Receive, send: Send, cut: Callable[[], bool]) -> tuple[Receive, Send]:
    """The two ends of one call, at the far end of the line."""

    async def received() -> Message:
        message = await receive()
        async for _ in up.carry(message.get("body", b""), cut):
            pass
        return message

    async def sent(message: Message) -> None:
        if not message.get("body"):
            await send(message)
            return
        left = len(message["body"])
        async for piece in down.carry(message["body"], cut):
            left -= len(piece)
            await send({**message, "body": piece, "more_body": bool(left) or message.get("more_body", False)})

    return received, sent
