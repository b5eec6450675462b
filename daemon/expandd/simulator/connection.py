"""The TCP connection under a request: cutting it, and waiting while the client is still there."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# On with a time of zero: close() sends a reset instead of an orderly end.
_LINGER_RESET = struct.pack("ii", 1, 0)


class DroppedError(Exception):
    """The connection was cut; there is nobody left to answer. The text is the status to count."""


def reset(request: Request, status: str = "reset") -> DroppedError:
    """Cut the connection by a TCP reset; returns the error to raise, since no answer can follow."""
    transport = _transport(request)
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        transport.abort()
    return DroppedError(status)


def close(request: Request) -> DroppedError:
    """End the connection after what has been written is sent, in order but too early."""
    _transport(request).close()
    return DroppedError("reset")


def is_cut(request: Request) -> bool:
    """Whether the connection has ended or is about to."""
    return _transport(request).is_closing()


def _transport(request: Request) -> asyncio.Transport:
    connection: Any = request.state.connection
    transport: asyncio.Transport = connection.transport
    return transport


async def pause(seconds: float, closing: asyncio.Event, receive: Receive) -> bool:
    """Wait so long, but no longer than the client and the server stay. Returns whether both still do.

    The request's body must have been read before.
    """
    waits = [asyncio.create_task(closing.wait()), asyncio.create_task(gone(receive))]
    _, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return len(pending) == len(waits)


async def gone(receive: Receive) -> None:
    """Wait until the connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Chunks(Response):
    """An answer sent piece by piece, whose pieces may cut the connection. It never reads from the client.

    That is why Starlette's own streaming is not used: it listens for the client's end, as `pause` does.
    """

    def __init__(self, chunks: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(media_type=media_type, headers=headers)
        self._chunks = chunks
        if "Content-Length" not in headers:
            del self.headers["Content-Length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
