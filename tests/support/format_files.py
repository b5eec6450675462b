"""Files of TIFF, HEIC, AVIF, BMP and JPEG 2000 made by hand, so that each part of them can be odd."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Tags = Mapping[int, int | bytes | tuple[int, ...]]

PAGE: Tags = {256: 96, 257: 80, 258: 8, 259: 1, 262: 1, 278: 80}
"""A page of 96×80 px in one strip of grey, whose strip `tiff` adds."""


def tiff(*pages: Tags, order: str = "<", big: bool = False, following: Sequence[int] = ()) -> bytes:
    """A TIFF of `pages`, each with a strip of its own unless it names one; text as bytes, numbers as LONGs.

    `following` are the places of the next directories, where they are not to be the true ones.
    """
    count, entry, offset = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    wide = struct.calcsize(order + offset)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HH", 8, 0) if big else b""
    body = bytearray(head + bytes(wide))
    links = [len(head)]
    for number, page in enumerate(pages):
        tags: dict[int, int | bytes | tuple[int, ...]] = dict(page)
        if 273 not in tags and 324 not in tags:
            tags |= {273: len(body), 279: 96 * 80}
            body += bytes(range(1, 97)) * 80
        start = len(body)
        struct.pack_into(order + offset, body, links[-1], start)
        values = start + struct.calcsize(order + count) + len(tags) * (struct.calcsize(order + entry) + wide) + wide
        entries, behind = b"", b""
        for tag, value in sorted(tags.items()):
            numbers = (value,) if isinstance(value, int) else value
            kind = 2 if isinstance(value, bytes) else 4
            packed = value if isinstance(value, bytes) else struct.pack(f"{order}{len(numbers)}I", *numbers)
            entries += struct.pack(order + entry, tag, kind, len(numbers))
            if len(packed) <= wide:
                entries += packed.ljust(wide, b"\0")
            else:
                entries += struct.pack(order + offset, values + len(behind))
                behind += packed
        body += struct.pack(order + count, len(tags)) + entries
        links.append(len(body))
        body += bytes(wide) + behind
        if number < len(following):
            struct.pack_into(order + offset, body, links[-1], following[number])
    return bytes(body)


def box(kind: bytes, *content: bytes, full: int | None = None) -> bytes:
    """A box of a HEIC or AVIF file; `full`: its version."""
    body = (b"" if full is None else struct.pack(">I", full << 24)) + b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def heif(
    brand: bytes = b"heic",
    kind: bytes = b"hvc1",
    size: tuple[int, int] = (96, 80),
    *,
    content: bytes = bytes(range(1, 200)),
    length: int | None = None,
    extents: int = 1,
    behind: bytes = b"",
) -> bytes:
    """A HEIC or AVIF of one item, which no decoder reads; `length`: what its list says of the item's length."""
    head = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    at = 0
    for _ in range(2):
        extent = struct.pack(">II", at, len(content) if length is None else length)
        places = box(b"iloc", b"\x44\0", struct.pack(">HHHH", 1, 1, 0, extents), extent * min(extents, 3), full=0)
        kinds = box(b"iinf", struct.pack(">H", 1), box(b"infe", struct.pack(">HH", 1, 0), kind, b"\0", full=2), full=0)
        shapes = box(b"ipco", box(b"ispe", struct.pack(">II", *size), full=0))
        owners = box(b"ipma", struct.pack(">IHBB", 1, 1, 1, 0x81), full=0)
        primary = box(b"pitm", struct.pack(">H", 1), full=0)
        meta = box(b"meta", primary, kinds, places, box(b"iprp", shapes, owners), full=0)
        at = len(head) + len(meta) + 8
    return head + meta + box(b"mdat", content) + behind


def bmp(width: int = 96, height: int = 80, *, header: int = 40, length: int | None = None, packing: int = 0) -> bytes:
    """A BMP in 24 bit; `length`: what its header says of the file's length."""
    pixels = bytes(range(1, 13)) * (((width * 24 + 31) // 32 * 4 * abs(height)) // 12)
    if header == 12:
        sides = struct.pack("<4H", width, height, 1, 24)
    else:
        sides = struct.pack("<2i2H2I", width, height, 1, 24, packing, len(pixels))
    start = 14 + header
    said = start + len(pixels) if length is None else length
    return (
        b"BM" + struct.pack("<3I", said, 0, start) + struct.pack("<I", header) + sides.ljust(header - 4, b"\0") + pixels
    )


def codestream(width: int, height: int, *, parts: Sequence[int] = (20,), end: bytes = b"\xff\xd9") -> bytes:
    """The outline of a JPEG 2000 codestream: its size, parts of so many bytes each, 0 for one that does not say."""
    sizes = struct.pack(">HH8I", 38 + 3, 0, width, height, 0, 0, width, height, 0, 0) + struct.pack(">H3B", 1, 7, 1, 1)
    data = b"\xff\x4f\xff\x51" + sizes
    for length in parts:
        part = struct.pack(">HHHIBB", 0xFF90, 10, 0, length, 0, 1) + b"\xff\x93"
        data += part.ljust(length or 20, b"\x55")
    return data + end
