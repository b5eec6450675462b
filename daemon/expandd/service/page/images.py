"""The images of jobs for the browser: thumbnails, made by decoder processes, and the files themselves, whole.

A bounded number of thumbnails is kept, and they are made ahead where there is something new. What lies in the place of
a job's file is first proven to be it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from expandd.adapters.files.roots import OpenFile
from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.images.opening import opened
from expandd.domain.errors import FileFault, Later
from expandd.domain.events import Event, JobMoved
from expandd.domain.image import ImageFormat
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable

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


T = TypeVar("T")

MOST_FILES = 8
"""Files that are handed out at once, as each keeps a descriptor open; others wait."""
CHUNK = 256 << 10
PATIENCE = 60.0
"""Seconds that a file may take until its turn has come and it is read for its proof."""

_TYPES: Mapping[ImageFormat, str] = {
    ImageFormat.JPEG: "image/jpeg",
    ImageFormat.PNG: "image/png",
    ImageFormat.WEBP: "image/webp",
    ImageFormat.AVIF: "image/avif",
    ImageFormat.GIF: "image/gif",
    ImageFormat.BMP: "image/bmp",
    ImageFormat.TIFF: "image/tiff",
    ImageFormat.HEIC: "image/heic",
    ImageFormat.JPEG2000: "image/jp2",
}
_SHOWN = frozenset(_TYPES) - {ImageFormat.TIFF, ImageFormat.HEIC, ImageFormat.JPEG2000}
"""What browsers show themselves; nothing that holds scripts is among the formats."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a file: enough to tell it from all others."""

    name: str
    sha256: str
    size: int
    format: ImageFormat


class FullSize:
    """Opens originals and results. `open_file` follows no link that people may have put there."""

    def __init__(self, open_file: OpenFile) -> None:
        self._open_file = open_file
        # Threads of its own: a disk that hangs keeps nothing else of the page waiting.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="page-files")
        self._turns = asyncio.Semaphore(MOST_FILES)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(self, job: Job, kind: Kind, *, download: bool) -> StreamingResponse:
        """The file as an answer. Raises Gone, and TimeoutError."""
        known = _known(job, kind)
        async with asyncio.timeout(PATIENCE):
            await self._turns.acquire()
            try:
                file = await self._aside(lambda: self._proven(job, kind, known))
            except BaseException:
                self._turns.release()
                raise
        how = "inline" if known.format in _SHOWN and not download else "attachment"
        headers = {
            "Content-Disposition": f"{how}; filename*=UTF-8''{quote(known.name, safe='')}",
            "Content-Length": str(known.size),
        }
        return _Answer(self._chunks(file, known.size), headers, _TYPES[known.format], lambda: self._over(file))

    def _proven(self, job: Job, kind: Kind, known: _Known) -> io.FileIO:
        """Find the file and prove that it is the job's: another one there, even a hard link, is not handed out."""
        for path in places(job, kind):
            try:
                file = opened(path, self._open_file)
            except (FileFault, Later):
                continue
            if file.seek(0, io.SEEK_END) == known.size and file.seek(0) == 0 and _sha256(file) == known.sha256:
                file.seek(0)
                return file
            file.close()
        raise Gone(f"{known.name} is not there any more as it was: somebody has moved or changed it.")

    async def _chunks(self, file: io.FileIO, size: int) -> AsyncIterator[bytes]:
        left = size
        while left and (chunk := await self._aside(partial(file.read, min(CHUNK, left)))):
            left -= len(chunk)
            yield chunk

    def _over(self, file: io.FileIO) -> None:
        self._turns.release()
        file.close()

    async def _aside(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class _Answer(StreamingResponse):
    """A file on its way; `over` is called however it ends."""

    def __init__(
        self, chunks: AsyncIterator[bytes], headers: Mapping[str, str], media_type: str, over: Callable[[], None]
    ) -> None:
        super().__init__(chunks, headers=headers, media_type=media_type)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


def _known(job: Job, kind: Kind) -> _Known:
    if kind is Kind.RESULT and job.target is not None and job.final is not None:
        return _Known(printable(job.target.name), job.final.sha256, job.final.bytes, job.final.format)
    source = job.source
    if kind is Kind.SOURCE and source.sha256 and source.format is not None:
        return _Known(printable(job.relative.name), source.sha256, source.identity.size, source.format)
    raise Gone("There is no such file.")


def _sha256(file: io.FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()
