"""Reads metadata from files that are made of boxes: HEIC and AVIF (ISO base media), JPEG 2000 (JP2).

Everything in them is hostile: boxes and items are counted, lengths are those of the file, nothing is followed twice.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

_MOST_BOXES = 4000
_MOST_ITEMS = 1000
_MOST_PIECES = 64

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"


@dataclass(slots=True)
class Found:
    """What a file of boxes carries, as it lies there. `per_metre`: pixels, across and down."""

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    per_metre: tuple[Fraction, Fraction] | None = None


class Boxes:
    """Walks the boxes of a file, of which no part longer than `most` bytes is read."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self._boxes = 0
        self.length = file.seek(0, os.SEEK_END)

    def within(self, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
        """The kind, start and end of the content of each box from `start` to `stop`."""
        while start + 8 <= stop and self._boxes < _MOST_BOXES:
            self._boxes += 1
            length, kind = struct.unpack(">I4s", self.read(start, start + 8))
            head = 8
            if length == 1 and start + 16 <= stop:
                (length,), head = struct.unpack(">Q", self.read(start + 8, start + 16)), 16
            end = start + length if length else stop
            if end < start + head or end > stop:
                return
            yield kind, start + head, end
            start = end

    def read(self, start: int, stop: int) -> bytes:
        """The bytes there; none where they are too many, or not all there."""
        if not 0 <= start < stop <= self.length or stop - start > self._most:
            return b""
        self._file.seek(start)
        found = self._file.read(stop - start)
        return found if len(found) == stop - start else b""

    def joined(self, spans: list[tuple[int, int]]) -> bytes:
        if sum(stop - start for start, stop in spans) > self._most:
            return b""
        return b"".join(self.read(*span) for span in spans)


def read_jp2(file: BinaryIO, most: int) -> Found:
    boxes, found = Boxes(file, most), Found()
    for kind, start, stop in boxes.within(0, boxes.length):
        if kind == b"jp2h":
            _read_header(boxes, start, stop, found)
        elif kind == b"uuid":
            name = boxes.read(start, start + 16)
            if name == _XMP_UUID:
                found.xmp = found.xmp or boxes.read(start + 16, stop)
            elif name == _EXIF_UUID:
                found.exif = found.exif or boxes.read(start + 16, stop)
    return found


def _read_header(boxes: Boxes, start: int, stop: int, found: Found) -> None:
    for kind, at, end in boxes.within(start, stop):
        if kind == b"colr" and boxes.read(at, at + 1) in {b"\2", b"\3"}:
            found.icc = found.icc or boxes.read(at + 3, end)
        elif kind == b"res ":
            for name, here, there in boxes.within(at, end):
                body = boxes.read(here, min(here + 10, there))
                # The resolution as captured tells more than the one for showing it.
                if len(body) == 10 and (name == b"resc" or (name == b"resd" and found.per_metre is None)):  # noqa: PLR2004 - the length that it has
                    down, down_of, across, across_of, down_tens, across_tens = struct.unpack(">HHHHbb", body)
                    found.per_metre = (
                        Fraction(across, across_of or 1) * Fraction(10) ** across_tens,
                        Fraction(down, down_of or 1) * Fraction(10) ** down_tens,
                    )


def read_heif(file: BinaryIO, most: int) -> Found:
    boxes, found = Boxes(file, most), Found()
    for kind, start, stop in boxes.within(0, boxes.length):
        if kind == b"meta":
            try:
                _read_meta(boxes, start + 4, stop, found)
            except struct.error:
                # A table that ends too early: what was read before it stays.
                return found
            break
    return found


def _read_meta(boxes: Boxes, start: int, stop: int, found: Found) -> None:
    parts = {kind: (at, end) for kind, at, end in boxes.within(start, stop)}
    for kind, at, end in boxes.within(*parts.get(b"iprp", (0, 0))):
        if kind == b"ipco":
            for name, here, there in boxes.within(at, end):
                if name == b"colr" and boxes.read(here, here + 4) in {b"prof", b"rICC"}:
                    found.icc = found.icc or boxes.read(here + 4, there)
    items = _items(boxes, *parts.get(b"iinf", (0, 0)))
    if not items:
        return
    for number, where in _places(boxes.read(*parts.get(b"iloc", (0, 0)))):
        # The first of each kind: a file made to keep its reader busy has thousands that lie on one another.
        kind = items.pop(number, b"")
        content = boxes.joined(where) if kind and not (found.exif if kind == b"Exif" else found.xmp) else b""
        if kind == b"Exif" and len(content) > 4:  # noqa: PLR2004 - where the block begins, in 4 bytes
            found.exif = found.exif or content[4 + int.from_bytes(content[:4]) :]
        elif kind == b"mime" and content:
            found.xmp = content


def _items(boxes: Boxes, start: int, stop: int) -> dict[int, bytes]:
    """The kind of each item of metadata, by its number."""
    items = {}
    # Past the version and the count, which is as long as the version says.
    start += 8 if boxes.read(start, start + 1) != b"\0" else 6
    for kind, at, end in boxes.within(start, stop):
        body = boxes.read(at, min(at + 64, end))
        if kind == b"infe" and body[:1] in {b"\2", b"\3"}:
            number, rest = struct.unpack_from(">H" if body[0] == 2 else ">I", body, 4)[0], 8 if body[0] == 2 else 10  # noqa: PLR2004 - versions
            name = body[rest : rest + 4]
            if name == b"Exif" or (name == b"mime" and b"application/rdf+xml" in body):
                items[number] = name
    return items


def _places(table: bytes) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The number of each item and the parts of the file that it lies in, from and to."""
    version = table[0] if table else 0
    sizes = int.from_bytes(table[4:6])
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    reader = _Reader(table, 6)
    number = 4 if version == 2 else 2  # noqa: PLR2004 - the version with long numbers
    for _ in range(min(reader.take(number), _MOST_ITEMS)):
        item = reader.take(number)
        method = reader.take(2) & 15 if version else 0
        reader.take(2)
        start = reader.take(base)
        where = []
        for _ in range(min(reader.take(2), _MOST_PIECES)):
            if version and index:
                reader.take(index)
            at = start + reader.take(offset)
            where.append((at, at + reader.take(length)))
        # Other methods keep items in other places than the file; no writer does so with metadata.
        if method == 0:
            yield item, where


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def take(self, length: int) -> int:
        """The next number of `length` bytes. Raises struct.error beyond the end."""
        piece = self._data[self._at : self._at + length]
        if len(piece) != length:
            raise struct.error("cut off")
        self._at += length
        return int.from_bytes(piece)
