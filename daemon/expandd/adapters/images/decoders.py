"""The pool of decoder processes: started when needed, asked, and ended when idle or stuck.

The pool is our own. pebble (5.2, tried) kills and replaces workers well, but hands over pickled values: an open file
needs a socket that the worker opens itself, which the walls around it forbid (see `sandbox`), and its workers inherit
the daemon's environment, with the login. The pools of the standard library have no time-outs besides.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from expandd.adapters.bulkheads import Run, in_thread, one_mount
from expandd.adapters.files.roots import OpenFile, open_plainly
from expandd.adapters.images.child import SPARE, Child, ChildDied, OutOfTime, Share
from expandd.adapters.images.limits import LARGE
from expandd.adapters.images.opening import NewFile, opened
from expandd.adapters.images.process import Answer, AsItIs, Large, NotNow, Ready, Request, Task, Thumbnail
from expandd.adapters.processes import Start, start_here
from expandd.domain.errors import DecoderAway, Fault, FaultCode, FileFault, InspectionTooLong, Later, ReaderDied
from expandd.domain.finishing import Finishing
from expandd.domain.image import Finding, Prepared, Unfinished, Unfit, Whole

_AGAIN = "Open it in an image editor, export it again as JPEG, PNG or TIFF, and drop that."
_CRASHES = Unfit(
    Fault(
        FaultCode.UNREADABLE,
        "The image crashes the program that decodes it: it is damaged, or was made to do harm.",
        _AGAIN,
    ),
)

_ANOTHER = "The process that decodes it gave another answer."

T = TypeVar("T")

_PATIENCE = 5.0  # seconds for all children to end

WORTH = 0.3
"""Seconds for which a child at work is waited for: another one takes as long to start, and a processor meanwhile."""

SHORT = 2
"""Seconds of processor time in which nearly every image is looked through."""
LONG = 8
"""Seconds for one that takes longer; more for large files, since their images can be large."""
MOST = 60
_PIXELS_A_SECOND = 1_000_000
"""Px of a large image for which a second more is given."""
_BYTES_A_SECOND = 4 << 20
_WALL = 15
"""Seconds that may pass for each of processor time, on a machine that has much else to do."""


class PillowImages:
    """Looks inside images with Pillow, in at most `processes` child processes, all but SPARE of them for one mount.

    `idle`, `timeout` and `worth` are in seconds: after how long an unused child is ended, one that gives no answer is
    killed, and one at work is no longer waited for. Results of more than `most_pixels` are not decoded. `program` is
    what `python` runs in a child. `open_file` opens what is to be looked into, in a thread of `run`: a child is given
    the open file. `mount_of` names the mount that a file is on, and `start` starts a child.
    """

    def __init__(
        self,
        *,
        # The files of one mount have one place more than the engine has looks under way in one folder.
        processes: int = 6,
        idle: float = 10.0,
        timeout: float = 120.0,
        worth: float = WORTH,
        most_pixels: int = 40_000_000,
        program: Sequence[str] = ("-m", "expandd.adapters.images.process"),
        python: str = sys.executable,
        open_file: OpenFile = open_plainly,
        run: Run = in_thread,
        mount_of: Callable[[Path], str] = one_mount,
        start: Start = start_here,
    ) -> None:
        self._mount_of = mount_of
        self._shares: defaultdict[str, Share] = defaultdict(lambda: Share(max(1, processes - SPARE)))
        self._places = asyncio.Semaphore(processes)
        # Images whose memory is granted by their size: one at a time.
        self._large = asyncio.Semaphore()
        self._retire_after = idle
        self._timeout = timeout
        self._worth = worth
        self._most_pixels = most_pixels
        self._program = tuple(program)
        self._python = python
        self._start = start
        self._open_file = open_file
        self._run = run
        self._idle: list[Child] = []
        self._at_work = 0
        self._wanted: deque[asyncio.Future[Child]] = deque()
        self._ending: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[None] | None = None
        self._is_awaited = False

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
        while self._idle:
            self._retire(self._idle[-1])
        if self._ending:
            await asyncio.wait(self._ending, timeout=_PATIENCE)

    @property
    def idle(self) -> tuple[int, ...]:
        """The process ids of the children that wait for work."""
        return tuple(child.pid for child in self._idle)

    def warm_up(self) -> None:
        """Have a child ready for an image that will be looked into before a child at rest is ended."""
        if not self._idle and not self._places.locked() and (self._starting is None or self._starting.done()):
            self._starting = asyncio.get_running_loop().create_task(self._start_one())
            self._is_awaited = False

    async def prove(self) -> Ready:
        """Start a child, and say what it can decode behind which walls. Raises DecoderAway."""
        async with self._places:
            child = await Child.start(self._program, self._python, self._start)
            self._let_rest(child)
            return child.ready

    async def examine(self, path: Path, *, thorough: bool = True) -> Finding:
        """What the source at `path` is, decoded to its last row.

        Raises Later if it cannot be judged now, InspectionTooLong if that takes long and it need not be `thorough`.
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
            raise InspectionTooLong("It takes long to look into.") from error

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
        """Write the copy of `source` that the API is sent: the first image, upright, in sRGB, at most 4096 px.

        It is synced, whole or not at all, and the same for the same file. Raises FileFault for a source that cannot be
        decoded, Later when it cannot be done just now.
        """
        answer = await self._write(Request(task=Task.PREPARE, cpu=MOST), target, source)
        if isinstance(answer, Prepared):
            return answer
        raise Later(_ANOTHER)

    async def finish(self, original: Path, made: Path, target: Path, plan: Finishing) -> bool:
        """Write the result that `plan` makes of the original and of `made`, the API's image.

        False, and nothing written, where `made` is the result as it is. Synced, and raises, as `prepare`.
        """
        pixels = max(plan.original.pixels, plan.size.pixels) if plan.canvas else 0
        request = Request(task=Task.FINISH, cpu=MOST, pixels=pixels, plan=plan)
        return not isinstance(await self._write(request, target, original, made), AsItIs)

    async def thumbnail(self, path: Path, side: int) -> Thumbnail:
        """A small WEBP of the image at `path`, at most `side` px on each side.

        Raises FileFault for an image that cannot be decoded, Later when it cannot be done just now.
        """
        request = Request(task=Task.THUMBNAIL, cpu=MOST, most_pixels=self._most_pixels, side=side)
        with await self._opened(path) as file:
            answer = await self._done(request, path, file)
        if isinstance(answer, Thumbnail):
            return answer
        raise Later(_ANOTHER)

    async def _write(self, request: Request, target: Path, *sources: Path) -> Answer:
        with contextlib.ExitStack() as files:
            read = [files.enter_context(await self._opened(path)) for path in sources]
            new = await self._on_disk(target, NewFile, target)
            try:
                answer = await self._done(request, sources[0], *read, new.file)
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
                self._let_rest(await Child.start(self._program, self._python, self._start))

    async def _ask(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        answer: Answer = Large(request.pixels)
        if request.pixels <= LARGE:
            answer = await self._ask_one(request, path, *files)
        if isinstance(answer, Large):
            # What it takes for the memory of one to be free is no time of the image's own.
            async with self._large:
                more = answer.pixels // _PIXELS_A_SECOND
                answer = await self._ask_one(
                    replace(request, pixels=answer.pixels, cpu=request.cpu + more), path, *files
                )
        if isinstance(answer, Large):
            raise Later("It has become larger while it was looked into.")
        return answer

    async def _ask_one(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        async with self._shares[self._mount_of(path)].place() as ends:
            await self._expected()
            async with self._places:
                return await self._ask_any(request, files, ends)

    async def _expected(self) -> None:
        """Wait for the child that is being started, unless another image does."""
        if self._starting is not None and not self._idle and not self._is_awaited:
            self._is_awaited = True
            await asyncio.wait({self._starting})

    async def _ask_any(self, request: Request, files: Sequence[io.FileIO], ends: set[asyncio.Task[None]]) -> Answer:
        try:
            return await self._ask_child(request, files, ends, await self._at_rest())
        except ChildDied:
            # It may have died before, or of a passing want. One that has seen no other file tells.
            return await self._ask_again(request, files, ends)

    async def _at_rest(self) -> Child | None:
        """A child that waits for work. One that is at work may do so sooner than another one has started."""
        if self._idle or not self._at_work:
            return self._idle.pop() if self._idle else None
        wanted = asyncio.get_running_loop().create_future()
        self._wanted.append(wanted)
        try:
            await asyncio.wait({wanted}, timeout=self._worth)
        except asyncio.CancelledError:
            if wanted.done():
                self._let_rest(wanted.result())
            raise
        finally:
            if not wanted.done():
                self._wanted.remove(wanted)
        return wanted.result() if wanted.done() else None

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
        self._at_work += 1
        try:
            child = child or await Child.start(self._program, self._python, self._start)
            answer = await self._answer_of(child, request, files, ends)
        finally:
            self._at_work -= 1
        self._let_rest(child)
        return answer

    async def _answer_of(
        self, child: Child, request: Request, files: Sequence[io.FileIO], ends: set[asyncio.Task[None]]
    ) -> Answer:
        try:
            seconds = min(self._timeout + 2 * (request.pixels // _PIXELS_A_SECOND), _WALL * request.cpu)
            return await child.ask(request, [file.fileno() for file in files], seconds)
        except BaseException:
            # Also on a cancellation: an answer that nobody read must not meet the next request.
            child.kill()
            ends.add(self._see_off(child))
            raise

    def _let_rest(self, child: Child) -> None:
        if self._wanted:
            self._wanted.popleft().set_result(child)
            return
        self._idle.append(child)
        child.rest(self._retire_after, self._retire)

    def _retire(self, child: Child) -> None:
        self._idle.remove(child)
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
