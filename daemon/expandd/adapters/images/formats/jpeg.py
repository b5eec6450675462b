"""Reads the segments of JPEG files.

Cameras and phones write several images into one file (Multi-Picture Format): a preview, a second lens, a gain map.
The first one is the photo.
"""

from __future__ import annotations

import re
import struct

from expandd.adapters.images.formats.common import Bytes, Spans, Structure, laborious, most_parts, some
from expandd.domain.image import ImageFormat, Invalid, Size

START = b"\xff\xd8\xff"

MOST_SCANS = 100
"""Scans at most. Progressive images have about ten, and each decodes all pixels again."""

# A marker that ends a scan: not a stuffed FF00, not TEM or RSTn, not a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SOS, _EOI, _APP2 = 0xDA, 0xD9, 0xE2
_MARK, _LENGTH = 2, 2
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEVERAL = b"MPF\0"
_NUMBER_OF_IMAGES = 0xB001
_MOST_ENTRIES = 64


def walk_jpeg(data: Bytes) -> Structure | Invalid | None:
    """The structure when segments and scans lead from SOI to the image's own EOI; None when they do not.

    The content of a segment is skipped by its length, so a thumbnail's EOI does not count.
    """
    position, size, scans, index = 2, None, 0, (0, 0)
    most = most_parts(len(data))
    while found := _MARKER.search(data, position):
        position, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            return _first(data, size, position + _MARK, index) if size and scans else None
        length = int.from_bytes(data[position + 2 : position + 4])
        most -= 1
        if length < _LENGTH:
            return None
        if marker in _SOF:
            size = _jpeg_size(data[position + 5 : position + 9])
        if marker == _APP2 and data[position + 4 : position + 8] == _SEVERAL:
            index = position, position + _MARK + length
        scans += marker == _SOS
        if scans > MOST_SCANS:
            return laborious(ImageFormat.JPEG, f"more than {MOST_SCANS} scans")
        if most < 0:
            return laborious(ImageFormat.JPEG, f"more than {most_parts(len(data)):,} segments")
        position += _MARK + length
    return None


def _jpeg_size(sides: bytes) -> Size | None:
    return some(int.from_bytes(sides[2:4]), int.from_bytes(sides[:2]))


def _first(data: Bytes, size: Size, end: int, index: tuple[int, int]) -> Structure:
    """The structure of the first image alone, which is an ordinary JPEG; `index` is the place of the list of all."""
    start, stop = index
    if not stop or not (_announced(data[start + 8 : stop]) > 1 or data.find(START, end) >= 0):
        return Structure(ImageFormat.JPEG, size)
    spans: Spans = ((0, start), (stop, end))
    return Structure(ImageFormat.JPEG, size, spans, several=True)


def _announced(index: bytes) -> int:
    """The number of images that the list announces, 0 when it cannot be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(index[:4])
    if order is None:
        return 0
    try:
        (at,) = struct.unpack_from(f"{order}I", index, 4)
        (entries,) = struct.unpack_from(f"{order}H", index, at)
        for number in range(min(entries, _MOST_ENTRIES)):
            tag, _, _, value = struct.unpack_from(f"{order}HHII", index, at + 2 + 12 * number)
            if tag == _NUMBER_OF_IMAGES:
                return int(value)
    except struct.error:
        return 0
    return 0
