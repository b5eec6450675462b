"""Hands out a job's own image files, whole: what lies in their place is first proven to be them."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from expandd.adapters.images.opening import OpenFile, opened
from expandd.domain.errors import FileFault, Later
from expandd.domain.image import ImageFormat
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.service.page.thumbnails import Gone, Kind, places

T = TypeVar("T")

MOST = 8
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
        self._turns = asyncio.Semaphore(MOST)

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
        """Whatever else people put in its place, be it by a hard link, stays where it is."""
        for path in places(job, kind):
            try:
                file = opened(path, self._open_file)
            except (FileFault, Later):
                continue
            if file.seek(0, io.SEEK_END) == known.size and file.seek(0) == 0 and _sha256(file) == known.sha256:
                file.seek(0)
                return file
            file.close()
        raise Gone(f"{known.name} is there no longer as it was: somebody has moved it away or changed it.")

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
