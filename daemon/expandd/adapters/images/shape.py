"""Says what the outer structure of a picture file can tell: its format, its size, and which of its bytes matter."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Size
from expandd.domain.inspection import Unfit

Bytes = bytes | mmap.mmap

Spans = tuple[tuple[int, int], ...]
"""Parts of a file, from and to, in order."""

MOST_PARTS = 10_000
"""Chunks or segments that any file may have, and one more for each BYTES_A_PART."""
BYTES_A_PART = 512


@dataclass(frozen=True, slots=True)
class Structure:
    """A file whose own end is there. `size` is the stored one in px, before any orientation.

    `spans` are what a decoder needs to see, nothing for the whole file. `several` where more pictures follow the first,
    whose bytes the spans then are.
    """

    format: ImageFormat
    size: Size
    spans: Spans = ()
    several: bool = False


def most_parts(length: int) -> int:
    """How many chunks or segments a file of so many bytes may have: millions of them only keep a reader busy."""
    return MOST_PARTS + length // BYTES_A_PART


def laborious(image_format: ImageFormat, what: str) -> Unfit:
    """The finding for a file that takes its reader far more work than its picture needs; `what` it has."""
    message = f"The {image_format.name} picture has {what}: it is damaged, or was made to keep its reader busy."
    return Unfit(Fault(FaultCode.UNREADABLE, message, "Open it in an image editor, export it again, and drop that."))


def some(width: int, height: int) -> Size | None:
    return Size(width, height) if width and height else None
