"""Reads the headers of BMP files (Windows and OS/2): where the pixels begin, and how many bytes they take."""

from __future__ import annotations

import struct

from expandd.adapters.images.formats.common import Bytes, Structure, half_empty, some, unreadable
from expandd.domain.image import ImageFormat, Invalid, Size

_CORE, _OS2, _FIVE = 12, 64, 124
_HEADERS = frozenset({_CORE, 16, 40, 52, 56, _OS2, 108, _FIVE})
_FILE = 14  # bytes before the header that says the size
_LEAST = 18
_DEPTHS = frozenset({1, 4, 8, 16, 24, 32})
_PLAIN, _RUNS, _FIELDS = frozenset({0, 3}), frozenset({1, 2}), 3
_FULL_COLOUR = 24


def begins_bmp(head: bytes) -> bool:
    # Two letters alone would take any text that begins with BM for an image.
    return head.startswith(b"BM") and int.from_bytes(head[_FILE:_LEAST], "little") in _HEADERS


def may_become_bmp(head: bytes) -> bool:
    return b"BM".startswith(head[:2]) and len(head) < _LEAST and not any(head[6:10])


def walk_bmp(data: Bytes) -> Structure | Invalid | None:
    """The structure when all rows lie in the file; None when they do not.

    Writers disagree on the length of the file that the header names, so it counts only where the rows are packed.
    """
    length, start = (int.from_bytes(data[at : at + 4], "little") for at in (2, 10))
    header = int.from_bytes(data[_FILE:_LEAST], "little")
    if len(data) < _FILE + header:
        return None
    if header == _CORE:
        width, height, _, depth = struct.unpack_from("<4H", data, _LEAST)
        packing, packed = 0, 0
    else:
        width, height, _, depth = struct.unpack_from("<2i2H", data, _LEAST)
        packing, packed = struct.unpack_from("<2I", data, 30) if header > _CORE + 4 else (0, 0)
    size = some(max(width, 0), abs(height))
    if size is None or not depth:
        return None
    if depth not in _DEPTHS or packing not in _PLAIN | _RUNS or (packing == _FIELDS and header == _OS2):
        return unreadable(ImageFormat.BMP, f"is of a kind that cannot be read ({depth} bit, packing {packing})")
    end = start + (packed if packing in _RUNS else _rows(size, depth))
    if packing in _RUNS:
        end = max(end, length)
    if max(end, _profile_end(data, header)) > len(data) or start < _FILE + header:
        return None
    if packing not in _RUNS and depth >= _FULL_COLOUR and half_empty(data, start, end):
        return None
    return Structure(ImageFormat.BMP, size)


def _rows(size: Size, depth: int) -> int:
    """Bytes of all rows, each padded to four bytes."""
    return (size.width * depth + 31) // 32 * 4 * size.height


def _profile_end(data: Bytes, header: int) -> int:
    """The end of a colour profile behind the rows; 0 where there is none."""
    if header != _FIVE or data[_FILE + 56 : _FILE + 60] not in {b"DEBM", b"KNIL"}:
        return 0
    start, length = struct.unpack_from("<2I", data, _FILE + 112)
    return int(_FILE + start + length)
