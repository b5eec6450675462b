"""The pool of decoder processes: started when needed, asked, and ended when idle or stuck.

The pool is our own. pebble (5.2, tried) kills and replaces workers well, but hands over pickled values: an open file
needs a socket that the worker opens itself, which the walls around it forbid (see `sandbox`), and its workers inherit
the daemon's environment, with the login. The pools of the standard library have no time-outs besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import os
import signal
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from expandd.adapters.bulkheads import Run, in_thread, one_mount, starting_threads
from expandd.adapters.images.opening import NewFile, OpenFile, open_plainly, opened
from expandd.adapters.images.process import (
    Answer,
    AsItIs,
    NotNow,
    Ready,
    Request,
    Task,
    Thumbnail,
    parse_answer,
    parse_ready,
)
from expandd.adapters.images.sandbox import Wall
from expandd.adapters.images.shares import PATIENCE, SPARE, Share
from expandd.domain.errors import DecoderAway, Fault, FaultCode, FileFault, Later, LookTooLong, ReaderDied
from expandd.domain.finishing import Finishing
from expandd.domain.image import Finding, ImageFormat, Prepared, Unfinished, Unfit, Whole

# The signals by which a decoder dies of its file. Others speak of the machine: SIGKILL comes from a person or
# from a lack of memory, SIGBUS from a file that shrank while it was read.
_BY_FILE = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGSYS})

MOST_ANSWER = 1 << 21
"""Bytes of one line. The longest holds a thumbnail."""

START = 60.0
"""Seconds within which a child must be ready, also on a machine that has much else to do."""

END = 2.0
"""Seconds for a child that did not become ready to end by itself, so that it can be said how."""


class ChildDied(Exception):
    """The child ended without an answer. `by_file`: in a way that its file can cause."""

    def __init__(self, how: str, *, by_file: bool) -> None:
        super().__init__(how)
        self.by_file = by_file


class OutOfTime(Exception):
    """The child has used up the processor time that it was given."""


class Child:
    """A running child. It takes one request at a time."""

    def __init__(self, process: asyncio.subprocess.Process, requests: socket.socket) -> None:
        assert process.stdout is not None
        self._process = process
        self._requests = requests
        self._answers = process.stdout
        self._rest: asyncio.TimerHandle | None = None
        self.ready = Ready(())

    @classmethod
    async def start(cls, program: Sequence[str], python: str = sys.executable) -> Self:
        """A new child, ready: `python` with `program` as its arguments. Raises DecoderAway when none can be had."""
        child = await cls._started(program, python)
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
    async def _started(cls, program: Sequence[str], python: str) -> Self:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            raise DecoderAway(f"No process can be started to decode images: {error.strerror}.") from error
        with theirs:
            try:
                process = await _process(program, python, theirs)
            except OSError as error:
                ours.close()
                raise DecoderAway(
                    f"The program that decodes images ({python}) cannot be started: {error.strerror}."
                ) from error
            except BaseException:
                ours.close()
                raise
        return cls(process, ours)

    async def be_ready(self) -> None:
        """Wait for the first line of the child. Raises TimeoutError, ValueError, KeyError or TypeError."""
        async with asyncio.timeout(START):
            self.ready = parse_ready(await self._answers.readline())

    async def ended(self) -> str:
        """How a child that did not become ready has ended; one that has not is killed."""
        self._requests.close()
        try:
            async with asyncio.timeout(END):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            return "it says nothing of use"
        return f"it ended with code {code}" if code >= 0 else f"it died of {signal.Signals(-code).name}"

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, request: Request, files: Sequence[int], seconds: float) -> Answer:
        """The answer. Raises ChildDied or OutOfTime when there is none, ReaderDied or Later after `seconds`.

        The child must be killed then.
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
        """What the child writes. One that waits for a disk, and gets nowhere, is not to blame, and nor is its file."""
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
        """What changes whenever it gets anywhere, while the kernel holds it for a disk; "" while it does not."""
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


async def _process(program: Sequence[str], python: str, requests: socket.socket) -> asyncio.subprocess.Process:
    # On Python 3.11 each process is waited for in a thread.
    with starting_threads():
        return await asyncio.create_subprocess_exec(
            python,
            # No site, no user site, no current directory: a few ms, and nothing comes in by them.
            *("-S", "-s", "-P"),
            *program,
            stdin=requests.fileno(),
            stdout=asyncio.subprocess.PIPE,
            limit=MOST_ANSWER,
            env=_environment(),
            # Its own group: Ctrl-C on a terminal goes to the daemon alone.
            process_group=0,
        )


def _environment() -> dict[str, str]:
    """What a child needs to find our code and Pillow: none of the daemon's secrets."""
    homes = [_home("expandd"), _home("PIL")]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(homes)), "LC_ALL": "C.UTF-8"}


