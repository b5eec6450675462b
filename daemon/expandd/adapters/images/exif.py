"""Reads and changes EXIF blocks and their TIFF directories, without moving values.

Maker notes contain offsets from the start of the block that only the camera's maker can read, so a block is changed in
place: its orientation, its sizes, its thumbnail. Everything in it is hostile: each step is bounded, and a damaged block
counts as an empty one, never as an error.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO

from expandd.domain.image import Size

PREFIX = b"Exif\0\0"
"""The prefix of the block in a JPEG segment."""

MOST = 1 << 20
"""Bytes of an EXIF block. Cameras write some 20,000, and JPEG has room for 65,527."""

Dpi = tuple[Fraction, Fraction]
"""Dots per inch, horizontally and vertically."""

_MOST_FIELDS = 1000
_MOST_THUMBNAILS = 4
_MOST_DPI = 65_535

_SHORT, _LONG, _RATIONAL, _IFD = 3, 4, 5, 13
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}

_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_STRIPS, _STRIP_LENGTHS, _THUMBNAIL, _THUMBNAIL_LENGTH = 273, 279, 513, 514
_ACROSS, _DOWN, _UNIT = 282, 283, 296
_INCH, _CENTIMETRE = 2, 3
_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965
_SEEN_WIDTH, _SEEN_HEIGHT = 40962, 40963
_BELOW = frozenset({_EXIF, _GPS, _INTEROPERABILITY})

# What describes the photo, not how a file keeps its pixels: description, camera, resolution, program, time, author,
# computer, rating, copyright, and Windows' title, comment, author, keywords and subject.
_DESCRIPTIVE = frozenset({
    270, 271, 272, _ORIENTATION, _ACROSS, _DOWN, _UNIT, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096),
})  # fmt: skip


class Damaged(ValueError):
    """The block, or the requested directory, is damaged."""


@dataclass(frozen=True, slots=True)
class Field:
    """One entry of a directory: at `at` in the file, its value of `length` bytes at `value_at`."""

    tag: int
    kind: int
    count: int
    at: int
    value_at: int
    length: int


@dataclass(frozen=True, slots=True)
class Directory:
    """An image file directory from `start` to `stop`; the next one is at `following`, 0 for none."""

    start: int
    stop: int
    fields: tuple[Field, ...]
    following: int

    def field(self, tag: int) -> Field | None:
        return next((field for field in self.fields if field.tag == tag), None)


class Tiff:
    """The directories of a TIFF, a BigTIFF or an EXIF block. Raises Damaged where it is none."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = self._read(0, 16, least=8)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None:
            raise Damaged("no TIFF")
        self.order = order
        (version,) = struct.unpack_from(order + "H", head, 2)
        self.big = version == 43  # noqa: PLR2004 - the number of BigTIFF
        if version != 42 and not (self.big and len(head) == 16):  # noqa: PLR2004 - the number of TIFF, its length
            raise Damaged("no TIFF")
        self.first: int = struct.unpack_from(order + ("Q" if self.big else "I"), head, 8 if self.big else 4)[0]

    def directory(self, at: int) -> Directory:
        if at < 8:  # noqa: PLR2004 - the header's length
            raise Damaged("a directory in the header")
        count, entry, offset = ("Q", "HHQ", "Q") if self.big else ("H", "HHI", "I")
        head, width = struct.calcsize(count), struct.calcsize("=" + entry + offset)
        room = struct.calcsize(offset)
        (fields,) = struct.unpack(self.order + count, self._read(at, head))
        if fields > _MOST_FIELDS:
            raise Damaged("too many fields")
        table = self._read(at + head, fields * width)
        stop = at + head + fields * width
        found = []
        for number in range(fields):
            tag, kind, values = struct.unpack_from(self.order + entry, table, number * width)
            entry_at = at + head + number * width
            length = _WIDTHS.get(kind, 0) * values
            value_at = entry_at + width - room
            if length > room:
                (value_at,) = struct.unpack_from(self.order + offset, table, (number + 1) * width - room)
            found.append(Field(tag, kind, values, entry_at, value_at, length))
        # Some cameras end the block without saying that no other directory follows.
        following = self._read(stop, room, least=0)
        after = struct.unpack(self.order + offset, following)[0] if len(following) == room else 0
        return Directory(at, stop + len(following), tuple(found), after)

    def value(self, field: Field | None, most: int) -> bytes:
        """The field's bytes; none where the field is absent, cut off, or longer than `most` bytes."""
        if field is None or not 0 < field.length <= most:
            return b""
        try:
            return self._read(field.value_at, field.length)
        except Damaged:
            return b""

    def number(self, field: Field | None) -> int | None:
        """The field's first number."""
        numbers = self.numbers(field, 1)
        return numbers[0] if numbers else None

    def numbers(self, field: Field | None, most: int) -> tuple[int, ...]:
        if field is None or field.kind not in _NUMBERS:
            return ()
        count = min(field.count, most)
        try:
            data = self._read(field.value_at, count * _WIDTHS[field.kind])
        except Damaged:
            return ()
        return struct.unpack(f"{self.order}{count}{_NUMBERS[field.kind]}", data)

    def below(self, directory: Directory, tag: int) -> Directory | None:
        """The directory that the field points to, None where it cannot be read."""
        at = self.number(directory.field(tag))
        try:
            return None if at is None else self.directory(at)
        except Damaged:
            return None

    def resolution(self, directory: Directory) -> Dpi | None:
        unit = self.number(directory.field(_UNIT))
        if unit not in {None, _INCH, _CENTIMETRE}:
            return None
        sides = []
        for tag in (_ACROSS, _DOWN):
            field = directory.field(tag)
            value = self.value(field, 8)
            if field is None or field.kind != _RATIONAL or len(value) != 8:  # noqa: PLR2004 - two numbers
                return None
            above, beneath = struct.unpack(self.order + "II", value)
            sides.append(Fraction(above, beneath or 1) * (Fraction(254, 100) if unit == _CENTIMETRE else 1))
        return sensible_dpi(*sides)

    def _read(self, at: int, length: int, *, least: int | None = None) -> bytes:
        if at >= 1 << 63:
            raise Damaged("beyond any file")
        self._file.seek(at)
        found = self._file.read(length)
        if len(found) < (length if least is None else least):
            raise Damaged("cut off")
        return found


