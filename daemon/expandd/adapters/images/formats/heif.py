"""Reads the boxes of HEIC and AVIF files: the list of their items, and whether the items are there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from expandd.adapters.images.formats.boxes import Box, boxes, padding
from expandd.adapters.images.formats.common import Bytes, Structure, laborious, most_parts, some, unreadable
from expandd.domain.image import ImageFormat, Invalid, Size

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF = frozenset({b"avif", b"avis"})
_ANY = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})
BRANDS = _HEIC | _AVIF | _ANY

# The types of items that are images: coded by themselves, or composed of others.
_HEVC = frozenset({b"hvc1", b"hev1"})
_KNOWN = _HEVC | {b"av01", b"grid", b"iden", b"iovl"}
_FULL = 4  # bytes of version and flags
_FILE, _IDAT = 0, 1
_KINDS_FROM = 2  # the first version of an item's entry that states the item's type
_XMP, _TYPE_WITHIN = b"application/rdf+xml", 64
_GAP = bytes(16)
_LEAST_ZEROS, _PX_A_ZERO = 1024, 8192


def heif_format(head: bytes) -> ImageFormat | None:
    """HEIC or AVIF, by the major and compatible brands at the start of a file."""
    if head[4:8] != b"ftyp":
        return None
    major, length = head[8:12], int.from_bytes(head[:4])
    beside = [head[at : at + 4] for at in range(16, min(length, len(head)), 4)]
    if major not in BRANDS:
        return None
    named = next((brand for brand in (major, *beside) if brand in _HEIC | _AVIF), b"")
    return ImageFormat.AVIF if named in _AVIF else ImageFormat.HEIC


class _CutOffError(Exception):
    """Something lies behind the end of the file, or of the box it belongs to."""


class _TooManyError(Exception):
    """The lists have no end."""


@dataclass(slots=True)
class Items:
    """The items in the boxes. `parts` are the start and end of each part in the file, `xmp` the items that are XMP."""

    primary: int | None = None
    kinds: dict[int, bytes] = field(default_factory=dict)
    xmp: set[int] = field(default_factory=set)
    parts: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    properties: list[Box] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)


def walk_heif(data: Bytes) -> Structure | Invalid | None:
    """The structure when the boxes lead to the end of the file and all items lie in it; None when they do not."""
    image_format = heif_format(data[:4096]) or ImageFormat.HEIC
    walk = _Walk(data)
    try:
        moves = walk.take_file()
        return _found(data, image_format, walk.items, moves=moves)
    except (_CutOffError, struct.error):
        return None
    except _TooManyError:
        return laborious(image_format, "lists without end")


def items_in(data: Bytes) -> Items | None:
    """The items of a whole file; None where its lists lead nowhere."""
    walk = _Walk(data)
    try:
        walk.take_file()
    except (_CutOffError, _TooManyError, struct.error):
        return None
    return walk.items


def _found(data: Bytes, image_format: ImageFormat, items: Items, *, moves: bool) -> Structure | Invalid | None:
    if items.primary is None:
        return unreadable(image_format, "is a sequence without a still image") if moves else None
    kind = items.kinds.get(items.primary, b"")
    if not all(kind):
        return None
    if kind and kind not in _KNOWN:
        return unreadable(image_format, f"is coded in a way that cannot be read ({kind.decode('ascii', 'replace')})")
    size = _size(data, items)
    if size is None or any(
        _never_written(data, size, items.kinds.get(number, b""), *part)
        for number, parts in items.parts.items()
        for part in parts
    ):
        return None
    return Structure(image_format, size, several=moves)


def _size(data: Bytes, items: Items) -> Size | None:
    """The stored size of the primary item, before it is turned or cropped."""
    for number in items.owned.get(items.primary or 0, ()):
        if 0 < number <= len(items.properties) and items.properties[number - 1].kind == b"ispe":
            start = items.properties[number - 1].start + _FULL
            return some(*struct.unpack_from(">II", data, start))
    return None


def _never_written(data: Bytes, size: Size, kind: bytes, start: int, stop: int) -> bool:
    # Space that was reserved and never written may decode as some colour. HEVC has three zeros in a row only in the
    # lengths before its parts; for AV1 the rule of WEBP applies.
    if kind in _HEVC:
        return data.find(_GAP, start, stop) >= 0
    zeros = min(_LEAST_ZEROS + size.pixels // _PX_A_ZERO, stop - start)
    return kind == b"av01" and data[stop - zeros : stop] == bytes(zeros)


class _Walk:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._most = most_parts(len(data))
        """Boxes, items and parts that may still follow."""
        self._room = 2 * len(data)
        """Bytes of parts that may still follow. Those of an honest file do not overlap."""
        self._inner: list[tuple[int, int, int]] = []
        """Item, start and end of the parts in the list's own content box (idat)."""
        self._content: Box | None = None
        self.items = Items()

    def take_file(self) -> bool:
        """Read all boxes of the file; returns whether one of them is a movie."""
        moves, listed = False, False
        for box in boxes(self._data, 0, len(self._data)):
            self._count()
            if not box.kind:
                if listed and padding(self._data, box):
                    break
                raise _CutOffError
            moves = moves or box.kind == b"moov"
            if box.kind == b"meta" and not listed:
                listed = True
                self._take_list(box)
        return moves

    def _count(self, parts: int = 1) -> None:
        self._most -= parts
        if self._most < 0:
            raise _TooManyError

    def _boxes(self, start: int, stop: int) -> Iterator[Box]:
        for box in boxes(self._data, start, stop):
            self._count()
            if not box.kind:
                raise _CutOffError
            yield box

    def _take_list(self, meta: Box) -> None:
        for box in self._boxes(meta.start + _FULL, meta.stop):
            match box.kind:
                case b"pitm":
                    self.items.primary = _Numbers(self._data, box, _FULL).take(4 if self._version(box) else 2)
                case b"iinf":
                    self._take_kinds(box)
                case b"iloc":
                    self._take_places(box)
                case b"iprp":
                    self._take_properties(box)
                case b"idat":
                    self._content = box
        self._place_inner()

    def _version(self, box: Box) -> int:
        return _Numbers(self._data, box, 0).take(1)

    def _take_kinds(self, box: Box) -> None:
        for entry in self._boxes(box.start + _FULL + (4 if self._version(box) else 2), box.stop):
            version = self._version(entry)
            if entry.kind != b"infe" or version < _KINDS_FROM:
                continue
            wide = 4 if version > _KINDS_FROM else 2
            number = _Numbers(self._data, entry, _FULL).take(wide)
            start = entry.start + _FULL + wide + 2
            kind = self.items.kinds[number] = self._data[start : min(start + 4, entry.stop)]
            if kind == b"mime" and _XMP in self._data[start : min(start + _TYPE_WITHIN, entry.stop)]:
                self.items.xmp.add(number)

    def _take_places(self, box: Box) -> None:
        version, numbers = self._version(box), _Numbers(self._data, box, _FULL)
        sizes = numbers.take(2)
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(numbers.take(4 if version > 1 else 2)):
            item = numbers.take(4 if version > 1 else 2)
            method = numbers.take(2) & 15 if version else _FILE
            elsewhere, start, parts = numbers.take(2), numbers.take(base), numbers.take(2)
            self._count(parts + 1)
            for _ in range(parts):
                if version:
                    numbers.take(index)
                begin = start + numbers.take(offset)
                size = numbers.take(length)
                if not elsewhere:
                    self._take_part(item, method, begin, size)

    def _take_part(self, item: int, method: int, begin: int, size: int) -> None:
        if method == _IDAT:
            self._inner.append((item, begin, begin + size))
        elif method == _FILE:
            # No length means to the end of the file.
            stop = begin + size if size else len(self._data)
            if not begin <= stop <= len(self._data):
                raise _CutOffError
            self._room -= stop - begin
            if self._room < 0:
                raise _TooManyError
            self.items.parts.setdefault(item, []).append((begin, stop))

    def _place_inner(self) -> None:
        for item, start, stop in self._inner:
            box = self._content
            if box is None or box.start + stop > box.stop:
                raise _CutOffError
            self.items.parts.setdefault(item, []).append((box.start + start, box.start + stop))

    def _take_properties(self, box: Box) -> None:
        for inner in self._boxes(box.start, box.stop):
            if inner.kind == b"ipco":
                self.items.properties = list(self._boxes(inner.start, inner.stop))
            elif inner.kind == b"ipma":
                self._take_owners(inner)

    def _take_owners(self, box: Box) -> None:
        numbers = _Numbers(self._data, box, 0)
        flags = numbers.take(4)
        wide, number_size = flags & 1, 4 if flags >> 24 else 2
        for _ in range(numbers.take(4)):
            item, count = numbers.take(number_size), numbers.take(1)
            self._count(count + 1)
            owned = [numbers.take(2) & 0x7FFF if wide else numbers.take(1) & 0x7F for _ in range(count)]
            self.items.owned.setdefault(item, owned)


class _Numbers:
    """Takes one number after the other out of a box."""

    def __init__(self, data: Bytes, box: Box, skipped: int) -> None:
        self._data, self._at, self._stop = data, box.start + skipped, box.stop

    def take(self, size: int) -> int:
        if self._at + size > self._stop:
            raise _CutOffError
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at])
