"""Reads the metadata of an image file: EXIF, XMP, IPTC, colour profile and resolution. No pixel is decoded.

The file is hostile: parts are counted, nothing longer than MOST_TEXT is read or unpacked, and damaged parts are
ignored.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import BinaryIO

from expandd.adapters.images import exif as exif_blocks
from expandd.adapters.images.boxes import Found, read_heif, read_jp2
from expandd.adapters.images.exif import Damaged, Dpi, Tiff
from expandd.adapters.images.formats.common import Bytes, most_parts
from expandd.adapters.images.formats.png import MOST_TEXT, SIGNATURE
from expandd.adapters.images.formats.webp import RIFF, WEBP
from expandd.adapters.images.xmp import merged, upright_xmp
from expandd.domain.image import ImageFormat, Size

INCH = Fraction(254, 10_000)
"""Metres."""

_MOST_XMP = 16 << 20
"""Bytes of an XMP packet. Editors write kilobytes; phones that store a depth map in it, a few million."""

_MOST_RESOURCES = 1000


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata that is copied from file to file; each part is empty where there is none.

    `exif` is the block from its byte order on, `xmp` one packet, `iptc` the IIM records, `icc` a colour profile.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    icc: bytes = b""
    dpi: Dpi | None = None

    def __bool__(self) -> bool:
        return self != Metadata()


def stripped(metadata: Metadata) -> Metadata:
    """The metadata that `metadata: strip` keeps, without which the pixels cannot be shown or printed correctly."""
    return Metadata(icc=metadata.icc, dpi=metadata.dpi)


def fitted(metadata: Metadata, size: Size) -> Metadata:
    """The metadata for an upright image of `size` px."""
    exif = exif_blocks.normalised(metadata.exif, size) if metadata.exif else b""
    return replace(metadata, exif=exif, xmp=upright_xmp(metadata.xmp, size))


def gathered(
    *, exif: bytes = b"", xmp: bytes = b"", iptc: bytes = b"", icc: bytes = b"", dpi: Dpi | None = None
) -> Metadata:
    """The metadata from these parts, in the form that files and libraries have; damaged parts are left out.

    Without `dpi`, the resolution is the EXIF's.
    """
    block = exif_blocks.block_of(exif)
    resolution = exif_blocks.sensible_dpi(*dpi) if dpi else None
    return Metadata(
        exif=block,
        xmp=xmp.rstrip(b"\0") if b"<" in xmp[:1024] and len(xmp) <= _MOST_XMP else b"",
        iptc=_records(iptc),
        icc=_profile(icc),
        dpi=resolution or exif_blocks.resolution_of(block),
    )


def read(file: BinaryIO, image_format: ImageFormat) -> Metadata:
    """The metadata of an image file: the first image's of HEIC and AVIF, the first page's of a TIFF."""
    reader = _READERS.get(image_format)
    return reader(file) if reader else Metadata()


def per_inch(per_metre: int | Fraction) -> Fraction:
    """Dots per inch from pixels per metre; a whole number where rounding to whole pixels explains the difference."""
    exact = per_metre * INCH
    return Fraction(round(exact)) if round(round(exact) / INCH) == per_metre else Fraction(exact)


_LEAST_PROFILE = 128


def _profile(icc: bytes) -> bytes:
    """The colour profile, empty where it is damaged: a decoder that fails over it would lose the image."""
    whole = _LEAST_PROFILE < len(icc) <= MOST_TEXT and icc[36:40] == b"acsp" and int.from_bytes(icc[:4]) <= len(icc)
    return icc if whole else b""


def _records(iptc: bytes) -> bytes:
    # TIFF writers that declare the bytes as 32-bit numbers reverse them in groups of four.
    if iptc[3:4] == b"\x1c" and iptc[:1] != b"\x1c" and len(iptc) % 4 == 0:
        iptc = b"".join(iptc[at : at + 4][::-1] for at in range(0, len(iptc), 4))
    return iptc.rstrip(b"\0") if iptc[:1] == b"\x1c" else b""


EXIF, XMP, EXTENDED = exif_blocks.PREFIX, b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
ICC, PHOTOSHOP, JFIF = b"ICC_PROFILE\0", b"Photoshop 3.0\0", b"JFIF\0"
APP0, APP1, APP2, APP13 = 0xE0, 0xE1, 0xE2, 0xED
_SOS, _EOI, _FILL = 0xDA, 0xD9, 0xFF


def segments(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """The marker of each segment of a JPEG before its pixels, where it begins and where it ends."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    at = 2 if file.read(2) == b"\xff\xd8" else length
    for _ in range(most_parts(length)):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] != _FILL or head[1] == _EOI:  # noqa: PLR2004 - a marker and a length
            return
        if head[1] == _FILL:
            at += 1
            continue
        stop = at + 2 + int.from_bytes(head[2:])
        if stop > length or stop < at + 4:
            return
        yield head[1], at, stop
        if head[1] == _SOS:
            return
        at = stop