def sensible_dpi(across: Fraction, down: Fraction) -> Dpi | None:
    """The resolution, None for an implausible one, such as 0 or 1 dpi."""
    return (across, down) if all(1 < side <= _MOST_DPI for side in (across, down)) else None


def block_of(data: bytes) -> bytes:
    """The EXIF block without the prefixes of containers; empty where the data is none."""
    block = data[len(PREFIX) :] if data[:5] == PREFIX[:5] else data
    return block if len(block) <= MOST and _opened(block) is not None else b""


def resolution_of(exif: bytes) -> Dpi | None:
    opened = _opened(exif)
    return opened[0].resolution(opened[1]) if opened else None


def _opened(exif: bytes) -> tuple[Tiff, Directory] | None:
    """The block and its first directory, None where it is damaged."""
    try:
        tiff = Tiff(io.BytesIO(exif))
        return None if tiff.big else (tiff, tiff.directory(tiff.first))
    except Damaged:
        return None


def normalised(exif: bytes, size: Size) -> bytes:
    """The block for an upright image of `size` px: orientation 1, these sizes, no thumbnail; empty where damaged."""
    opened = _opened(exif) if len(exif) <= MOST else None
    if opened is None:
        return b""
    tiff, first = opened
    data = bytearray(exif)
    seen = tiff.below(first, _EXIF)
    for directory, changes in (
        (first, {_ORIENTATION: 1, _WIDTH: size.width, _HEIGHT: size.height}),
        (seen, {_SEEN_WIDTH: size.width, _SEEN_HEIGHT: size.height}),
    ):
        for field in directory.fields if directory else ():
            if field.tag in changes:
                kind, width = (_SHORT, "H2x") if field.tag == _ORIENTATION else (_LONG, "I")
                struct.pack_into(f"{tiff.order}HHI{width}", data, field.at, field.tag, kind, 1, changes[field.tag])
    return _without_thumbnail(tiff, first, data)


