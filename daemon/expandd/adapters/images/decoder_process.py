"""Starts, asks and ends one decoder process, interprets its death, and shares the processes out by mount.

The files of a disk that does not answer never occupy all decoders: some are left for the files of other mounts.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self

from expandd.adapters.images.decoder_program import Answer, Ready, Request, parse_answer, parse_ready
from expandd.adapters.processes import Process, Start, open_pipe, python_command, start_here
from expandd.domain.errors import DecoderAway, Later, ReaderDied

PATIENCE = 5.0
"""Seconds between two checks of a child that waits for a disk; one without progress is given up."""

SPARE = 2
"""Places that are kept free of the files of any single mount."""


class Share:
    """The places of one mount's files. A process that its disk holds keeps its place until it has ended."""

    def __init__(self, most: int, patience: float = PATIENCE) -> None:
        self._most = most
        self._patience = patience
        self._taken = 0
        self._held = 0
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[set[asyncio.Task[None]]]:
        """A place, kept beyond the block until the tasks put into the set are done.

        Raises Later where each process of these places waits for a disk that does not answer.
        """
        while self._taken == self._most:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._changed.wait()
                continue
            if self._held == self._most:
                raise Later("It cannot be read just now: its disk does not answer.")
        self._taken += 1
        ends: set[asyncio.Task[None]] = set()
        try:
            yield ends
        finally:
            self._held += 1
            if ends:
                asyncio.gather(*ends, return_exceptions=True).add_done_callback(self._admission)
            else:
                self._admission()

    def _admission(self, _: object = None) -> None:
        self._held -= 1
        self._taken -= 1
        self._changed.set()


# The signals by which a file kills its decoder. Others come from the machine: SIGKILL from a person or from a
# lack of memory, SIGBUS from a file that shrank while it was read.
_BY_FILE = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS})

MOST_ANSWER = 1 << 21
"""Bytes of the longest line, an answer with a thumbnail."""

START = 60.0
"""Seconds within which a child must be ready, also on a busy machine."""

END = 2.0
"""Seconds for a child that did not become ready to end by itself, so that the error can name its exit code."""


class ChildDied(Exception):
    """The child ended without an answer; `by_file` where its file may be the cause."""

    def __init__(self, how: str, *, by_file: bool) -> None:
        super().__init__(how)
        self.by_file = by_file


class OutOfTime(Exception):
    """The child has used up its processor time."""


class Child:
    """A running child. It takes one request at a time."""

    def __init__(self, process: Process, requests: socket.socket, answers: asyncio.StreamReader) -> None:
        self._process = process
        self._requests = requests
        self._answers = answers
        self._rest: asyncio.TimerHandle | None = None
        self.ready = Ready(())

    @classmethod
    async def start(cls, program: Sequence[str], python: str = sys.executable, start: Start = start_here) -> Self:
        """A new child, ready: `python` with `program` as its arguments. Raises DecoderAway when it does not start."""
        child = await cls._started(program, python, start)
        try:
            await child.be_ready()
        except (TimeoutError, ValueError, KeyError, TypeError) as error:
            how = await child.ended()
            raise DecoderAway(f"The program that decodes images ({python}) does not start: {how}.") from error
        except BaseException:
            child.kill()
            raise
        return child

    @classmethod
    async def _started(cls, program: Sequence[str], python: str, start: Start) -> Self:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            try:
                requests, input_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                ours.enter_context(requests)
                theirs.enter_context(input_end)
                answers, reading, output_end = await open_pipe(MOST_ANSWER)
                ours.callback(reading.close)
                theirs.enter_context(output_end)
                files = input_end.fileno(), output_end.fileno()
                process = await start(python_command(python, program, _homes(), *files))
            except OSError as error:
                what = f"The program that decodes images ({python}) cannot be started"
                raise DecoderAway(f"{what}: {error.strerror}.") from error
            ours.pop_all()
        return cls(process, requests, answers)

    async def be_ready(self) -> None:
        """Wait for the first line of the child. Raises TimeoutError or ValueError."""
        async with asyncio.timeout(START):
            self.ready = parse_ready(await self._answers.readline())

    async def ended(self) -> str:
        """How a child that did not become ready has ended; kills one that still runs."""
        self._requests.close()
        try:
            async with asyncio.timeout(END):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            return "it gives no usable answer"
        return f"it ended with code {code}" if code >= 0 else f"it died of {signal.Signals(-code).name}"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, request: Request, files: Sequence[int], seconds: float) -> Answer:
        """The answer. Raises ChildDied or OutOfTime when there is none, ReaderDied or Later after `seconds`.

        After each of these the caller must kill the child.
        """
        self._wake()
        try:
            line = await self._within(seconds, self._exchanged(request.line(), files))
        except ValueError as error:
            raise ChildDied("its answer has no end", by_file=True) from error
        if not line.endswith(b"\n"):
            raise _death(await self._process.wait())
        try:
            return parse_answer(line)
        except (ValueError, KeyError, TypeError) as error:
            raise ChildDied("it answered nonsense", by_file=True) from error

    def rest(self, seconds: float, retire: Callable[[Child], None]) -> None:
        """Call `retire` unless the child is asked again within `seconds`."""
        self._rest = asyncio.get_running_loop().call_later(seconds, retire, self)

    async def end(self) -> None:
        """Let the child run out of input, and wait for its end."""
        self._wake()
        self._requests.close()
        await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def _wake(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    async def _exchanged(self, line: bytes, files: Sequence[int]) -> bytes:
        try:
            # One small message at a time: the socket has room for it, nothing waits.
            socket.send_fds(self._requests, [line], list(files))
        except ConnectionError:
            return b""
        return await self._answers.readline()

    async def _within(self, seconds: float, exchange: Coroutine[Any, Any, bytes]) -> bytes:
        """The line that the child writes. A child that waits for a disk is not at fault, and neither is its file."""
        reading, before = asyncio.ensure_future(exchange), ""
        try:
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                done, _ = await asyncio.wait({reading}, timeout=min(left, PATIENCE))
                if done:
                    return reading.result()
                now = self._wait_for_disk()
                if now and now == before:
                    raise Later("It cannot be read just now: its disk does not answer.")
                before = now
        finally:
            reading.cancel()
        message = f"It was not decoded within {seconds:g} s."
        raise Later(message) if before else ReaderDied(message)

    def _wait_for_disk(self) -> str:
        """A text that changes with each progress while the kernel blocks the child on a disk; "" while it does not."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text("ascii", "replace")
        except OSError:
            return ""
        return status[status.find("voluntary_ctxt_switches") :] if "\nState:\tD" in status else ""


def _death(code: int) -> ChildDied | OutOfTime:
    if code >= 0:
        return ChildDied(f"it ended with code {code}", by_file=False)
    if -code == signal.SIGXCPU:
        return OutOfTime("it used up its time")
    return ChildDied(f"it died of {signal.Signals(-code).name}", by_file=-code in _BY_FILE)


def _homes() -> list[str]:
    """The directories of our code and its libraries."""
    return list(dict.fromkeys(_home(package) for package in ("expandd", "PIL", "pi_heif")))


def _home(package: str) -> str:
    """The directory that holds `package`, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DecoderAway(f"The package {package} is not installed.")
    return str(Path(spec.origin).parent.parent)
