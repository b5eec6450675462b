"""Reads the chunks of PNG files.

Damage in chunks that the pixels do not need, such as a wrong checksum or an unreadable text, is ignored, as in every
viewer.
"""

from __future__ import annotations

import re
import struct
import zlib

from expandd.adapters.images.foreign_types import EXPORT
from expandd.adapters.images.formats.common import Bytes, Spans, Structure, laborious, most_parts, some
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Invalid, Size

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_TEXT = 64 << 20
"""Bytes of unpacked text and profiles in one file: editors write megabytes of history."""

_PNG_CHUNK = struct.Struct(">I4s")
_SUM = 4
_NAME = re.compile(rb"[A-Za-z]{4}")
_OPTIONAL = 0x20
# Chunks that do not contain pixels but describe them: transparency, orientation, colours.
_KEPT = frozenset({b"tRNS", b"eXIf", b"iCCP"})
_STEP = 1 << 20

_APPLE = Invalid(
    Fault(
        FaultCode.UNSUPPORTED_TYPE,
        "This is a PNG in a form of Apple's own (CgBI, from an iPhone app), which other programs cannot read.",
        EXPORT,
    ),
)
_PACKED = Invalid(
    Fault(
        FaultCode.TOO_LARGE,
        f"The PNG image carries more than {MOST_TEXT >> 20} MB of packed text or profiles beside its pixels.",
        "Open it in an image editor, export it again without its texts, and drop that.",
    ),
)


def walk_png(data: Bytes) -> Structure | Invalid | None:
    """The structure when the chunks lead from the signature to IEND with nothing missing; None when they do not."""
    if data[12:16] == b"CgBI":
        return _APPLE
    walk = _Walk(data)
    position, most = len(SIGNATURE), most_parts(len(data))
    while position + _PNG_CHUNK.size <= len(data):
        length, name = _PNG_CHUNK.unpack_from(data, position)
        end = position + _PNG_CHUNK.size + length + _SUM
        most -= 1
        if most < 0:
            return laborious(ImageFormat.PNG, f"more than {most_parts(len(data)):,} chunks")
        if end > len(data) or not _NAME.fullmatch(name) or not walk.chunk(name, position, end):
            return None
        if walk.room < 0:
            return _PACKED
        if name == b"IEND":
            return walk.found()
        position = end
    return None


class _Walk:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._spans = [(0, len(SIGNATURE))]
        self._pixels = False
        self.room = MOST_TEXT
        """Bytes of text that may still follow."""

    def chunk(self, name: bytes, start: int, end: int) -> bool:
        """Record a chunk; False where it is needed and damaged."""
        optional = bool(name[0] & _OPTIONAL)
        if optional:
            self.room -= _unpacked(name, self._data[start + 8 : end - _SUM], self.room)
            if name not in _KEPT:
                return True
        if not self._holds(start, end):
            return optional
        self._pixels = self._pixels or name == b"IDAT"
        if self._spans[-1][1] == start:
            self._spans[-1] = self._spans[-1][0], end
        else:
            self._spans.append((start, end))
        return True

    def found(self) -> Structure | None:
        size = _png_size(self._data)
        if size is None or not self._pixels:
            return None
        return Structure(ImageFormat.PNG, size, self._spans_if_any())

    def _spans_if_any(self) -> Spans:
        return tuple(self._spans) if len(self._spans) > 1 else ()

    def _holds(self, start: int, end: int) -> bool:
        with memoryview(self._data) as view, view[start + 4 : end - _SUM] as body:
            return zlib.crc32(body) == int.from_bytes(self._data[end - _SUM : end])


def _png_size(data: Bytes) -> Size | None:
    if data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d":
        return None
    return some(int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))


def _unpacked(name: bytes, body: bytes, most: int) -> int:
    """The unpacked length of a chunk's compressed part, counted to a little beyond `most`."""
    packed = _packed(name, body)
    unpacker, found = zlib.decompressobj(), 0
    try:
        while packed and found <= most and not unpacker.eof:
            found += len(unpacker.decompress(packed, _STEP))
            packed = unpacker.unconsumed_tail
    except zlib.error:
        # No decoder can unpack it, so it takes no memory.
        return found
    return found


def _packed(name: bytes, body: bytes) -> bytes:
    if name in {b"zTXt", b"iCCP"}:
        # A name, its end, and the compression method come first.
        return body.partition(b"\0")[2][1:]
    if name == b"iTXt":
        _, _, rest = body.partition(b"\0")
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2] if rest[:1] == b"\1" else b""
    return b""