def _without_thumbnail(tiff: Tiff, first: Directory, data: bytearray) -> bytes:
    if not first.following:
        return bytes(data)
    used, last = _used(tiff, first, len(data))
    before = len(data)
    for start, stop in _thumbnails(tiff, first.following):
        # Bytes that overlap with the photo's own fields are not the thumbnail's, although the block says so.
        if start < stop <= len(data) and used.find(1, start, stop) < 0:
            data[start:stop] = bytes(stop - start)
            before = min(before, start)
    data[first.stop - 4 : first.stop] = bytes(4)
    # Zeros before it may belong to a maker note, whose length is stated nowhere.
    return bytes(data[: max(last, before, len(data.rstrip(b"\0")))])


def _used(tiff: Tiff, first: Directory, length: int) -> tuple[bytearray, int]:
    """For each byte of the block whether the photo's own fields lie there, and where they end."""
    seen = tiff.below(first, _EXIF)
    below = (seen, tiff.below(first, _GPS), tiff.below(seen, _INTEROPERABILITY) if seen else None)
    used, last = bytearray(length), 8
    for start, stop in ((0, 8), *(span for found in (first, *below) if found for span in _spans(found))):
        if start < stop <= length:
            used[start:stop] = b"\1" * (stop - start)
            last = max(last, stop)
    return used, last


def _spans(directory: Directory) -> Iterator[tuple[int, int]]:
    yield directory.start, directory.stop
    for field in directory.fields:
        yield field.value_at, field.value_at + field.length


def _thumbnails(tiff: Tiff, at: int) -> Iterator[tuple[int, int]]:
    """The spans of the thumbnails' directories, values and pixels."""
    for _ in range(_MOST_THUMBNAILS):
        try:
            directory = tiff.directory(at)
        except Damaged:
            return
        yield from _spans(directory)
        for offsets, lengths in ((_THUMBNAIL, _THUMBNAIL_LENGTH), (_STRIPS, _STRIP_LENGTHS)):
            starts, sizes = (tiff.numbers(directory.field(tag), _MOST_FIELDS) for tag in (offsets, lengths))
            yield from ((start, start + length) for start, length in zip(starts, sizes, strict=False))
        at = directory.following


def with_resolution(exif: bytes, dpi: Dpi) -> bytes:
    """The block with this resolution, for containers without another place for it; a new block where there is none.

    The first directory moves to the end with its fields unchanged, so that nothing else moves.
    """
    opened = _opened(exif)
    order = opened[0].order if opened else "<"
    fields = {field.tag: exif[field.at : field.at + 12] for field in (opened[1].fields if opened else ())}
    data = bytearray(exif if opened else b"II*\0".ljust(8, b"\0"))
    data += bytes(len(data) % 2)
    for tag, side in zip((_ACROSS, _DOWN), dpi, strict=True):
        ratio = side.limit_denominator(10_000)
        fields[tag] = struct.pack(order + "HHII", tag, _RATIONAL, 1, len(data))
        data += struct.pack(order + "II", ratio.numerator, ratio.denominator)
    fields[_UNIT] = struct.pack(order + "HHIH2x", _UNIT, _SHORT, 1, _INCH)
    struct.pack_into(order + "I", data, 4, len(data))
    table = b"".join(fields[tag] for tag in sorted(fields))
    following = opened[1].following if opened else 0
    return bytes(data) + struct.pack(order + "H", len(fields)) + table + struct.pack(order + "I", following)


