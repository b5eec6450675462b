"""What asyncio reports by itself is a line of the log, and a storm of it is one line."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import socket
from typing import Any

from expandd.service.observability.logs import set_up
from expandd.service.runtime.daemon import LoopErrors


async def test_connections_that_cannot_be_accepted_are_told_once_and_served_later() -> None:
    told = io.StringIO()
    loop = asyncio.get_running_loop()
    errors, heard, served = LoopErrors(set_up(told, pretty=False)), asyncio.Event(), asyncio.Event()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors(loop, context)
        heard.set()

    loop.set_exception_handler(handle)

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_connection(server.sockets[0].getsockname()):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            await asyncio.wait_for(heard.wait(), 30)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        await asyncio.wait_for(served.wait(), 30)
    server.close()
    lines = [json.loads(line) for line in told.getvalue().splitlines()]

    assert [line["event"] for line in lines] == ["loop.error"]
    assert "Too many open files" in lines[0]["why"]


def test_a_callback_that_raised_is_told_with_its_trace() -> None:
    told = io.StringIO()
    loop = asyncio.new_event_loop()
    handler = LoopErrors(set_up(told, pretty=False))
    for _ in range(3):
        handler(loop, {"message": "Exception in callback", "exception": ValueError("unforeseen")})
    loop.close()
    [line] = [json.loads(line) for line in told.getvalue().splitlines()]

    assert line["event"] == "bug.found"
    assert line["exception"][0]["exc_type"] == "ValueError"
