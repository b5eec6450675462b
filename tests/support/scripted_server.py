"""A server that answers exactly what a test scripted, byte for byte, and keeps exactly what it was sent."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came over the wire. `connection` numbers the sockets from 1."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes
    connection: int

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Say:
    """Send these bytes; hang up afterwards if `close`."""

    data: bytes
    close: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Send these bytes, then tear the connection down with a RST."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Hang:
    """Send these bytes, then nothing, and keep the connection open."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Drip:
    """Send `data`, then `piece` again and again, `gap` seconds apart, for ever."""

    data: bytes
    piece: bytes = b"x"
    gap: float = 0.02


@dataclass(frozen=True, slots=True)
class After:
    """Wait for `event`, then do `step`."""

    event: asyncio.Event
    step: Say | Reset


Step = Say | Reset | Hang | Drip | After


def answer_timeout(step: Step | None) -> float:
    """Seconds a client waits for an answer: few where `step` never ends, many where a busy machine may be late."""
    return 1.0 if isinstance(step, Hang | Drip) else 20.0


def answer(status: int, body: bytes = b"", *, headers: dict[str, str] | None = None, close: bool = False) -> Say:
    """A whole answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return Say("\r\n".join(lines).encode() + b"\r\n\r\n" + body, close)


def answer_json(value: Any, status: int = 200, *, headers: dict[str, str] | None = None) -> Say:
    typed = {"Content-Type": "application/json"} | (headers or {})
    return answer(status, json.dumps(value).encode(), headers=typed)


class ScriptedServer:
    """Answers each "METHOD /path" with its steps in turn; the last one stays. Anything else gets a 599."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.bytes_in = 0
        self.arrived = asyncio.Event()
        self.hooks: list[Callable[[Seen], None]] = []
        self._steps: defaultdict[str, deque[Step]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, route: str, *steps: Step) -> None:
        self._steps[route] = deque(steps)

    def requests(self, route: str) -> list[Seen]:
        return [seen for seen in self.seen if f"{seen.method} {seen.target}" == route]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer, number):
                    pass
        except asyncio.CancelledError:
            pass  # the end of the test; asyncio would report a handler that was cancelled
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        seen = await self._read(reader, number)
        if seen is None:
            return False
        self.seen.append(seen)
        for hook in self.hooks:
            hook(seen)
        self.arrived.set()
        return await self._do(self._next(seen), reader, writer)

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Seen | None:
        first = await reader.read(1)
        self.bytes_in += len(first)
        if not first:
            return None
        head = first + await reader.readuntil(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
        body = await reader.readexactly(int(dict(headers).get("content-length", "0")))
        method, target, _ = request_line.split(" ")
        return Seen(method=method, target=target, headers=headers, body=body, raw=head + body, connection=number)

    def _next(self, seen: Seen) -> Step:
        steps = self._steps[f"{seen.method} {seen.target}"]
        if not steps:
            return answer(599, b"not scripted")
        return steps.popleft() if len(steps) > 1 else steps[0]

    async def _do(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        match step:
            case After(event, inner):
                await event.wait()
                return await self._do(inner, reader, writer)
            case Say(data, close):
                writer.write(data)
                await writer.drain()
                return not close
            case Reset(data):
                await self._reset(data, writer)
            case Hang(data):
                writer.write(data)
                await reader.read()
            case Drip():
                await self._drip(step, writer)
        return False

    async def _reset(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _drip(self, step: Drip, writer: asyncio.StreamWriter) -> None:
        writer.write(step.data)
        while True:
            writer.write(step.piece)
            await writer.drain()
            await asyncio.sleep(step.gap)