def _home(package: str) -> str:
    """The directory that holds `package`, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DecoderAway(f"The package {package} is not installed.")
    return str(Path(spec.origin).parent.parent)


_AGAIN = "Open it in an image editor, export it again as JPEG, PNG or WEBP, and drop that."
_CRASHES = Unfit(
    Fault(
        FaultCode.UNREADABLE,
        "The image crashes the program that decodes it: it is damaged, or was made to do harm.",
        _AGAIN,
    ),
)

T = TypeVar("T")

_PATIENCE = 5.0  # seconds for all children to end

SHORT = 2
"""Seconds of processor time in which nearly every image is looked through."""
LONG = 8
"""Seconds for one that takes longer; more for large files, since their images can be large."""
MOST = 60
_BYTES_A_SECOND = 4 << 20
_WALL = 15
"""Seconds that may pass for each of processor time, on a machine that has much else to do."""


class PillowImages:
    """Looks inside images with Pillow, in at most `processes` child processes, all but SPARE of them for one mount.

    `idle` and `timeout` are in seconds: after how long an unused child is ended, and one that gives no answer
    is killed. Results of more than `most_pixels` are not decoded. `program` is what `python` runs in a child.
    `open_file` opens what is to be looked into, in a thread of `run`: a child is given the open file. `mount_of` names
    the mount that a file is on.
    """

    def __init__(
        self,
        *,
        # The files of one mount have one place more than the engine has looks under way in one folder.
        processes: int = 6,
        idle: float = 10.0,
        timeout: float = 120.0,
        most_pixels: int = 40_000_000,
        program: Sequence[str] = ("-m", "expandd.adapters.images.process"),
        python: str = sys.executable,
        open_file: OpenFile = open_plainly,
        run: Run = in_thread,
        mount_of: Callable[[Path], str] = one_mount,
    ) -> None:
        self._mount_of = mount_of
        self._shares: defaultdict[str, Share] = defaultdict(lambda: Share(max(1, processes - SPARE)))
        self._places = asyncio.Semaphore(processes)
        self._idle = idle
        self._timeout = timeout
        self._most_pixels = most_pixels
        self._program = tuple(program)
        self._python = python
        self._open_file = open_file
        self._run = run
        self._resting: list[Child] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all children that wait for work; one that is at work is ended by cancelling who asked it."""
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=_PATIENCE)
        while self._resting:
            self._retire(self._resting[-1])
        if self._ending:
            await asyncio.wait(self._ending, timeout=_PATIENCE)

    @property
    def resting(self) -> tuple[int, ...]:
        """The process ids of the children that wait for work."""
        return tuple(child.pid for child in self._resting)

    def expect(self) -> None:
        """Have a child ready for an image that will be looked into before a child at rest is ended."""
        if not self._resting and not self._places.locked() and (self._starting is None or self._starting.done()):
            self._starting = asyncio.get_running_loop().create_task(self._start_one())

    async def prove(self) -> tuple[Wall, ...]:
        """Start a child, and say which walls stand around it. Raises DecoderAway."""
        async with self._places:
            child = await Child.start(self._program, self._python)
            self._let_rest(child)
            return child.ready.walls

    async def examine(self, path: Path, *, thorough: bool = True) -> Finding:
        """What the source at `path` is, decoded to its last row.

        Raises Later if it cannot be judged now, LookTooLong if that takes long and the look need not be `thorough`.
        """
        try:
            with await self._opened(path) as file:
                cpu = _seconds(file, LONG if thorough else SHORT)
                return await self._found(Request(task=Task.EXAMINE, cpu=cpu), path, file)
        except FileFault as denied:
            return Unfit(denied.fault)
        except OutOfTime as error:
            if thorough:
                return _tiring()
            raise LookTooLong("It takes long to look into.") from error

    async def examine_result(self, path: Path) -> Finding:
        """The same of a downloaded result, of any size in px. Raises Later."""
        try:
            with await self._opened(path) as file:
                request = Request(task=Task.EXAMINE_RESULT, cpu=MOST, most_pixels=self._most_pixels)
                return await self._found(request, path, file)
        except FileFault as denied:
            raise Later(denied.fault.message) from denied
        except OutOfTime:
            return _tiring()

    async def prepare(self, source: Path, target: Path) -> Prepared:
        found = await self.examine(source)
        if not isinstance(found, Whole):
            raise FileFault(found.fault)
        exact = found.orientation == 1 or found.format is not ImageFormat.JPEG
        await self._write(Task.FIRST_IMAGE if found.orientation == 1 else Task.MAKE_UPRIGHT, source, target)
        return Prepared(format=found.format, size=found.size, exact=exact)

    async def finish(self, original: Path, made: Path, target: Path, plan: Finishing) -> bool:  # noqa: ARG002, a port
        return False

    async def make_upright(self, source: Path, target: Path) -> None:
        """Write a synced copy of `source` with its EXIF orientation applied to the pixels. Raises FileFault, Later."""
        await self._write(Task.MAKE_UPRIGHT, source, target)

    async def first_image(self, source: Path, target: Path) -> bool:
        """Write the first image of a file that holds several to `target`; False for one that holds one.

        Raises as `make_upright`.
        """
        return not isinstance(await self._write(Task.FIRST_IMAGE, source, target), AsItIs)

    async def thumbnail(self, path: Path, side: int) -> Thumbnail:
        """A small WEBP of the image at `path`, at most `side` px on each side.

        Raises FileFault for an image that cannot be decoded, Later when it cannot be done just now.
        """
        request = Request(task=Task.THUMBNAIL, cpu=MOST, most_pixels=self._most_pixels, side=side)
        with await self._opened(path) as file:
            answer = await self._done(request, path, file)
        if isinstance(answer, Thumbnail):
            return answer
        raise Later("The process that decodes it gave another answer.")

    async def _write(self, task: Task, source: Path, target: Path) -> Answer:
        with await self._opened(source) as file:
            new = await self._on_disk(target, NewFile, target)
            try:
                answer = await self._done(Request(task=task, cpu=MOST), source, file, new.file)
                if not isinstance(answer, AsItIs):
                    await self._on_disk(target, new.keep)
            finally:
                await self._on_disk(target, new.discard)
        return answer

    async def _opened(self, path: Path) -> io.FileIO:
        return await self._on_disk(path, opened, path, self._open_file)

    async def _on_disk(self, path: Path, call: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._run(path, call, *arguments)
        except OSError as error:
            # The call itself says Later: this is the disk, which does not answer.
            raise Later(f"It cannot be read or written just now: {error.strerror}.") from error

    async def _found(self, request: Request, path: Path, file: io.FileIO) -> Finding:
        answer = await self._ask(request, path, file)
        if isinstance(answer, NotNow):
            raise Later(answer.reason)
        assert isinstance(answer, Whole | Unfinished | Unfit), "examine is never answered otherwise"
        return answer

    async def _done(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        """The answer where it is neither a fault nor a delay: those are raised."""
        try:
            answer = await self._ask(request, path, *files)
        except OutOfTime as error:
            raise FileFault(_tiring().fault) from error
        if isinstance(answer, NotNow):
            raise Later(answer.reason)
        if isinstance(answer, Unfinished | Unfit):
            raise FileFault(answer.fault)
        return answer

    async def _start_one(self) -> None:
        async with self._places:
            # The caller for an image tries again, and is told why it cannot be.
            with contextlib.suppress(DecoderAway):
                self._let_rest(await Child.start(self._program, self._python))

    async def _ask(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        async with self._shares[self._mount_of(path)].place() as ends, self._places:
            try:
                return await self._ask_child(request, files, ends, self._resting.pop() if self._resting else None)
            except ChildDied:
                # It may have died before, or of a passing want. One that has seen no other file tells.
                return await self._ask_again(request, files, ends)

    async def _ask_again(self, request: Request, files: Sequence[io.FileIO], ends: set[asyncio.Task[None]]) -> Answer:
        try:
            return await self._ask_child(request, files, ends)
        except ChildDied as death:
            if death.by_file:
                return _CRASHES
            raise ReaderDied(f"The process that decodes it gave no answer: {death}.") from death

    async def _ask_child(
        self, request: Request, files: Sequence[io.FileIO], ends: set[asyncio.Task[None]], child: Child | None = None
    ) -> Answer:
        child = child or await Child.start(self._program, self._python)
        try:
            seconds = min(self._timeout, _WALL * request.cpu)
            answer = await child.ask(request, [file.fileno() for file in files], seconds)
        except BaseException:
            # Also on a cancellation: an answer that nobody read must not meet the next request.
            child.kill()
            ends.add(self._see_off(child))
            raise
        self._let_rest(child)
        return answer

    def _let_rest(self, child: Child) -> None:
        self._resting.append(child)
        child.rest(self._idle, self._retire)

    def _retire(self, child: Child) -> None:
        self._resting.remove(child)
        self._see_off(child)

    def _see_off(self, child: Child) -> asyncio.Task[None]:
        # Not awaited where it happens: a child that the kernel holds (a dead network share) would hold its place.
        task = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


def _seconds(file: io.FileIO, least: int) -> int:
    return min(MOST, least + os.fstat(file.fileno()).st_size // _BYTES_A_SECOND)


def _tiring() -> Unfit:
    message = "The image takes its reader far longer than others: it is damaged, or was made to keep a reader busy."
    return Unfit(Fault(FaultCode.UNREADABLE, message, _AGAIN))