@dataclass(frozen=True, slots=True)
class Entry:
    """A field with its value, or with the fields of the directory that it points to."""

    tag: int
    kind: int
    count: int
    value: bytes
    below: tuple[Entry, ...] = ()


def standalone(tiff: Tiff, first: Directory, most: int = MOST) -> bytes:
    """A TIFF's facts about its photo, as an EXIF block of at most `most` bytes; empty where it has none.

    Values are copied unchanged; the longest are left out where there is no room for all.
    """
    copied = _copied(tiff, first, _DESCRIPTIVE | {_EXIF, _GPS}, [most - 256])
    if not copied:
        return b""
    return (
        (b"II*\0" if tiff.order == "<" else b"MM\0*")
        + struct.pack(tiff.order + "I", 8)
        + laid_out(tiff.order, copied, 8)
    )


def shortened(exif: bytes, most: int) -> bytes:
    """The block in at most `most` bytes, made anew without its longest values where it is longer."""
    opened = _opened(exif) if len(exif) > most else None
    return standalone(*opened, most) if opened else exif


def _copied(tiff: Tiff, directory: Directory, tags: frozenset[int] | None, room: list[int]) -> tuple[Entry, ...]:
    """The directory's fields of `tags`, or all, sorted; `room` holds the bytes that may still be taken."""
    found: dict[int, Entry] = {}
    for field in sorted(directory.fields, key=lambda field: field.length):
        if field.tag in found or (tags is not None and field.tag not in tags) or room[0] < field.length + 14:
            continue
        room[0] -= field.length + 14
        if field.tag in _BELOW:
            # Below a directory only the interoperability directory belongs; other pointers are made to lead in circles.
            below = tiff.below(directory, field.tag) if tags is not None or field.tag == _INTEROPERABILITY else None
            fields = _copied(tiff, below, None if tags is not None else frozenset({1, 2}), room) if below else ()
            if fields:
                found[field.tag] = Entry(field.tag, _LONG, 1, b"", fields)
        elif field.kind <= _IFD and (value := tiff.value(field, MOST)):
            found[field.tag] = Entry(field.tag, field.kind, field.count, value)
    return tuple(found[tag] for tag in sorted(found))


def entries(exif: bytes, order: str) -> tuple[Entry, ...]:
    """The block's facts about the photo, in a byte order, for a TIFF's directory; empty where damaged."""
    opened = _opened(exif)
    found = _copied(*opened, _DESCRIPTIVE | {_EXIF, _GPS}, [MOST]) if opened else ()
    return found if opened and opened[0].order == order else tuple(map(_turned_around, found))


def _turned_around(entry: Entry) -> Entry:
    numbers = array(_ARRAYS.get(entry.kind, "B"), entry.value)
    numbers.byteswap()
    return replace(entry, value=numbers.tobytes(), below=tuple(map(_turned_around, entry.below)))


# The struct code of each type's values; a rational number is two of them.
_ARRAYS = {3: "H", 4: "I", 5: "I", 8: "H", 9: "I", 10: "I", 11: "I", 12: "Q", 13: "I"}


def laid_out(order: str, fields: tuple[Entry, ...], at: int) -> bytes:
    """The bytes of a directory at offset `at`: its fields, their values, the directories below."""
    table, heap = bytearray(struct.pack(order + "H", len(fields))), bytearray()
    heap_at = at + 2 + 12 * len(fields) + 4
    for field in fields:
        here = heap_at + len(heap)
        value = laid_out(order, field.below, here) if field.below else field.value
        table += struct.pack(order + "HHI", field.tag, field.kind, field.count)
        if len(value) <= 4:  # noqa: PLR2004 - what fits in the place of its offset
            table += value.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", here)
            heap += value + bytes(len(value) % 2)
    return bytes(table) + bytes(4) + bytes(heap)