def _read_jpeg(file: BinaryIO) -> Metadata:
    exif = xmp = b""
    dpi, photoshop = None, bytearray()
    profile: dict[int, bytes] = {}
    extension: dict[bytes, list[tuple[int, bytes]]] = {}
    room = MOST_TEXT
    for marker, start, stop in segments(file):
        if marker not in {APP0, APP1, APP2, APP13}:
            continue
        room -= stop - start
        if room < 0:
            break
        file.seek(start + 4)
        body = file.read(stop - start - 4)
        if marker == APP0 and body.startswith(JFIF) and dpi is None:
            dpi = density(body)
        elif marker == APP1 and body.startswith(EXIF[:5]):
            exif = exif or body
        elif marker == APP1 and body.startswith(XMP):
            xmp = xmp or body[len(XMP) :]
        elif marker == APP1 and body.startswith(EXTENDED):
            _, _, piece = body.partition(b"\0")
            extension.setdefault(piece[:32], []).append((int.from_bytes(piece[36:40]), piece[40:]))
        elif marker == APP2 and body.startswith(ICC) and len(body) > len(ICC) + 2:
            profile.setdefault(body[len(ICC)], body[len(ICC) + 2 :])
        elif marker == APP13 and body.startswith(PHOTOSHOP):
            photoshop += body[len(PHOTOSHOP) :]
    icc = b"".join(profile[number] for number in sorted(profile))
    return gathered(exif=exif, xmp=merged(xmp, extension), iptc=iptc_in(bytes(photoshop)), icc=icc, dpi=dpi)


def density(jfif: bytes) -> Dpi | None:
    """The resolution in the content of a JFIF segment, None where it has none."""
    unit = {1: Fraction(1), 2: Fraction(254, 100)}.get(jfif[7] if len(jfif) > 12 else 0)  # noqa: PLR2004 - inch, cm
    if unit is None:
        return None
    across, down = struct.unpack_from(">HH", jfif, 8)
    return exif_blocks.sensible_dpi(across * unit, down * unit)


_RESOURCE, _IPTC = b"8BIM", 0x0404


