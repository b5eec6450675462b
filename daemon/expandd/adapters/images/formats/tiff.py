"""Reads the directories of TIFF files, classic and BigTIFF: one for each page, linked in a list.

Camera raw files are TIFFs too, with the sensor's pixels; their tags give them away.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from expandd.adapters.images.foreign_types import camera_raw
from expandd.adapters.images.formats.common import Bytes, Structure, half_empty, laborious, most_parts, some, unreadable
from expandd.domain.image import ImageFormat, Invalid, Size

CLASSIC, BIG = (b"II*\0", b"MM\0*"), (b"II+\0", b"MM\0+")

MOST_PIECES = 1_000_000
"""Strips or tiles of a file at most: an image of 250 million px in tiles of 16 by 16 px."""

_NEW_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _MAKER = 254, 256, 257, 259, 262, 271
_STRIPS, _STRIP_LENGTHS, _TILES, _TILE_LENGTHS = 273, 279, 324, 325
_SUB, _OLD_JPEG, _OLD_JPEG_LENGTH, _DNG = 330, 513, 514, 50706
_REDUCED, _MASK = 1, 4
_PLAIN, _RGB = frozenset({0, 1}), 2
_SENSOR = frozenset({32803, 34892})  # pixels in the pattern of the sensor's filters, or linear raw values
_RAW_COMPRESSIONS = frozenset({32767, 34713, 65000, 65535})  # Sony's, Nikon's, Kodak's, Pentax's
_RAW_MAGICS = {b"CR": "Canon", b"IIII": "Phase One"}  # behind the header of a TIFF
_MOST_SUBS = 64
_LENGTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


_Tags = dict[int, tuple[int, int, int]]
"""The type, number and place of the values of each tag."""


class _CutOffError(Exception):
    """Something lies behind the end of the file."""


class _EndlessError(Exception):
    """There are more entries or pieces than any image needs."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of numbers in the file: byte order, number of entries, entry and offset, as struct formats."""

    order: str
    count: struct.Struct
    entry: struct.Struct
    offset: struct.Struct

    @property
    def inline(self) -> int:
        """The most bytes of a value inside its entry."""
        return self.offset.size


def _layout(head: bytes) -> _Layout:
    order = "<" if head[:1] == b"I" else ">"
    forms = ("Q", "HHQ8s", "Q") if head in BIG else ("H", "HHI4s", "I")
    return _Layout(order, *(struct.Struct(order + form) for form in forms))


def walk_tiff(data: Bytes) -> Structure | Invalid | None:
    """The structure when each page lies in the file with all its pieces; None when one does not."""
    try:
        for magic, maker in _RAW_MAGICS.items():
            if data[8 : 8 + len(magic)] == magic:
                return Invalid(camera_raw(maker, dng=False))
        return _Walk(data).found()
    except (_CutOffError, struct.error, OverflowError):
        return None
    except _EndlessError:
        return laborious(ImageFormat.TIFF, "directories or pieces without end")


