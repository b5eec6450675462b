"""Reads a file as a multipart body and writes a body as a file, and hashes both on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import stat
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from expandd.adapters.bulkheads import Run, begun, in_thread
from expandd.adapters.files.roots import open_plainly
from expandd.domain.errors import Later

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from expandd.adapters.files.roots import OpenFile

CHUNK = 256 * 1024
"""Bytes of each read and write of a file."""
PIECE = 64 * 1024
"""Bytes sent at once: on a slow line even they take a while, in which no progress shows."""
HEAD = 12
"""Bytes from the start of a file that reveal its type."""
TYPES = ((b"\xff\xd8\xff", "image/jpeg", "image.jpg"), (b"\x89PNG", "image/png", "image.png"))
WEBP = ("image/webp", "image.webp")
UNTYPED = ("application/octet-stream", "image")
WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class FilePart:
    """One open file of `size` bytes as a multipart body with the single part `file`.

    Its type comes from its content, and its name is neutral: the person's own name for it stays private.

    httpx's own multipart reads files on the event loop, where an inbox on a hanging network share would stop the whole
    daemon; this one reads in a thread.
    """

    def __init__(self, fd: int, size: int, read: Callable[..., Awaitable[bytes]]) -> None:
        self._read_some = read
        content_type, filename = _typed(os.pread(fd, HEAD, 0))
        boundary = secrets.token_hex(16)
        self._fd = fd
        self.size = size
        self._digest = hashlib.sha256()
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            f"Content-Type: {content_type}\r\n\r\n"
        ).encode("ascii")
        self._tail = f"\r\n--{boundary}--\r\n".encode("ascii")
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    @property
    def sha256(self) -> str:
        """The sha256 of the file's bytes sent so far."""
        return self._digest.hexdigest()

    async def body(self, moved: Callable[[int], None]) -> AsyncIterator[bytes]:
        """Yield the whole body once; calls `moved` before each piece. Raises Later when the file shrank or failed."""
        yield self._head
        left = self.size
        while left:
            chunk = await self._read(min(CHUNK, left))
            self._digest.update(chunk)
            left -= len(chunk)
            for start in range(0, len(chunk), PIECE):
                piece = chunk[start : start + PIECE]
                moved(len(piece))
                yield piece
        yield self._tail

    async def _read(self, size: int) -> bytes:
        try:
            chunk = await self._read_some(os.read, self._fd, size)
        except OSError as error:
            raise Later(f"The file cannot be read just now: {error.strerror}.") from error
        if not chunk:
            raise Later("The file became shorter while it was being sent.")
        return chunk


@asynccontextmanager
async def opened_part(
    source: Path, open_file: OpenFile = open_plainly, run: Run = in_thread
) -> AsyncIterator[FilePart]:
    """Open `source` as a FilePart. Raises Later when it is no regular file or cannot be opened."""
    try:
        fd = await run(source, open_file, source)
    except OSError as error:
        raise Later(f"The file cannot be opened just now: {error.strerror}.") from error
    try:
        try:
            part = await run(source, _part, fd, partial(run, source))
        except OSError as error:
            raise Later(f"The file cannot be read just now: {error.strerror}.") from error
        yield part
    finally:
        _close_aside(fd)


def _close_aside(fd: int) -> None:
    """Close it off the event loop: on a hanging share even closing waits for the server."""
    try:
        begun(os.close, fd)
    except OSError:  # the system has no thread left
        os.close(fd)


def _part(fd: int, read: Callable[..., Awaitable[bytes]]) -> FilePart:
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Later("The file is not a regular file any more.")
        return FilePart(fd, status.st_size, read)
    except OSError as error:
        raise Later(f"The file cannot be read just now: {error.strerror}.") from error


def _typed(head: bytes) -> tuple[str, str]:
    """Content type and neutral name, by the start of the content."""
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return WEBP
    return next(((kind, name) for magic, kind, name in TYPES if head.startswith(magic)), UNTYPED)


class Sink:
    """Writes a body to an open file and hashes it; only after `sync` all of it is on disk."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, piece: bytes) -> None:
        self._pending += piece
        self.size += len(piece)
        if len(self._pending) >= CHUNK:
            await self._flush()

    async def sync(self) -> None:
        await self._flush()
        await asyncio.to_thread(os.fsync, self._fd)

    async def _flush(self) -> None:
        chunk, self._pending = self._pending, bytearray()
        self._digest.update(chunk)
        await asyncio.to_thread(_write_all, self._fd, chunk)


def _write_all(fd: int, chunk: bytearray) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


@asynccontextmanager
async def opened_sink(target: Path) -> AsyncIterator[Sink]:
    """A Sink for `target`, which is emptied first, and removed unless it is finished. Raises OSError."""
    fd = await asyncio.to_thread(os.open, target, WRITE_FLAGS, 0o600)
    try:
        yield Sink(fd)
    except BaseException:
        with suppress(FileNotFoundError):
            target.unlink()
        raise
    finally:
        os.close(fd)
