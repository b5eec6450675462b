"""Adds metadata to existing files, with every byte of the pixels unchanged.

JPEG, PNG and WEBP files get segments and chunks, a newly written TIFF a new directory at its end. Metadata that a file
has already stays, except for the resolution: encoders write one of their own by default.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from expandd.adapters.images.exif import Dpi, Entry, Tiff, entries, laid_out, resolution_of, shortened, with_resolution
from expandd.adapters.images.formats.png import SIGNATURE
from expandd.adapters.images.formats.webp import RIFF, WEBP
from expandd.adapters.images.metadata import (
    APP0,
    APP1,
    APP2,
    APP13,
    EXIF,
    EXTENDED,
    ICC,
    INCH,
    JFIF,
    PHOTOSHOP,
    RAW_PROFILE,
    XMP,
    XMP_KEYWORD,
    Metadata,
    density,
    iptc_in,
    keyword_of,
    photoshop_block,
    physical,
    png_chunks,
    segments,
    webp_chunks,
)
from expandd.adapters.images.xmp import divided
from expandd.domain.image import ImageFormat


@dataclass(frozen=True, slots=True)
class _Edit:
    """Replaces the bytes from `start` to `stop` of the file by `new`."""

    start: int
    stop: int
    new: bytes


def added(file: BinaryIO, image_format: ImageFormat, metadata: Metadata, out: BinaryIO) -> bool:
    """Write the file with the metadata to `out`; False, and nothing written, when there is nothing to add.

    A colour profile for other channels than the image's is left out, as are parts that the format has no room for: IPTC
    in WEBP, more than a few megabytes of profile in JPEG. Fit the metadata to the image's size first.
    """
    edits = _EDITS[image_format](file, metadata)
    if not edits:
        return False
    at = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        _copy(file, at, edit.start, out)
        out.write(edit.new)
        at = edit.stop
    _copy(file, at, None, out)
    return True


def _copy(file: BinaryIO, start: int, stop: int | None, out: BinaryIO) -> None:
    file.seek(start)
    while start != stop and (piece := file.read(_STEP if stop is None else min(_STEP, stop - start))):
        out.write(piece)
        start += len(piece)


_STEP = 1 << 20
_GREY, _COLOUR, _INKS = b"GRAY", b"RGB ", b"CMYK"


def _fits(icc: bytes, channels: bytes) -> bool:
    return icc[16:20] == channels


def _carrying(metadata: Metadata) -> Metadata:
    """The metadata with its resolution in the EXIF, for a file without another place for it."""
    if metadata.dpi is None or _same(resolution_of(metadata.exif), metadata.dpi):
        return metadata
    return replace(metadata, exif=with_resolution(metadata.exif, metadata.dpi))


def _same(one: Dpi | None, other: Dpi | None) -> bool:
    # A resolution stored in whole dots, or per centimetre, is rounded.
    return one is not None and other is not None and all(abs(a - b) < 1 / 2 for a, b in zip(one, other, strict=True))


_SEGMENT = 65_533
_PIECE, _EXTENSION_PIECE, _MOST_PIECES = 65_519, 65_400, 255
_SOS = 0xDA
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CHANNELS = {1: _GREY, 3: _COLOUR, 4: _INKS}


@dataclass(slots=True)
class _Jpeg:
    """The parts of a JPEG: where new segments go, its JFIF content and place, its channels, its kinds of metadata."""

    place: int = 2
    jfif: bytes = b""
    jfif_at: int = 0
    channels: bytes = b""
    whole: bool = False
    kinds: frozenset[bytes] = frozenset()


def _jpeg_edits(file: BinaryIO, metadata: Metadata) -> list[_Edit]:
    jpeg = _looked_at(file)
    if not jpeg.whole:
        return []
    edits = []
    if not jpeg.jfif and EXIF not in jpeg.kinds:
        metadata = _carrying(metadata)
    elif jpeg.jfif and metadata.dpi and not _same(density(jpeg.jfif), metadata.dpi):
        sides = (min(round(side), 65_535) for side in metadata.dpi)
        edits.append(_Edit(jpeg.jfif_at + 7, jpeg.jfif_at + 12, struct.pack(">BHH", 1, *sides)))
    new = _new_segments(jpeg, metadata)
    return [_Edit(jpeg.place, jpeg.place, new), *edits] if new else edits


def _looked_at(file: BinaryIO) -> _Jpeg:
    jpeg, first = _Jpeg(), True
    for marker, start, stop in segments(file):
        file.seek(start + 4)
        body = file.read(stop - start - 4) if marker == APP13 else file.read(min(64, stop - start - 4))
        kind = _kind(marker, body)
        first = first and (marker == APP0 or kind == EXIF)
        jpeg.place = stop if first else jpeg.place
        if kind == JFIF and not jpeg.jfif and len(body) >= 14:  # noqa: PLR2004 - its length without a thumbnail
            jpeg.jfif, jpeg.jfif_at = body, start + 4
        if marker in _SOF and len(body) > 5:  # noqa: PLR2004 - the offset of the number of channels
            jpeg.channels = _CHANNELS.get(body[5], b"")
        jpeg.kinds |= {kind}
        jpeg.whole = marker == _SOS and bool(jpeg.channels)
    return jpeg


def _kind(marker: int, body: bytes) -> bytes:
    if marker == APP1 and body[:5] == EXIF[:5]:
        return EXIF
    if marker == APP13 and body.startswith(PHOTOSHOP):
        return PHOTOSHOP if iptc_in(body[len(PHOTOSHOP) :]) else b""
    known = {(APP0, JFIF), (APP1, XMP), (APP2, ICC)}
    return next((name for place, name in known if place == marker and body.startswith(name)), b"")


def _new_segments(jpeg: _Jpeg, metadata: Metadata) -> bytes:
    new = bytearray()
    exif = shortened(metadata.exif, _SEGMENT - len(EXIF))
    if exif and EXIF not in jpeg.kinds and len(exif) <= _SEGMENT - len(EXIF):
        new += _segment(APP1, EXIF + exif)
    if metadata.xmp and XMP not in jpeg.kinds:
        new += _xmp_segments(metadata.xmp)
    if metadata.iptc and PHOTOSHOP not in jpeg.kinds:
        block = photoshop_block(metadata.iptc)
        for at in range(0, len(block), _PIECE):
            new += _segment(APP13, PHOTOSHOP + block[at : at + _PIECE])
    icc, count = metadata.icc, -(-len(metadata.icc) // _PIECE)
    if 0 < count <= _MOST_PIECES and ICC not in jpeg.kinds and _fits(icc, jpeg.channels):
        for number in range(count):
            piece = icc[number * _PIECE : (number + 1) * _PIECE]
            new += _segment(APP2, ICC + bytes((number + 1, count)) + piece)
    return bytes(new)


def _xmp_segments(xmp: bytes) -> bytes:
    if len(XMP) + len(xmp) <= _SEGMENT:
        return _segment(APP1, XMP + xmp)
    main, name, extension = divided(xmp)
    new = bytearray(_segment(APP1, XMP + main))
    for at in range(0, len(extension), _EXTENSION_PIECE):
        head = EXTENDED + name + struct.pack(">II", len(extension), at)
        new += _segment(APP1, head + extension[at : at + _EXTENSION_PIECE])
    return bytes(new)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


_HEADER_END = len(SIGNATURE) + 25
# The chunks that define the colours of the pixels; an image has one of them.
_SAYS_COLOURS = frozenset({b"iCCP", b"sRGB", b"cICP"})
_GREY_KINDS = frozenset({0, 4})


def _png_edits(file: BinaryIO, metadata: Metadata) -> list[_Edit]:
    chunks = list(png_chunks(file))
    if not chunks or chunks[0][0] != b"IHDR" or chunks[0][2] != _HEADER_END or chunks[-1][0] != b"IEND":
        return []
    names = {name for name, _, _ in chunks}
    keywords = {keyword_of(file, start) for name, start, _ in chunks if name in {b"iTXt", b"zTXt", b"tEXt"}}
    file.seek(len(SIGNATURE) + 17)
    channels = _GREY if file.read(1)[0] in _GREY_KINDS else _COLOUR
    new, edits = bytearray(), []
    if metadata.icc and not names & _SAYS_COLOURS and _fits(metadata.icc, channels):
        new += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc, 9))
    if metadata.dpi:
        old = [(start, stop) for name, start, stop in chunks if name == b"pHYs"]
        body = struct.pack(">IIB", *(round(side / INCH) for side in metadata.dpi), 1)
        if not any(_same(_physical_at(file, *span), metadata.dpi) for span in old):
            new += _chunk(b"pHYs", body)
            edits = [_Edit(start, stop, b"") for start, stop in old]
    if metadata.exif and not names & {b"eXIf"} and not keywords & {RAW_PROFILE + b"exif", RAW_PROFILE + b"APP1"}:
        new += _chunk(b"eXIf", metadata.exif)
    if metadata.xmp and not keywords & {XMP_KEYWORD, RAW_PROFILE + b"xmp"}:
        new += _chunk(b"iTXt", XMP_KEYWORD + bytes(5) + metadata.xmp)
    if metadata.iptc and not keywords & {RAW_PROFILE + b"iptc", RAW_PROFILE + b"8bim"}:
        new += _chunk(b"zTXt", RAW_PROFILE + b"iptc\0\0" + zlib.compress(_in_hex(photoshop_block(metadata.iptc)), 9))
    return [_Edit(_HEADER_END, _HEADER_END, bytes(new)), *edits] if new else []


def _physical_at(file: BinaryIO, start: int, stop: int) -> Dpi | None:
    file.seek(start + 8)
    return physical(file.read(min(stop - start - 12, 16)))


def _in_hex(block: bytes) -> bytes:
    """The block as a raw profile in ImageMagick's form."""
    lines = [block[at : at + 36].hex().encode() for at in range(0, len(block), 36)]
    return b"\niptc\n%8d\n" % len(block) + b"\n".join(lines) + b"\n"


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


