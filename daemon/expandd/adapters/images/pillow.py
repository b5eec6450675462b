"""Owns looking inside pictures: a few child processes that decode, started when needed, ended when idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from expandd.adapters.images.child import Child, ChildDied
from expandd.adapters.images.process import Answer, Done, NotNow, Request, Task, Thumbnail
from expandd.domain.errors import Fault, FaultCode, FileFault, Later
from expandd.domain.findings import Finding, Unfinished, Unfit

_CRASHES = Unfit(
    Fault(
        FaultCode.UNREADABLE,
        "The picture crashes the program that decodes it: it is damaged, or was made to do harm.",
        "Open it in an image editor, export it again as JPEG, PNG or WEBP, and drop that.",
    ),
)


_PATIENCE = 5.0  # seconds for all children to end


class PillowImages:
    """Looks inside pictures with Pillow, in at most `processes` child processes.

    `idle` and `timeout` are in seconds: after how long an unused child is ended, and one that gives no answer
    is killed. Results of more than `most_pixels` are not decoded. `program` is what Python runs in a child.
    """

    def __init__(
        self,
        *,
        processes: int = 2,
        idle: float = 10.0,
        timeout: float = 120.0,
        most_pixels: int = 40_000_000,
        program: Sequence[str] = ("-m", "expandd.adapters.images.process"),
    ) -> None:
        self._places = asyncio.Semaphore(processes)
        self._idle = idle
        self._timeout = timeout
        self._most_pixels = most_pixels
        self._program = tuple(program)
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
        """Have a child ready for a picture that will be looked into before a child at rest is ended."""
        if not self._resting and not self._places.locked() and (self._starting is None or self._starting.done()):
            self._starting = asyncio.get_running_loop().create_task(self._start_one())

    async def examine(self, path: Path) -> Finding:
        """What the source at `path` is, decoded to its last row. Raises Later if it cannot be judged now."""
        return _finding(await self._ask(Request(task=Task.EXAMINE, path=os.fspath(path))))

    async def examine_result(self, path: Path) -> Finding:
        """The same of a downloaded result, of any size in px. Raises Later."""
        request = Request(task=Task.EXAMINE_RESULT, path=os.fspath(path), most_pixels=self._most_pixels)
        return _finding(await self._ask(request))

    async def make_upright(self, source: Path, target: Path) -> None:
        """Write a copy of `source` with its EXIF orientation applied to the pixels.

        It is synced, whole or not at all, of the same format, with the colour profile and the other EXIF.
        Raises FileFault for a source that cannot be decoded, Later when it cannot be done just now.
        """
        request = Request(task=Task.MAKE_UPRIGHT, path=os.fspath(source), target=os.fspath(target))
        answer = await self._ask(request)
        if isinstance(answer, NotNow):
            raise Later(answer.reason)
        if isinstance(answer, Unfinished | Unfit):
            raise FileFault(answer.fault)

    async def _start_one(self) -> None:
        async with self._places:
            # Whoever asks for a picture tries again, and is told why it cannot be.
            with contextlib.suppress(Later):
                self._let_rest(await Child.start(self._program))

    async def thumbnail(self, path: Path, side: int) -> Thumbnail:
        """A small WEBP of the picture at `path`, at most `side` px on each side.

        Raises FileFault for a picture that cannot be decoded, Later when it cannot be done just now.
        """
        request = Request(task=Task.THUMBNAIL, path=os.fspath(path), most_pixels=self._most_pixels, side=side)
        answer = await self._ask(request)
        if isinstance(answer, Thumbnail):
            return answer
        if isinstance(answer, Unfinished | Unfit):
            raise FileFault(answer.fault)
        raise Later(answer.reason if isinstance(answer, NotNow) else "The process that decodes it gave another answer.")

    async def _ask(self, request: Request) -> Answer:
        async with self._places:
            try:
                return await self._ask_child(request, self._resting.pop() if self._resting else None)
            except ChildDied:
                # It may have died before, or of a passing want. One that has seen no other file tells.
                return await self._ask_again(request)

    async def _ask_again(self, request: Request) -> Answer:
        try:
            return await self._ask_child(request, None)
        except ChildDied as death:
            if death.by_file:
                return _CRASHES
            raise Later(f"The process that decodes it gave no answer: {death}.") from death

    async def _ask_child(self, request: Request, child: Child | None) -> Answer:
        child = child or await Child.start(self._program)
        try:
            answer = await child.ask(request, self._timeout)
        except BaseException:
            # Also on a cancellation: an answer that nobody read must not meet the next request.
            child.kill()
            self._see_off(child)
            raise
        self._let_rest(child)
        return answer

    def _let_rest(self, child: Child) -> None:
        self._resting.append(child)
        child.rest(self._idle, self._retire)

    def _retire(self, child: Child) -> None:
        self._resting.remove(child)
        self._see_off(child)

    def _see_off(self, child: Child) -> None:
        # Not awaited where it happens: a child that the kernel holds (a dead network share) would hold its place.
        task = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _finding(answer: Answer) -> Finding:
    if isinstance(answer, NotNow):
        raise Later(answer.reason)
    assert not isinstance(answer, Done | Thumbnail), "examine is never answered so"
    return answer
