"""Runs the command of a hook, or posts to its web address."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from expandd.adapters.api.links import LinkRefusedError, LinkRule, host_of
from expandd.adapters.processes import Command, Process, Start, open_pipe, start_here
from expandd.domain.events import Facts, HookFailed
from expandd.domain.naming import printable
from expandd.domain.settings import Hook

KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""All that a command has of our own environment: the login of the service may stand in the rest."""

MOST_OUTPUT = 4096
"""Bytes that are kept of what it writes."""

MOST_LINES = 10
CHUNK = 1 << 16
LINGERING = 0.2
"""Seconds for which the output of a command that has ended is read, when something that it left behind holds it."""


async def run_command(
    hook: Hook, facts: Facts, environ: Mapping[str, str] = os.environ, start: Start = start_here
) -> tuple[str, ...]:
    """Run it to its end; returns the first lines of what it wrote.

    The facts are in its environment and, as one line of JSON, on its standard input. Raises HookFailed when it cannot
    be started, ends with another code than 0, or takes longer than the hook's time-out: then its whole process group is
    killed.
    """
    try:
        code, output = await _run(hook, facts, _environment(environ, facts), start)
    except OSError as error:
        raise HookFailed(f"{_named(hook)} cannot be started: {os.strerror(error.errno or 0)}.") from error
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise HookFailed(f"{_named(hook)} {how}.", output=output)
    return output


async def _run(hook: Hook, facts: Facts, environ: Mapping[str, str], start: Start) -> tuple[int, tuple[str, ...]]:
    """Its exit code, or the signal that ended it as a negative number, and its first lines."""
    with _standard_input(facts.json) as stdin:
        async with _output() as (said, stdout):
            with stdout:
                output = stdout.fileno()
                command = Command(argv=hook.command, env=environ, stdin=stdin.fileno(), stdout=output, stderr=output)
                process = await _begun(start(command), hook.timeout)
            return await _ended(process, hook.timeout, said), await said.lines()


async def _begun(starting: Awaitable[Process], seconds: float) -> Process:
    try:
        async with asyncio.timeout(seconds):
            return await starting
    except TimeoutError as error:
        raise HookFailed("It does not begin: its disk does not answer. See to that disk.") from error


def _named(hook: Hook) -> str:
    return printable(Path(hook.command[0]).name)


@contextmanager
def _standard_input(text: bytes) -> Iterator[IO[bytes]]:
    """A file in memory, not a pipe: a command that does not read it breaks nothing."""
    with os.fdopen(os.memfd_create("facts"), "w+b") as file:
        # A whole line: `read` of a shell calls anything else the end of its input.
        file.write(text + b"\n")
        file.seek(0)
        yield file


class _Said:
    """What comes out of a pipe: its beginning is kept, the rest read all the same, so that nobody waits to write."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._kept = bytearray()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while chunk := await self._reader.read(CHUNK):
            self._kept += chunk[: MOST_OUTPUT - len(self._kept)]

    async def lines(self) -> tuple[str, ...]:
        """The first lines, once the pipe is closed or has been quiet for a moment."""
        await asyncio.wait({self._reading}, timeout=LINGERING)
        text = bytes(self._kept).decode("utf-8", "backslashreplace")
        return tuple(printable(line.rstrip()) for line in text.splitlines() if line.strip())[:MOST_LINES]

    def close(self) -> None:
        self._reading.cancel()


@asynccontextmanager
async def _output() -> AsyncIterator[tuple[_Said, IO[bytes]]]:
    """Where a command's output is read, and where it is written to, which the caller closes.

    A pipe of our own: asyncio's would wait for whatever a command leaves running in the background.
    """
    reader, transport, stdout = await open_pipe()
    said = _Said(reader)
    try:
        yield said, stdout
    finally:
        said.close()
        transport.close()


def _environment(environ: Mapping[str, str], facts: Facts) -> dict[str, str]:
    kept = {name: environ[name] for name in KEPT if name in environ}
    return {**kept, **dict(facts.environ)}


async def _ended(process: Process, seconds: float, said: _Said) -> int:
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError as error:
        await _killed(process)
        why = f"It had not ended after {seconds:g} s; it and all that it started were killed."
        raise HookFailed(why, output=await said.lines()) from error
    except asyncio.CancelledError:
        await _killed(process)
        raise


async def _killed(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


SIGNATURE = "X-Expandd-Signature"
TIMESTAMP = "X-Expandd-Timestamp"
EVENT = "X-Expandd-Event"

MOST_SECRET = 1 << 16

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


async def post(hook: Hook, facts: Facts, now: float) -> None:
    """POST the facts as JSON, signed at `now` (seconds since the epoch) with the secret as its file holds it now.

    Raises HookFailed: `again` when the network failed, or the server may take it later.
    """
    from expandd.adapters.api.http import TransportError  # noqa: PLC0415 - long to load, and few hooks post

    headers = {"Content-Type": "application/json", EVENT: facts.event, TIMESTAMP: str(int(now))}
    secret = await asyncio.to_thread(_secret, hook)
    if secret:
        headers[SIGNATURE] = signature(secret, headers[TIMESTAMP], facts.json)
    host = host_of(hook.url)
    try:
        status = await _status(hook, facts.json, headers)
    except TransportError as error:
        raise HookFailed(f"{error}.", again=True) from error
    except TimeoutError as error:
        raise HookFailed(f"{host} gave no answer within {hook.timeout:g} s.", again=True) from error
    except LinkRefusedError as error:
        raise HookFailed(f"The address of {host} is none that can be called.") from error
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        again = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER
        raise HookFailed(f"{host} answered with status {status}.", again=again)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What the receiver computes too: sha256=, then in hex the HMAC of the timestamp, a dot and the body."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _secret(hook: Hook) -> bytes:
    """The secret without white space around it; nothing when no file is named."""
    if hook.secret_file is None:
        return b""
    try:
        with hook.secret_file.open("rb") as file:
            secret = file.read(MOST_SECRET).strip()
    except OSError as error:
        raise HookFailed(f"The secret_file cannot be read: {os.strerror(error.errno or 0)}.", again=True) from error
    if not secret:
        raise HookFailed("The secret_file is empty: nothing is sent without a signature.", again=True)
    return secret


async def _status(hook: Hook, body: bytes, headers: dict[str, str]) -> int:
    from expandd.adapters.api.http import Http  # noqa: PLC0415 - as above

    parts = urlsplit(hook.url)
    path = parts._replace(scheme="", netloc="").geturl()
    base = f"{parts.scheme}://{parts.netloc}"
    async with (
        asyncio.timeout(hook.timeout),
        Http(base, timeout=hook.timeout, connections=1, rule=LinkRule(relaxed=False)) as http,
    ):
        # A connection of its own: one that is kept may be dead, and events are rare.
        return (await http.send("POST", path, headers=headers, body=body, once=True)).status