def iptc_in(photoshop: bytes) -> bytes:
    """The IPTC records in a block of Photoshop resources."""
    at = 0
    for _ in range(_MOST_RESOURCES):
        if photoshop[at : at + 4] != _RESOURCE or at + 12 > len(photoshop):
            break
        number = int.from_bytes(photoshop[at + 4 : at + 6])
        # A name with its length, padded to an even number of bytes, like the content.
        at += 6 + (photoshop[at + 6] + 2) // 2 * 2
        length = int.from_bytes(photoshop[at : at + 4])
        if number == _IPTC:
            return photoshop[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return b""


def photoshop_block(iptc: bytes) -> bytes:
    """A block of Photoshop resources with these IPTC records."""
    return _RESOURCE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


XMP_KEYWORD, RAW_PROFILE = b"XML:com.adobe.xmp", b"Raw profile type "
_READ = frozenset({b"iCCP", b"pHYs", b"eXIf", b"iTXt", b"zTXt", b"tEXt"})


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The name, start and end of each chunk of a PNG."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    at = len(SIGNATURE) if file.read(len(SIGNATURE)) == SIGNATURE else length
    for _ in range(most_parts(length)):
        file.seek(at)
        head = file.read(8)
        stop = at + 12 + int.from_bytes(head[:4])
        if len(head) < 8 or stop > length:  # noqa: PLR2004 - a length and a name
            return
        yield head[4:], at, stop
        if head[4:] == b"IEND":
            return
        at = stop


def keyword_of(file: BinaryIO, start: int) -> bytes:
    """The keyword of the text in the PNG chunk that begins at `start`."""
    file.seek(start + 8)
    return file.read(80).partition(b"\0")[0]


def _read_png(file: BinaryIO) -> Metadata:
    found: dict[bytes, bytes] = {}
    dpi = None
    room = MOST_TEXT
    for name, start, stop in png_chunks(file):
        if name not in _READ or stop - start > room:
            continue
        file.seek(start + 8)
        body = file.read(stop - start - 12)
        room -= len(body)
        if name == b"pHYs":
            dpi = dpi or physical(body)
            continue
        kind, content = (b"exif", body) if name == b"eXIf" else _text(name, body, room)
        room -= len(content)
        if kind and content:
            found.setdefault(kind, content)
    block = found.get(b"iptc") or found.get(b"8bim") or b""
    app1 = found.get(b"APP1", b"")
    return gathered(
        exif=found.get(b"exif") or (app1 if app1.startswith(EXIF[:5]) else b""),
        xmp=found.get(b"xmp") or (app1[len(XMP) :] if app1.startswith(XMP) else b""),
        iptc=iptc_in(block.removeprefix(PHOTOSHOP)) or block,
        icc=found.get(b"icc") or found.get(b"icm") or b"",
        dpi=dpi,
    )


def physical(body: bytes) -> Dpi | None:
    """The resolution in the content of a pHYs chunk, None where it is only a ratio."""
    if len(body) != 9 or body[8] != 1:  # noqa: PLR2004 - two sides and a unit
        return None
    return exif_blocks.sensible_dpi(*(per_inch(side) for side in struct.unpack_from(">II", body)))


def _text(name: bytes, body: bytes, room: int) -> tuple[bytes, bytes]:
    """The kind and content of a text or profile chunk; empty for other texts and for damaged ones."""
    keyword, _, rest = body.partition(b"\0")
    if name == b"iCCP":
        return b"icc", _inflated(rest[1:], room)
    if keyword != XMP_KEYWORD and not keyword.startswith(RAW_PROFILE):
        return b"", b""
    if name == b"iTXt":
        packed = rest[:1] == b"\1"
        _, _, rest = rest[2:].partition(b"\0")
        _, _, rest = rest.partition(b"\0")
        content = _inflated(rest, room) if packed else rest
    else:
        content = _inflated(rest[1:], room) if name == b"zTXt" else rest
    if keyword == XMP_KEYWORD:
        return b"xmp", content
    return keyword.removeprefix(RAW_PROFILE), _from_hex(content)


def _inflated(packed: bytes, room: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(packed, max(room, 0) + 1)
    except zlib.error:
        return b""
    return found if unpacker.eof and len(found) <= room else b""


def _from_hex(text: bytes) -> bytes:
    """The bytes of a raw profile, which consists of name, length and content in hexadecimal digits, in lines."""
    # Bytes that some writers leave behind the digits are not the profile's.
    match = re.match(rb"\s*\S{1,80}\s+(\d{1,9})\s([0-9A-Fa-f\s]*)", text)
    if not match:
        return b""
    try:
        found = bytes.fromhex(match[2].decode("ascii"))
    except ValueError:
        return b""
    return found[: int(match[1])]


def webp_chunks(file: BinaryIO) -> list[tuple[bytes, int, int]]:
    """The name of each chunk of a WEBP, and the start and end of its content; empty where a chunk is cut off."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    end = 8 + int.from_bytes(head[4:8], "little")
    if head[:4] != RIFF or head[8:] != WEBP or end > length:
        return []
    found: list[tuple[bytes, int, int]] = []
    at = 12
    for _ in range(most_parts(length)):
        if at + 8 > end:
            return found
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        if at + 8 + size > end:
            return []
        found.append((name, at + 8, at + 8 + size))
        at += 8 + size + size % 2
    return []


def _read_webp(file: BinaryIO) -> Metadata:
    found: dict[bytes, bytes] = {}
    room = MOST_TEXT
    for name, start, stop in webp_chunks(file):
        if name in {b"EXIF", b"XMP ", b"ICCP"} and name not in found and stop - start <= room:
            file.seek(start)
            found[name] = file.read(stop - start)
            room -= stop - start
    return gathered(exif=found.get(b"EXIF", b""), xmp=found.get(b"XMP ", b""), icc=found.get(b"ICCP", b""))


_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_TAG, _ICC_TAG = 700, 33723, 34377, 34675


def _read_tiff(file: BinaryIO) -> Metadata:
    try:
        tiff = Tiff(file)
        first = tiff.directory(tiff.first)
    except Damaged:
        return Metadata()
    xmp, iptc, photoshop, icc = (
        tiff.value(first.field(tag), MOST_TEXT) for tag in (_XMP_TAG, _IPTC_TAG, _PHOTOSHOP_TAG, _ICC_TAG)
    )
    block = exif_blocks.standalone(tiff, first)
    return gathered(exif=block, xmp=xmp, iptc=iptc or iptc_in(photoshop), icc=icc, dpi=tiff.resolution(first))


def _read_bmp(file: BinaryIO) -> Metadata:
    file.seek(0)
    head = file.read(138)
    icc = b""
    if len(head) == 138 and head[70:74] == b"DEBM":  # noqa: PLR2004 - the two headers of the fifth version
        at, length = struct.unpack_from("<II", head, 126)
        file.seek(14 + at)
        icc = file.read(min(length, MOST_TEXT))
    if len(head) < 46 or int.from_bytes(head[14:18], "little") < 40:  # noqa: PLR2004 - a header with a resolution
        return Metadata()
    across, down = (per_inch(side) for side in struct.unpack_from("<II", head, 38))
    return gathered(icc=icc, dpi=(across, down))


def _read_boxes(walk: Callable[[Bytes, int], Found]) -> Callable[[BinaryIO], Metadata]:
    def reader(file: BinaryIO) -> Metadata:
        if not file.seek(0, os.SEEK_END):
            return Metadata()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = walk(data, MOST_TEXT)
        dpi = (per_inch(found.per_metre[0]), per_inch(found.per_metre[1])) if found.per_metre else None
        return gathered(exif=found.exif, xmp=found.xmp, icc=found.icc, dpi=dpi)

    return reader


_READERS: dict[ImageFormat, Callable[[BinaryIO], Metadata]] = {
    ImageFormat.JPEG: _read_jpeg,
    ImageFormat.PNG: _read_png,
    ImageFormat.WEBP: _read_webp,
    ImageFormat.TIFF: _read_tiff,
    ImageFormat.BMP: _read_bmp,
    ImageFormat.HEIC: _read_boxes(read_heif),
    ImageFormat.AVIF: _read_boxes(read_heif),
    ImageFormat.JPEG2000: _read_boxes(read_jp2),
}
