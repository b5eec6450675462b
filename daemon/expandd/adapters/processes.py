"""Starts programs: by a process that holds no file of any share, once files of shares may be open here.

A new process first lets go of each file that was open in the one it was started from. Where one of them is on a share
that hangs, that never ends, and the process that starts it stands still meanwhile, with all its threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from expandd.adapters.bulkheads import starting_threads
from expandd.adapters.starter_program import MOST_MESSAGE, PROGRAM, Asked

PATIENCE = 60.0
"""Seconds within which a program begins, unless its disk hangs."""

END = 2.0
"""Seconds within which the starter ends when it is let go of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments, all of its environment, and the descriptors that it reads and writes.

    It gets a process group of its own.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: int
    stdout: int
    stderr: int = 2
    cwd: str = "/"


def python_command(python: str, program: Sequence[str], homes: Sequence[str], stdin: int, stdout: int) -> Command:
    """`python` with `program`, whose modules lie in `homes`: none of the daemon's secrets are in its environment."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    env = kept | {"PYTHONPATH": os.pathsep.join(homes), "LC_ALL": "C.UTF-8"}
    # No site, no user site, no current directory: a few ms, and nothing comes in by them.
    return Command(argv=(python, "-S", "-s", "-P", *program), env=env, stdin=stdin, stdout=stdout)


async def open_pipe(limit: int = 1 << 16) -> tuple[asyncio.StreamReader, asyncio.ReadTransport, IO[bytes]]:
    """What reads a new process, what to close to stop that, and where the process writes, which is closed once it runs.

    Lines of up to `limit` bytes can be read. Raises OSError.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    ours, theirs = os.fdopen(read, "rb", buffering=0), os.fdopen(write, "wb", buffering=0)
    try:
        reader = asyncio.StreamReader(limit)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), ours
        )
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return reader, transport, theirs


class Process(Protocol):
    """A program that was started; `returncode` as in `subprocess`, None while it runs."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def kill(self) -> None:
        """While it runs."""


class Start(Protocol):
    """Starts a program. Raises OSError."""

    def __call__(self, command: Command) -> Awaitable[Process]: ...


async def start_here(command: Command) -> Process:
    """Start a program from this process, before any file of a share is open."""
    # On Python 3.11 each process is waited for in a thread.
    with starting_threads():
        return await asyncio.create_subprocess_exec(
            *command.argv,
            env=command.env,
            stdin=command.stdin,
            stdout=command.stdout,
            stderr=command.stderr,
            cwd=command.cwd,
            process_group=0,
        )


class _Started:
    """A program that the starter has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self.ended.result() if self.ended.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def kill(self) -> None:
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class ProcessStarter:
    """Starts programs here until `begin`, and from then on by a process of its own, within `patience` seconds each."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._starter: Process | None = None
        self._requests: socket.socket | None = None
        self._begun = False
        self._beginning = asyncio.Lock()
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[_Started]] = {}
        self._running: dict[int, _Started] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process that starts others; all that it has started is killed."""
        starter = self._starter
        self._lose(OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN)))
        if starter is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END):
                    await starter.wait()

    @property
    def pid(self) -> int | None:
        """The process that starts others, once there is one."""
        return None if self._starter is None else self._starter.pid

    async def begin(self) -> None:
        """Start the process that starts all others. Where it cannot be had now, each `start` tries again."""
        self._begun = True
        with contextlib.suppress(OSError):
            await self._connected()

    async def start(self, command: Command) -> Process:
        """Start a program. Raises OSError."""
        if not self._begun:
            return await start_here(command)
        requests = await self._connected()
        number = next(self._numbers)
        answer: asyncio.Future[_Started] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        asked = Asked(number=number, argv=[*command.argv], env={**command.env}, cwd=command.cwd)
        try:
            files = [command.stdin, command.stdout, command.stderr]
            socket.send_fds(requests, [json.dumps(asked).encode("ascii")], files)
            async with asyncio.timeout(self._patience):
                return await answer
        except TimeoutError as error:
            raise TimeoutError(errno.ETIMEDOUT, f"it had not begun after {self._patience:g} s") from error
        finally:
            del self._asked[number]

    async def _connected(self) -> socket.socket:
        """Where the starter is asked; one that has died is replaced. Raises OSError."""
        async with self._beginning:
            if self._requests is None:
                self._requests, self._starter = await _starter()
                asyncio.get_running_loop().add_reader(self._requests.fileno(), self._hear)
            return self._requests

    def _hear(self) -> None:
        assert self._requests is not None, "it is heard of nothing else"
        try:
            message = self._requests.recv(MOST_MESSAGE)
        except BlockingIOError:
            return
        except ConnectionError:
            message = b""
        if message:
            self._take(json.loads(message))
        else:
            self._lose(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))

    def _take(self, told: dict[str, int]) -> None:
        if "ended" in told:
            self._running.pop(told["ended"]).ended.set_result(told["code"])
            return
        answer = self._asked.get(told["number"])
        is_awaited = answer is not None and not answer.done()
        if "pid" in told:
            started = self._running[told["pid"]] = _Started(told["pid"])
            if answer is not None and is_awaited:
                answer.set_result(started)
            else:
                started.kill()
        elif answer is not None and is_awaited:
            answer.set_exception(OSError(told["errno"], os.strerror(told["errno"])))

    def _lose(self, why: OSError) -> None:
        """There is no starter any more: nobody hears of what it has started, nor of what it was asked for."""
        if self._requests is not None:
            asyncio.get_running_loop().remove_reader(self._requests.fileno())
            self._requests.close()
        self._requests = self._starter = None
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(why)
        for started in self._running.values():
            started.kill()
            started.ended.set_result(-signal.SIGKILL)
        self._running.clear()


async def _starter() -> tuple[socket.socket, Process]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            ours.setblocking(False)
            homes = [str(Path(__file__).parents[2])]
            return ours, await start_here(python_command(sys.executable, PROGRAM, homes, theirs.fileno(), 2))
        except BaseException:
            ours.close()
            raise