class _Walk:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._layout = _layout(data[:4])
        self._entries = most_parts(len(data))
        """Entries that may still follow, over all pages."""
        self._pieces = MOST_PIECES

    def found(self) -> Structure | Invalid | None:
        first: Size | None = None
        preview, pages = False, 0
        for directory in self._directories():
            tags = self._tags(directory)
            if self._raw(tags):
                return Invalid(camera_raw(self._maker(tags), dng=_DNG in tags))
            size = self._page(tags)
            kind = self._number(tags, _NEW_SUBFILE)
            if first is None:
                if size is None:
                    return None
                first, preview = size, bool(kind & _REDUCED)
            pages += not kind & (_REDUCED | _MASK)
        if first is None:
            return None
        if preview and pages:
            return unreadable(ImageFormat.TIFF, "begins with a small preview of another page")
        return Structure(ImageFormat.TIFF, first, several=pages > 1)

    def _directories(self) -> Iterator[int]:
        """The offsets of the pages' directories; a repeated page ends the list, as in every viewer."""
        layout, seen = self._layout, set[int]()
        at = 8 if layout.inline == 8 else 4  # noqa: PLR2004, its offset in the header of each of the two kinds
        (start,) = layout.offset.unpack_from(self._data, at)
        if not start:
            raise _CutOffError
        while start and start not in seen:
            seen.add(start)
            yield start
            (entries,) = layout.count.unpack_from(self._data, start)
            (start,) = layout.offset.unpack_from(self._data, start + layout.count.size + entries * layout.entry.size)

    def _tags(self, start: int) -> _Tags:
        """Type, number of values and place of each entry."""
        layout, tags = self._layout, _Tags()
        (entries,) = layout.count.unpack_from(self._data, start)
        self._require(start + layout.count.size, entries * layout.entry.size)
        self._entries -= entries + 1
        if self._entries < 0:
            raise _EndlessError
        for number in range(entries):
            at = start + layout.count.size + number * layout.entry.size
            tag, kind, count, _ = layout.entry.unpack_from(self._data, at)
            place = at + layout.entry.size - layout.inline
            if kind not in _LENGTHS:
                continue
            length = _LENGTHS[kind] * count
            if length > layout.inline:
                (place,) = layout.offset.unpack_from(self._data, place)
                self._require(place, length)
            tags.setdefault(tag, (kind, count, place))
        return tags

    def _require(self, start: int, length: int) -> None:
        if start + length > len(self._data):
            raise _CutOffError

    def _values(self, tags: _Tags, tag: int, most: int = MOST_PIECES) -> array[int]:
        """The whole numbers of an entry, at most `most`; none when it is absent or of another type."""
        kind, count, place = tags.get(tag, (0, 0, 0))
        found = array(_CODES.get(kind, "B"))
        if kind in _CODES:
            found.frombytes(self._data[place : place + min(count, most) * found.itemsize])
            if (self._layout.order == "<") != (sys.byteorder == "little"):
                found.byteswap()
        return found

    def _number(self, tags: _Tags, tag: int) -> int:
        values = self._values(tags, tag, 1)
        return values[0] if values else 0

    def _page(self, tags: _Tags) -> Size | None:
        """The size of a page whose pieces all lie in the file."""
        for offsets, lengths in ((_STRIPS, _STRIP_LENGTHS), (_TILES, _TILE_LENGTHS), (_OLD_JPEG, _OLD_JPEG_LENGTH)):
            if offsets in tags:
                self._require_pieces(tags, offsets, lengths)
                return some(self._number(tags, _WIDTH), self._number(tags, _HEIGHT))
        return None

    def _require_pieces(self, tags: _Tags, offsets: int, lengths: int) -> None:
        self._pieces -= tags[offsets][1]
        if self._pieces < 0:
            raise _EndlessError
        starts, sizes = self._values(tags, offsets), self._values(tags, lengths)
        if lengths not in tags:
            # Early writers left the length out where there is one piece.
            sizes = array("Q", [1]) * len(starts)
        if not starts or len(sizes) < len(starts) or not all(sizes) or not all(starts):
            raise _CutOffError
        end = max(map(int.__add__, starts, sizes))
        if end > len(self._data):
            raise _CutOffError
        plain = self._number(tags, _COMPRESSION) in _PLAIN and self._number(tags, _PHOTOMETRIC) == _RGB
        if plain and half_empty(self._data, min(starts), end):
            raise _CutOffError

    def _raw(self, tags: _Tags) -> bool:
        return self._of_sensor(tags) or any(map(self._of_sensor, self._subs(tags)))

    def _of_sensor(self, tags: _Tags) -> bool:
        return (
            _DNG in tags
            or self._number(tags, _PHOTOMETRIC) in _SENSOR
            or self._number(tags, _COMPRESSION) in _RAW_COMPRESSIONS
        )

    def _subs(self, tags: _Tags) -> Iterator[_Tags]:
        """The readable directories below a page, which no viewer shows."""
        for start in self._values(tags, _SUB, _MOST_SUBS):
            try:
                yield self._tags(start)
            except (_CutOffError, struct.error, OverflowError):
                continue

    def _maker(self, tags: _Tags) -> str:
        kind, count, place = tags.get(_MAKER, (0, 0, 0))
        ascii_text = 2
        return self._data[place : place + min(count, 64)].decode("ascii", "replace") if kind == ascii_text else ""