_FLAG_ICC, _FLAG_ALPHA, _FLAG_EXIF, _FLAG_XMP = 0x20, 0x10, 0x08, 0x04
_MOST_RIFF = (1 << 32) - 10
_VP8L_ALPHA = 1 << 28


def _webp_edits(file: BinaryIO, metadata: Metadata) -> list[_Edit]:
    chunks = webp_chunks(file)
    header = _canvas(file, chunks)
    if not header:
        return []
    names = {name for name, _, _ in chunks}
    metadata = metadata if b"EXIF" in names else _carrying(metadata)
    icc = metadata.icc if b"ICCP" not in names and _fits(metadata.icc, _COLOUR) else b""
    tail = [(b"EXIF", metadata.exif), (b"XMP ", metadata.xmp)]
    new = b"".join(_riff(name, body) for name, body in tail if body and name not in names)
    if not new and not icc:
        return []
    there = names | {name for name, body in (*tail, (b"ICCP", icc)) if body}
    flags = ((b"ICCP", _FLAG_ICC), (b"EXIF", _FLAG_EXIF), (b"XMP ", _FLAG_XMP))
    header = bytes((header[0] | sum(flag for name, flag in flags if name in there),)) + header[1:]
    extended = chunks[0][0] == b"VP8X"
    first = chunks[0][2] if extended else 12
    end = chunks[-1][2]
    start = _riff(b"VP8X", header) + (_riff(b"ICCP", icc) if icc else b"")
    length = 4 + len(start) + end + end % 2 - first + len(new)
    if length > _MOST_RIFF:
        return []
    return [
        _Edit(0, first, RIFF + struct.pack("<I", length) + WEBP + start),
        # Bytes behind the last chunk are not the image's.
        _Edit(end, file.seek(0, 2), bytes(end % 2) + new),
    ]


