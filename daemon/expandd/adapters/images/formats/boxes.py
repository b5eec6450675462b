"""Reads the boxes that HEIC, AVIF and JPEG 2000 files are made of: each says its length and its kind."""

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
    """A box, from and to where its content lies. One without a kind is none, or does not end where it may."""

    kind: bytes
    start: int
    stop: int


def boxes(data: Bytes, start: int, stop: int) -> Iterator[Box]:
    """The boxes that lie from `start` to `stop`, the last of them perhaps without a kind: from there on is no box."""
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
        # Its true length follows.
        if content + _LONG.size > stop:
            return none
        (length,) = _LONG.unpack_from(data, content)
        content += _LONG.size
    end = start + length if length else stop
    return Box(kind, content, end) if content <= end <= stop else none


def padding(data: Bytes, box: Box) -> bool:
    """Whether what is no box was never meant as one: zeros, or what a phone appends."""
    kind = data[box.start + 4 : box.start + 8]
    return not any(data[box.start : box.start + 8]) or (len(kind) == 4 and not _KIND.fullmatch(kind))  # noqa: PLR2004, as _HEAD has it
