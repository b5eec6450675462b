"""Reads the chunks of WEBP files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from expandd.adapters.images.formats.common import Bytes, Structure, laborious, most_parts, some
from expandd.domain.image import ImageFormat, Invalid, Size

RIFF, WEBP = b"RIFF", b"WEBP"

MOST_SIDE = 16383
"""Px of a side of any image in a WEBP at most; only the header of the canvas has room for more."""

_WEBP_CHUNK = struct.Struct("<4sI")
_FIRST = 12
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
_LEAST_ZEROS, _PX_A_ZERO = 1024, 8192


def walk_webp(data: Bytes) -> Structure | Invalid | None:
    """The structure when all bytes that the RIFF header announces are there; None when they are not."""
    end = 8 + int.from_bytes(data[4:8], "little")
    size = _webp_size(data[12:16], data[20:30])
    if size is not None and max(size.width, size.height) > MOST_SIDE:
        # Nothing that follows makes the image smaller, so nothing needs to be waited for.
        return Structure(ImageFormat.WEBP, size)
    if end > len(data) or size is None:
        return None
    most, image = most_parts(end), None
    for name, start, stop in _chunks(data, end):
        most -= 1
        if most < 0:
            return laborious(ImageFormat.WEBP, f"more than {most_parts(end):,} chunks")
        if name in _PIXELS:
            if stop > end:
                return None
            image = start, stop
        elif name == bytes(4):
            # Space that was reserved and not written. Behind the image it does no harm.
            if image is None:
                return None
            break
    return None if image is not None and _never_written(data, size, *image) else Structure(ImageFormat.WEBP, size)


def _chunks(data: Bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name, start and end of each chunk's content."""
    position = _FIRST
    while position + _WEBP_CHUNK.size <= end:
        name, length = _WEBP_CHUNK.unpack_from(data, position)
        start = position + _WEBP_CHUNK.size
        yield name, start, start + length
        position = start + length + length % 2


def _never_written(data: Bytes, size: Size, start: int, stop: int) -> bool:
    # Space that was reserved and never written decodes as grey. An image of one colour also ends in zeros, but
    # with at most one byte for 10,000 px (measured from 64 to 4096 px).
    zeros = min(_LEAST_ZEROS + size.width * size.height // _PX_A_ZERO, stop - start)
    return zeros > 0 and data[stop - zeros : stop] == bytes(zeros)


def _webp_size(kind: bytes, body: bytes) -> Size | None:
    if kind == b"VP8X":
        return Size(int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        sides = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return some(*(side & 0x3FFF for side in sides))
    return None
