"""Reads JPEG 2000 files: the boxes of JP2, and the tile-parts of the codestream."""

from __future__ import annotations

import struct

from expandd.adapters.images.formats.boxes import Box, boxes, padding
from expandd.adapters.images.formats.common import Bytes, Structure, laborious, most_parts, some, unreadable
from expandd.domain.image import ImageFormat, Invalid

JP2, CODESTREAM = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"

_SOT, _SOD, _EOC = b"\xff\x90", b"\xff\x93", b"\xff\xd9"
_MARK = 2
_LEAST_PART = 14  # a part's header, and the marker behind it
_FILM = b"mjp2"


def walk_jpeg2000(data: Bytes) -> Structure | Invalid | None:
    """The structure when the parts of the codestream lead to its own end; None when they do not."""
    if data[:4] == CODESTREAM:
        return _codestream(data, 0, len(data))
    most, several = most_parts(len(data)), False
    found: Structure | None = None
    for box in boxes(data, 0, len(data)):
        most -= 1
        if most < 0:
            return laborious(ImageFormat.JPEG2000, "boxes without end")
        if not box.kind:
            if found is None or not padding(data, box):
                return None
            break
        if box.kind == b"ftyp" and data[box.start : box.start + 4] == _FILM:
            return unreadable(ImageFormat.JPEG2000, "is a film")
        if box.kind == b"jp2c":
            one = _first(data, box)
            if not isinstance(one, Structure):
                return one
            several = found is not None
            found = found or one
    return Structure(ImageFormat.JPEG2000, found.size, several=several) if found else None


def _first(data: Bytes, box: Box) -> Structure | Invalid | None:
    if data[box.start : box.start + 4] != CODESTREAM:
        return None
    return _codestream(data, box.start, box.stop)


def _codestream(data: Bytes, start: int, stop: int) -> Structure | Invalid | None:
    if start + 24 > stop:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    size = some(max(right - left, 0), max(bottom - top, 0))
    position, most = start + _MARK, most_parts(len(data))
    while size is not None and position + _MARK <= stop:
        mark = data[position : position + _MARK]
        most -= 1
        if most < 0:
            return laborious(ImageFormat.JPEG2000, "parts without end")
        if mark == _EOC:
            return Structure(ImageFormat.JPEG2000, size) if _never_empty(data, start, position) else None
        end = _end(data, position, stop)
        if end is None:
            return None
        position = end
    return None


def _never_empty(data: Bytes, start: int, end: int) -> bool:
    return data.find(_SOD, start, end) >= 0


def _end(data: Bytes, position: int, stop: int) -> int | None:
    """The end of the tile-part or header segment whose marker is at `position`."""
    if data[position] != _SOT[0] or position + 10 > stop:
        return None
    if data[position : position + _MARK] != _SOT:
        length = int.from_bytes(data[position + 2 : position + 4])
        return position + _MARK + length if length >= _MARK else None
    length = int.from_bytes(data[position + 6 : position + 10])
    if not length:
        # The last one may have no length. Coded data contains no marker.
        end = data.find(_EOC, position + _LEAST_PART, stop)
        return end if end >= 0 else None
    return position + length if length >= _LEAST_PART else None
