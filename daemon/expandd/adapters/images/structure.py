"""Owns the outer structure of JPEG, PNG and WEBP files: which it is, its size, whether its end is there.

Nothing is decoded, so nothing here costs more than reading the file once, whatever its header claims.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from dataclasses import dataclass

from expandd.adapters.images.foreign_types import HEAD, foreign
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.findings import Unfinished, Unfit
from expandd.domain.job import ImageFormat
from expandd.domain.offsets import Size

Bytes = bytes | mmap.mmap

AGAIN = "Save or copy the picture again, and drop it once more when it is complete."

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_RIFF = b"RIFF"
_WEBP = b"WEBP"

_CHUNK = struct.Struct(">I4s")
_CHUNK_NAME = re.compile(rb"[A-Za-z]{4}")

# A marker that means something: not a stuffed FF00, not TEM or RSTn, not a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SOS, _EOI = 0xDA, 0xD9
_MARK, _LENGTH = 2, 2
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Structure:
    """A file whose own end is there. `size` is the stored one in px, before any orientation."""

    format: ImageFormat
    size: Size


def structure_of(data: Bytes) -> Structure | Unfinished | Unfit:
    """What `data`, a whole file as it lies there, is by its structure."""
    head = data[:HEAD]
    if not head:
        return Unfinished(Fault(FaultCode.EMPTY, "The file is empty (0 bytes).", AGAIN))
    if not any(head[:16]):
        return _unfinished("The file begins with zeros: its space was reserved, but its content did not arrive.")
    image_format = _format(head)
    if image_format is None:
        return _prefix(head.rstrip(b"\0")) or Unfit(foreign(head))
    size = _WALKS[image_format](data)
    if size is None:
        return cut_off(image_format)
    return Structure(image_format, size)


def cut_off(image_format: ImageFormat) -> Unfinished:
    """The finding for a file that ends too early, or holds a gap."""
    return _unfinished(f"The file is cut off: the end of the {image_format.name} picture is missing.")


def _unfinished(message: str) -> Unfinished:
    return Unfinished(Fault(FaultCode.NOT_WHOLE, message, AGAIN))


def _format(head: bytes) -> ImageFormat | None:
    if head.startswith(_JPEG):
        return ImageFormat.JPEG
    if head.startswith(_PNG):
        return ImageFormat.PNG
    if head.startswith(_RIFF) and head[8:12] == _WEBP:
        return ImageFormat.WEBP
    return None


def _prefix(head: bytes) -> Unfinished | None:
    """The finding for a few bytes, with nothing or zeros behind them, that may yet become one of the formats."""
    if _JPEG.startswith(head):
        return cut_off(ImageFormat.JPEG)
    if _PNG.startswith(head):
        return cut_off(ImageFormat.PNG)
    if _RIFF.startswith(head[:4]) and _WEBP.startswith(head[8:]):
        return cut_off(ImageFormat.WEBP)
    return None


def _walk_png(data: Bytes) -> Size | None:
    """The size in IHDR, when chunks lead from the signature to IEND with nothing missing."""
    position, pixels = len(_PNG), False
    while position + _CHUNK.size <= len(data):
        length, name = _CHUNK.unpack_from(data, position)
        end = position + _CHUNK.size + length + 4
        if end > len(data) or not _CHUNK_NAME.fullmatch(name) or not _png_chunk_holds(data, position, end):
            return None
        if name == b"IEND":
            return _png_size(data) if pixels else None
        pixels = pixels or name == b"IDAT"
        position = end
    return None


def _png_chunk_holds(data: Bytes, start: int, end: int) -> bool:
    # A wrong sum in a chunk that decoders may ignore (lower case) is common and harms nobody.
    if data[start + 4] & 0x20:
        return True
    with memoryview(data) as view, view[start + 4 : end - 4] as body:
        return zlib.crc32(body) == int.from_bytes(data[end - 4 : end])


def _png_size(data: Bytes) -> Size | None:
    if data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d":
        return None
    return _some(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))


def _walk_jpeg(data: Bytes) -> Size | None:
    """The size in the frame header, when segments and scans lead from SOI to the picture's own EOI.

    What lies inside a segment is stepped over by its length, so a thumbnail's EOI does not count.
    """
    position, size, scanned = 2, None, False
    while found := _MARKER.search(data, position):
        position, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            return size if scanned else None
        length = int.from_bytes(data[position + 2 : position + 4])
        if length < _LENGTH:
            return None
        if marker in _SOF:
            size = _jpeg_size(data[position + 5 : position + 9])
        scanned = scanned or marker == _SOS
        position += _MARK + length
    return None


def _jpeg_size(sides: bytes) -> Size | None:
    return _some(int.from_bytes(sides[2:4]), int.from_bytes(sides[:2]))


def _walk_webp(data: Bytes) -> Size | None:
    """The size of the canvas, when all bytes that the RIFF header announces are there."""
    end = 8 + int.from_bytes(data[4:8], "little")
    size = _webp_size(data[12:16], data[20:30])
    if end > len(data) or size is None:
        return None
    # Space that was reserved and never written decodes as grey. A picture of one colour ends in zeros too, but
    # with one byte for 10,000 px at most (measured from 64 to 4096 px).
    zeros = 1024 + size.width * size.height // 8192
    return None if data[max(end - zeros, 0) : end] == bytes(zeros) else size


def _webp_size(kind: bytes, body: bytes) -> Size | None:
    if kind == b"VP8X":
        return Size(int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        sides = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return _some(*(side & 0x3FFF for side in sides))
    return None


def _some(width: int, height: int) -> Size | None:
    return Size(width, height) if width and height else None


_WALKS = {ImageFormat.JPEG: _walk_jpeg, ImageFormat.PNG: _walk_png, ImageFormat.WEBP: _walk_webp}
