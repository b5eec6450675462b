"""Adds metadata to a TIFF that was just written, without moving its pixels: as fields of a new directory at its end."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from expandd.adapters.images.exif import Entry, Tiff, entries, laid_out
from expandd.adapters.images.metadata import Metadata

_ORIENTATION, _ACROSS, _DOWN, _UNIT, _XMP, _IPTC, _ICC = 274, 282, 283, 296, 700, 33723, 34675
_BYTE, _SHORT, _RATIONAL, _UNDEFINED = 1, 3, 5, 7
_INCH = 2
_CHANNELS = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}


def add_tags(file: BinaryIO, mode: str, metadata: Metadata) -> None:
    """Add the metadata to the upright TIFF of one page in `file`, whose pixels are of `mode`."""
    tiff = Tiff(file)
    first = tiff.directory(tiff.first)
    there: dict[int, Entry] = {}
    for field in first.fields:
        # The four bytes of its value, or of the place where that lies and stays.
        file.seek(field.at + 8)
        there[field.tag] = Entry(field.tag, field.kind, field.count, file.read(4))
    new = {entry.tag: entry for entry in (*entries(metadata.exif, tiff.order), *_parts(tiff.order, mode, metadata))}
    fields = new | there
    fields.pop(_ORIENTATION, None)
    start = file.seek(0, os.SEEK_END)
    start += file.write(bytes(start % 2))
    file.write(laid_out(tiff.order, tuple(fields[tag] for tag in sorted(fields)), start))
    file.seek(4)
    file.write(struct.pack(tiff.order + "I", start))


def _parts(order: str, mode: str, metadata: Metadata) -> list[Entry]:
    found = []
    for tag, side in zip((_ACROSS, _DOWN), metadata.dpi or (), strict=False):
        ratio = side.limit_denominator(10_000)
        found.append(Entry(tag, _RATIONAL, 1, struct.pack(order + "II", ratio.numerator, ratio.denominator)))
    if metadata.dpi:
        found.append(Entry(_UNIT, _SHORT, 1, struct.pack(order + "H", _INCH)))
    icc = metadata.icc if metadata.icc[16:20] == _CHANNELS[mode] else b""
    parts = ((_XMP, _BYTE, metadata.xmp), (_IPTC, _UNDEFINED, metadata.iptc), (_ICC, _UNDEFINED, icc))
    return [*found, *(Entry(tag, kind, len(value), value) for tag, kind, value in parts if value)]
