"""Reads metadata from files made of boxes: HEIC and AVIF (ISO base media), JPEG 2000 (JP2).

Everything in them is hostile: boxes and items are counted, no length exceeds the file, no reference is followed twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from expandd.adapters.images.formats.boxes import Box, boxes
from expandd.adapters.images.formats.common import Bytes
from expandd.adapters.images.formats.heif import items_in

_MOST_BOXES = 4000

_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF_UUID = b"JpgTiffExif->JP2"


@dataclass(slots=True)
class Found:
    """The metadata in a file of boxes, as stored. `per_metre`: pixels, horizontally and vertically."""

    exif: bytes = b""
    xmp: bytes = b""
    icc: bytes = b""
    per_metre: tuple[Fraction, Fraction] | None = None


def _within(data: Bytes, start: int, stop: int, left: Iterator[int]) -> Iterator[Box]:
    """The boxes there, as long as any are `left` to be read in the whole file."""
    return (box for box, _ in zip(boxes(data, start, stop), left, strict=False))


def _piece(data: Bytes, start: int, stop: int, most: int) -> bytes:
    """The bytes from `start` to `stop`; none where there are more than `most`."""
    return bytes(data[start:stop]) if stop - start <= most else b""


def read_jp2(data: Bytes, most: int) -> Found:
    """The metadata of a JP2. No part longer than `most` bytes is read."""
    found, left = Found(), iter(range(_MOST_BOXES))
    for box in _within(data, 0, len(data), left):
        if box.kind == b"jp2h":
            _read_header(data, box, most, found, left)
        elif box.kind == b"uuid":
            name, body = data[box.start : box.start + 16], box.start + 16
            if name == _XMP_UUID:
                found.xmp = found.xmp or _piece(data, body, box.stop, most)
            elif name == _EXIF_UUID:
                found.exif = found.exif or _piece(data, body, box.stop, most)
    return found


def _read_header(data: Bytes, header: Box, most: int, found: Found, left: Iterator[int]) -> None:
    for box in _within(data, header.start, header.stop, left):
        if box.kind == b"colr" and data[box.start : box.start + 1] in {b"\2", b"\3"}:
            found.icc = found.icc or _piece(data, box.start + 3, box.stop, most)
        elif box.kind == b"res ":
            for inner in _within(data, box.start, box.stop, left):
                body = data[inner.start : min(inner.start + 10, inner.stop)]
                name = inner.kind
                # The capture resolution (resc) wins over the one for display (resd).
                if len(body) == 10 and (name == b"resc" or (name == b"resd" and found.per_metre is None)):  # noqa: PLR2004 - its length
                    down, down_of, across, across_of, down_tens, across_tens = struct.unpack(">HHHHbb", body)
                    found.per_metre = (
                        Fraction(across, across_of or 1) * Fraction(10) ** across_tens,
                        Fraction(down, down_of or 1) * Fraction(10) ** down_tens,
                    )


def read_heif(data: Bytes, most: int) -> Found:
    """The metadata of a HEIC or AVIF, the first of each kind. No part longer than `most` bytes is read."""
    found, items = Found(), items_in(data)
    if items is None:
        return found
    for box in items.properties:
        if box.kind == b"colr" and data[box.start : box.start + 4] in {b"prof", b"rICC"}:
            found.icc = found.icc or _piece(data, box.start + 4, box.stop, most)
    for number, kind in items.kinds.items():
        parts = items.parts.get(number, ())
        if (kind != b"Exif" and number not in items.xmp) or sum(stop - start for start, stop in parts) > most:
            continue
        content = b"".join(data[start:stop] for start, stop in parts)
        if kind == b"Exif":
            # Its first four bytes say how many lie before the block.
            found.exif = found.exif or content[4 + int.from_bytes(content[:4]) :]
        else:
            found.xmp = found.xmp or content
    return found
