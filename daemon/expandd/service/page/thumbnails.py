"""Thumbnails: made by decoder processes, a bounded number kept, made ahead where there is something new."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from expandd.adapters.images.decoders import PillowImages
from expandd.domain.errors import FileFault, Later
from expandd.domain.events import Event, JobMoved
from expandd.domain.job import Job, JobState

SIDE = 800
"""Px of the longest side."""
MOST_BYTES = 16 << 20
"""Kept in memory, of all small images together."""
MOST_WAITING = 64


class Kind(Enum):
    """Which image of a job."""

    SOURCE = "source"
    RESULT = "result"


class Gone(Exception):
    """There is no image to show; the message is a sentence."""


class Thumbnails:
    """Thumbnails by job and kind. An image once shown stays until newer ones need its room."""

    def __init__(self, images: PillowImages, most_bytes: int = MOST_BYTES) -> None:
        self._images = images
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, Kind], bytes] = OrderedDict()
        self._bytes = 0
        self._making: dict[tuple[str, Kind], asyncio.Lock] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    async def thumbnail(self, job: Job, kind: Kind) -> bytes:
        """A WEBP. Raises Gone."""
        key = (job.id, kind)
        if len(self._making) >= MOST_WAITING and key not in self._making:
            raise Gone("Too many images are asked for at once.")
        lock = self._making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if key not in self._kept:
                    self._keep(key, await self._made(job, kind))
                self._kept.move_to_end(key)
                return self._kept[key]
        finally:
            self._making.pop(key, None)

    async def _made(self, job: Job, kind: Kind) -> bytes:
        expected = job.source.size if kind is Kind.SOURCE else job.final.size if job.final else None
        for path in places(job, kind):
            try:
                found = await self._images.thumbnail(path, SIDE)
            except (FileFault, Later):
                continue
            if expected is None or found.of == expected:
                return found.webp
        raise Gone(_missing(kind))

    def _keep(self, key: tuple[str, Kind], webp: bytes) -> None:
        self._bytes += len(webp) - len(self._kept.get(key, b""))
        self._kept[key] = webp
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped)


def places(job: Job, kind: Kind) -> Iterator[Path]:
    """Where the image may lie, the likeliest first."""
    if kind is Kind.RESULT:
        if job.target is not None and job.state in {JobState.DELIVERED, JobState.DONE}:
            yield job.target
        return
    if job.archived_to is not None:
        yield job.archived_to
    if not job.closed:
        yield job.work_file


def _missing(kind: Kind) -> str:
    what = "The result" if kind is Kind.RESULT else "The original"
    return f"{what} is no longer there."


MOST = 16
"""Images that wait to be made. Where more come than can be made, the newest are what people look at."""

_TIMES = {JobState.ACCEPTED: Kind.SOURCE, JobState.DELIVERED: Kind.RESULT}
"""The original is made small while the API draws, the result as soon as it has its name."""


class Prefetch:
    """A subscriber of events that makes images beside the work, one after the other."""

    def __init__(self) -> None:
        self._due: deque[tuple[Job, Kind]] = deque(maxlen=MOST)
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobMoved) and event.job.state in _TIMES:
            self._due.append((event.job, _TIMES[event.job.state]))
            self._news.set()

    async def run(self, thumbnails: Thumbnails) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.make(thumbnails)

    async def make(self, thumbnails: Thumbnails) -> None:
        """Make all that is due."""
        while self._due:
            job, kind = self._due.popleft()
            with contextlib.suppress(Gone):
                await thumbnails.thumbnail(job, kind)
