"""The parts that all readers of structures share: their results, and the limits of their work."""

from __future__ import annotations

import io
import mmap
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Invalid, Size

Bytes = bytes | mmap.mmap

Spans = tuple[tuple[int, int], ...]
"""Parts of a file, as start and end, in order."""

MOST_PARTS = 10_000
"""Chunks or segments that any file may have, plus one for each BYTES_A_PART."""
BYTES_A_PART = 512
_STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class Structure:
    """A file whose own end is there. `size` is the stored one in px, before any orientation.

    `spans` are the parts that a decoder needs, empty for the whole file. `several` where more images follow the first;
    the spans are then those of the first.
    """

    format: ImageFormat
    size: Size
    spans: Spans = ()
    several: bool = False


def most_parts(length: int) -> int:
    """The most chunks or segments in a file of `length` bytes: millions of them only keep a reader busy."""
    return MOST_PARTS + length // BYTES_A_PART


EXPORT_AGAIN = "Open it in an image editor, export it again, and drop that."


def laborious(image_format: ImageFormat, what: str) -> Invalid:
    """The inspection for a file that costs far more work than its image needs; it has `what`."""
    message = f"The {image_format.title} image has {what}: it is damaged, or was made to keep its reader busy."
    return Invalid(Fault(FaultCode.UNREADABLE, message, EXPORT_AGAIN))


def unreadable(image_format: ImageFormat, what: str) -> Invalid:
    """The inspection for a whole file that no decoder here reads; `what` is a verb phrase in the third person."""
    return Invalid(Fault(FaultCode.UNREADABLE, f"The {image_format.title} image {what}.", EXPORT_AGAIN))


def half_empty(data: Bytes, start: int, stop: int) -> bool:
    """Whether the second half of uncompressed pixels is zeros.

    A file whose space was reserved and not completely written looks so. Only for images in full colour: no camera
    makes such a photo, but half a scanned sheet of paper is often blank.
    """
    half = (start + stop + 1) // 2
    while stop > half:
        # From the end, where a written image soon shows a byte that is not zero.
        begin = max(half, stop - _STEP)
        if any(data[begin:stop]):
            return False
        stop = begin
    return True


def some(width: int, height: int) -> Size | None:
    return Size(width, height) if width and height else None


def spliced(file: BinaryIO, spans: Spans) -> BinaryIO:
    """`file` from its start, or only its `spans` where there are any."""
    if spans:
        return io.BufferedReader(_Parts(file.fileno(), spans))
    file.seek(0)
    return file


class _Parts(io.RawIOBase):
    def __init__(self, descriptor: int, spans: Spans) -> None:
        self._descriptor = descriptor
        self._spans = spans
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        length = sum(stop - start for start, stop in self._spans)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, target: Any, /) -> int:
        view = memoryview(target)
        found = self._found(len(view))
        view[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _found(self, most: int) -> bytes:
        """The bytes at the position, up to the end of its part."""
        before = 0
        for start, stop in self._spans:
            at = start + self._position - before
            if at < stop:
                return os.pread(self._descriptor, min(most, stop - at), at)
            before += stop - start
        return b""
