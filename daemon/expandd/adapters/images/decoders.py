"""The pool of decoder processes: started when needed, asked, and ended when idle or hanging.

The pool is our own. pebble (5.2, tried) kills and replaces workers well, but passes pickled values: an open file
needs a socket that the worker opens itself, which the sandbox forbids, and its workers inherit the daemon's
environment, including the login. The pools of the standard library have no time-outs.
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
from expandd.adapters.images.decoder_process import SPARE, Child, ChildDied, OutOfTime, Share
from expandd.adapters.images.decoder_program import Answer, AsItIs, Large, NotNow, Ready, Request, Task, Thumbnail
from expandd.adapters.images.limits import LARGE
from expandd.adapters.images.opening import NewFile, opened
from expandd.adapters.processes import Start, start_here
from expandd.domain.errors import DecoderAway, Fault, FaultCode, FileFault, InspectionTooLong, Later, ReaderDied
from expandd.domain.finishing import Finishing
from expandd.domain.image import Incomplete, Inspection, Invalid, Prepared, Valid

_AGAIN = "Open it in an image editor, export it again as JPEG, PNG or TIFF, and drop that."
_CRASHES = Invalid(
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
"""Seconds to wait for a busy child: starting another one takes as long, and a processor meanwhile."""

SHORT = 2
"""Seconds of processor time that suffice for nearly every image."""
LONG = 8
"""Seconds of processor time for an image that takes longer; large files get more, as their images can be large."""
MOST = 60
_PIXELS_A_SECOND = 1_000_000
"""Px of a large image for each additional second."""
_BYTES_A_SECOND = 4 << 20
_WALL = 15
"""Seconds that may pass for each second of processor time on a busy machine."""


class PillowImages:
    """Inspects, prepares and finishes images in at most `processes` children, at most all but SPARE for one mount.

    `idle`, `timeout` and `worth` are in seconds: an idle child ends after `idle`, a child without an answer is killed
    after `timeout`, and a busy child is waited for at most `worth`. Results of more than `most_pixels` are not decoded.
    `python` runs `program` in a child. `open_file` opens a file in a thread of `run`; the child gets the open file.
    `mount_of` names the mount of a file, and `start` starts a child.
    """

    def __init__(
        self,
        *,
        # The files of one mount have one place more than the engine runs inspections in one folder.
        processes: int = 6,
        idle: float = 10.0,
        timeout: float = 120.0,
        worth: float = WORTH,
        most_pixels: int = 40_000_000,
        program: Sequence[str] = ("-m", "expandd.adapters.images.decoder_program"),
        python: str = sys.executable,
        open_file: OpenFile = open_plainly,
        run: Run = in_thread,
        mount_of: Callable[[Path], str] = one_mount,
        start: Start = start_here,
    ) -> None:
        self._mount_of = mount_of
        self._shares: defaultdict[str, Share] = defaultdict(lambda: Share(max(1, processes - SPARE)))
        self._places = asyncio.Semaphore(processes)
        # Large images, whose memory is granted by their size, are decoded one at a time.
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
        """End all idle children; a busy one ends when its caller is cancelled."""
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=_PATIENCE)
        while self._idle:
            self._retire(self._idle[-1])
        if self._ending:
            await asyncio.wait(self._ending, timeout=_PATIENCE)

    @property
    def idle(self) -> tuple[int, ...]:
        """The process ids of the idle children."""
        return tuple(child.pid for child in self._idle)

    def warm_up(self) -> None:
        """Start a child for an image that will be inspected before an idle child ends."""
        if not self._idle and not self._places.locked() and (self._starting is None or self._starting.done()):
            self._starting = asyncio.get_running_loop().create_task(self._start_one())
            self._is_awaited = False

    async def prove(self) -> Ready:
        """Start a child, and return the formats that it decodes and the walls around it. Raises DecoderAway."""
        async with self._places:
            child = await Child.start(self._program, self._python, self._start)
            self._let_rest(child)
            return child.ready

    async def inspect(self, path: Path, *, thorough: bool = True) -> Inspection:
        """The inspection of the source at `path`, decoded to its last row.

        Raises Later if it cannot be inspected now, InspectionTooLong if that takes long and `thorough` is false.
        """
        try:
            with await self._opened(path) as file:
                cpu = _seconds(file, LONG if thorough else SHORT)
                return await self._found(Request(task=Task.INSPECT, cpu=cpu), path, file)
        except FileFault as denied:
            return Invalid(denied.fault)
        except OutOfTime as error:
            if thorough:
                return _tiring()
            raise InspectionTooLong("Its inspection takes long.") from error

    async def inspect_result(self, path: Path) -> Inspection:
        """The inspection of a downloaded result, of any size in px. Raises Later."""
        try:
            with await self._opened(path) as file:
                request = Request(task=Task.INSPECT_RESULT, cpu=MOST, most_pixels=self._most_pixels)
                return await self._found(request, path, file)
        except FileFault as denied:
            raise Later(denied.fault.message) from denied
        except OutOfTime:
            return _tiring()

    async def prepare(self, source: Path, target: Path) -> Prepared:
        """Write the copy of `source` for the API: the first image, upright, in sRGB, at most 4096 px a side.

        The copy is synced, whole or absent, and always the same for the same file. Raises FileFault for a source that
        cannot be decoded, Later when it cannot be done just now.
        """
        answer = await self._write(Request(task=Task.PREPARE, cpu=MOST), target, source)
        if isinstance(answer, Prepared):
            return answer
        raise Later(_ANOTHER)

    async def finish(self, original: Path, made: Path, target: Path, plan: Finishing) -> bool:
        """Write the result that `plan` makes from the original and `made`, the API's image.

        False, and nothing written, where `made` needs no change. Synced, and raises, as `prepare`.
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
            # The call itself raises Later: an OSError means that the disk does not answer.
            raise Later(f"It cannot be read or written just now: {error.strerror}.") from error

    async def _found(self, request: Request, path: Path, file: io.FileIO) -> Inspection:
        answer = await self._ask(request, path, file)
        if isinstance(answer, NotNow):
            raise Later(answer.reason)
        assert isinstance(answer, Valid | Incomplete | Invalid), "inspect has no other answers"
        return answer

    async def _done(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        """The answer; raises FileFault for a fault and Later for a delay."""
        try:
            answer = await self._ask(request, path, *files)
        except OutOfTime as error:
            raise FileFault(_tiring().fault) from error
        if isinstance(answer, NotNow):
            raise Later(answer.reason)
        if isinstance(answer, Incomplete | Invalid):
            raise FileFault(answer.fault)
        return answer

    async def _start_one(self) -> None:
        async with self._places:
            # The request for the image starts a child again, and reports the error.
            with contextlib.suppress(DecoderAway):
                self._let_rest(await Child.start(self._program, self._python, self._start))

    async def _ask(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        answer: Answer = Large(request.pixels)
        if request.pixels <= LARGE:
            answer = await self._ask_one(request, path, *files)
        if isinstance(answer, Large):
            # Waiting for the memory does not count as time of the image.
            async with self._large:
                more = answer.pixels // _PIXELS_A_SECOND
                answer = await self._ask_one(
                    replace(request, pixels=answer.pixels, cpu=request.cpu + more), path, *files
                )
        if isinstance(answer, Large):
            raise Later("It has become larger while it was inspected.")
        return answer

    async def _ask_one(self, request: Request, path: Path, *files: io.FileIO) -> Answer:
        async with self._shares[self._mount_of(path)].place() as ends:
            await self._expected()
            async with self._places:
                return await self._ask_any(request, files, ends)

    async def _expected(self) -> None:
        """Wait for the child that is being started, unless another image waits for it."""
        if self._starting is not None and not self._idle and not self._is_awaited:
            self._is_awaited = True
            await asyncio.wait({self._starting})

    async def _ask_any(self, request: Request, files: Sequence[io.FileIO], ends: set[asyncio.Task[None]]) -> Answer:
        try:
            return await self._ask_child(request, files, ends, await self._at_rest())
        except ChildDied:
            # It may have died earlier, or of a passing shortage. Only a new child proves that its file is the cause.
            return await self._ask_again(request, files, ends)

    async def _at_rest(self) -> Child | None:
        """An idle child, also one that becomes idle within `worth`, which is sooner than a new one starts."""
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
            # Also when cancelled: an unread answer must not be taken for the answer to the next request.
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
        # Not awaited here: a child that the kernel blocks (on a dead network share) would block its caller as well.
        task = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


def _seconds(file: io.FileIO, least: int) -> int:
    return min(MOST, least + os.fstat(file.fileno()).st_size // _BYTES_A_SECOND)


def _tiring() -> Invalid:
    message = "The image takes its reader far longer than others: it is damaged, or was made to keep a reader busy."
    return Invalid(Fault(FaultCode.UNREADABLE, message, _AGAIN))
