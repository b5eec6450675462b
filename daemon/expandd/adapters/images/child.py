"""Owns one decoding child process as its daemon sees it: starting, asking, resting, ending."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from expandd.adapters.images.process import Answer, Request, parse_answer
from expandd.domain.errors import Later

# The signals by which a decoder dies of its file. Others speak of the machine: SIGKILL comes from a person or
# from a lack of memory, SIGBUS from a file that shrank while it was read.
_BY_FILE = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGXCPU, signal.SIGSYS})

MOST_ANSWER = 1 << 21
"""Bytes of one line. The longest holds a thumbnail."""


class ChildDied(Exception):
    """The child ended without an answer. `by_file`: in a way that its file can cause."""

    def __init__(self, how: str, *, by_file: bool) -> None:
        super().__init__(how)
        self.by_file = by_file


class Child:
    """A running child. It takes one request at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._answers = process.stdout
        self._rest: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, program: Sequence[str]) -> Child:
        """A new child: Python with `program` as its arguments. Raises Later when none can be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # No site, no user site, no current directory: a few ms, and nothing comes in by them.
                *("-S", "-s", "-P"),
                *program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MOST_ANSWER,
                env=_environment(),
                # Its own group: Ctrl-C on a terminal goes to the daemon alone.
                process_group=0,
            )
        except OSError as error:
            raise Later(f"No process could be started to decode it: {error.strerror}.") from error
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, request: Request, seconds: float) -> Answer:
        """The answer. Raises ChildDied when there is none, Later after `seconds`: then kill the child."""
        self._wake()
        try:
            async with asyncio.timeout(seconds):
                line = await self._exchanged(request.line())
        except TimeoutError as error:
            raise Later(f"It was not decoded within {seconds:g} s.") from error
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

    async def _exchanged(self, line: bytes) -> bytes:
        try:
            self._requests.write(line)
            await self._requests.drain()
        except ConnectionError:
            return b""
        return await self._answers.readline()


def _death(code: int) -> ChildDied:
    if code >= 0:
        return ChildDied(f"it ended with code {code}", by_file=False)
    return ChildDied(f"it died of {signal.Signals(-code).name}", by_file=-code in _BY_FILE)


def _environment() -> dict[str, str]:
    """What a child needs to find our code and Pillow: none of the daemon's secrets."""
    homes = [_home("expandd"), _home("PIL")]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(homes)), "LC_ALL": "C.UTF-8"}


def _home(package: str) -> str:
    """The directory that holds `package`, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise Later(f"The package {package} is not installed.")
    return str(Path(spec.origin).parent.parent)
