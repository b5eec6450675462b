"""Reads the boxes of HEIC, AVIF and JPEG 2000 files; each has its length and its kind."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from expandd.adapters.images.formats.common import Bytes

_HEAD, _LONG = struct.Struct(">I4s"), struct.Struct(">Q")
_KIND = re.compile(rb"[ -~]{4}")


@dataclass(frozen=True, slots=True)
class Box:
    """A box, and the start and end of its content. Bytes that are no box, or do not end in time, have no kind."""

    kind: bytes
    start: int
    stop: int


def boxes(data: Bytes, start: int, stop: int) -> Iterator[Box]:
    """The boxes from `start` to `stop`. A last one without a kind says that no box follows."""
    while start < stop:
        box = _box(data, start, stop)
        yield box
        if not box.kind:
            return
        start = box.stop


def _box(data: Bytes, start: int, stop: int) -> Box:
    none = Box(b"", start, stop)
    content = start + _HEAD.size
    if content > stop:
        return none
    length, kind = _HEAD.unpack_from(data, start)
    if length == 1:
        # A 64-bit length follows.
        if content + _LONG.size > stop:
            return none
        (length,) = _LONG.unpack_from(data, content)
        content += _LONG.size
    end = start + length if length else stop
    return Box(kind, content, end) if content <= end <= stop else none


def padding(data: Bytes, box: Box) -> bool:
    """Whether bytes that are no box are zeros or a phone's trailer, not a damaged box."""
    kind = data[box.start + 4 : box.start + 8]
    return not any(data[box.start : box.start + 8]) or (len(kind) == 4 and not _KIND.fullmatch(kind))  # noqa: PLR2004, as _HEAD has it