def _canvas(file: BinaryIO, chunks: list[tuple[bytes, int, int]]) -> bytes:
    """The content of the file's VP8X chunk, newly made for a simple file; empty where it is damaged."""
    if not chunks:
        return b""
    name, start, stop = chunks[0]
    file.seek(start)
    head = file.read(min(10, stop - start))
    if len(head) < 10 and not (name == b"VP8L" and len(head) > 4):  # noqa: PLR2004 - lengths of the headers
        return b""
    if name == b"VP8X":
        return head if stop - start == 10 else b""  # noqa: PLR2004 - the only length it has
    if name == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return _extended(bits & 0x3FFF, bits >> 14 & 0x3FFF, alpha=bool(bits & _VP8L_ALPHA))
    if name == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", head, 6))
        return _extended(width - 1, height - 1) if width and height else b""
    return b""


def _extended(width: int, height: int, *, alpha: bool = False) -> bytes:
    """The content of a VP8X chunk, which stores each side minus one."""
    sides = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    return bytes((_FLAG_ALPHA if alpha else 0, 0, 0, 0)) + sides


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


_EDITS: dict[ImageFormat, Callable[[BinaryIO, Metadata], list[_Edit]]] = {
    ImageFormat.JPEG: _jpeg_edits,
    ImageFormat.PNG: _png_edits,
    ImageFormat.WEBP: _webp_edits,
}


_ORIENTATION, _ACROSS, _DOWN, _UNIT, _XMP, _IPTC, _ICC = 274, 282, 283, 296, 700, 33723, 34675
_BYTE, _SHORT, _RATIONAL, _UNDEFINED = 1, 3, 5, 7
_INCH = 2
_TIFF_CHANNELS = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}


def add_tags(file: BinaryIO, mode: str, metadata: Metadata) -> None:
    """Add the metadata to the upright TIFF of one page in `file`, whose pixels are of `mode`."""
    tiff = Tiff(file)
    first = tiff.directory(tiff.first)
    there: dict[int, Entry] = {}
    for field in first.fields:
        # The four bytes of the value, or of its offset, which does not change.
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
    icc = metadata.icc if metadata.icc[16:20] == _TIFF_CHANNELS[mode] else b""
    parts = ((_XMP, _BYTE, metadata.xmp), (_IPTC, _UNDEFINED, metadata.iptc), (_ICC, _UNDEFINED, icc))
    return [*found, *(Entry(tag, kind, len(value), value) for tag, kind, value in parts if value)]
