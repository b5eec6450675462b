"""Reads the outer structure of JPEG, PNG and WEBP files: format, size, and whether the end is there.

Cameras and phones write several images into one file (Multi-Image Format): a preview, a second lens, a map of
brightness. The first one is the photo.

What is not needed for the pixels harms nobody, as in every viewer: a wrong sum in it, a text that cannot be read.

Nothing is decoded, so nothing here costs more than reading the file once, whatever its header claims.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from expandd.adapters.images.foreign_types import EXPORT, HEAD, foreign
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Size, Unfinished, Unfit


def spliced(file: BinaryIO, spans: Spans) -> BinaryIO:
    """`file` from its start, or only its `spans` where there are any."""
    if spans:
        return io.BufferedReader(_Parts(file.fileno(), spans))
    file.seek(0)
    return file


class _Parts(io.RawIOBase):
    def __init__(self, descriptor: int, spans: Spans) -> None:
        self._descriptor = descriptor
        self._spans = spans
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        length = sum(stop - start for start, stop in self._spans)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, target: Any, /) -> int:
        view = memoryview(target)
        found = self._found(len(view))
        view[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _found(self, most: int) -> bytes:
        """The bytes at the position, as far as the part there reaches."""
        before = 0
        for start, stop in self._spans:
            at = start + self._position - before
            if at < stop:
                return os.pread(self._descriptor, min(most, stop - at), at)
            before += stop - start
        return b""


Bytes = bytes | mmap.mmap

Spans = tuple[tuple[int, int], ...]
"""Parts of a file, from and to, in order."""

MOST_PARTS = 10_000
"""Chunks or segments that any file may have, and one more for each BYTES_A_PART."""
BYTES_A_PART = 512


@dataclass(frozen=True, slots=True)
class Structure:
    """A file whose own end is there. `size` is the stored one in px, before any orientation.

    `spans` are what a decoder needs to see, nothing for the whole file. `several` where more images follow the first,
    whose bytes the spans then are.
    """

    format: ImageFormat
    size: Size
    spans: Spans = ()
    several: bool = False


def most_parts(length: int) -> int:
    """How many chunks or segments a file of so many bytes may have: millions of them only keep a reader busy."""
    return MOST_PARTS + length // BYTES_A_PART


def laborious(image_format: ImageFormat, what: str) -> Unfit:
    """The finding for a file that takes its reader far more work than its image needs; `what` it has."""
    message = f"The {image_format.name} image has {what}: it is damaged, or was made to keep its reader busy."
    return Unfit(Fault(FaultCode.UNREADABLE, message, "Open it in an image editor, export it again, and drop that."))


def some(width: int, height: int) -> Size | None:
    return Size(width, height) if width and height else None


START = b"\xff\xd8\xff"

MOST_SCANS = 100
"""Progressive images have about ten. Each goes over all pixels again."""

# A marker that means something: not a stuffed FF00, not TEM or RSTn, not a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SOS, _EOI, _APP2 = 0xDA, 0xD9, 0xE2
_MARK, _LENGTH = 2, 2
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEVERAL = b"MPF\0"
_NUMBER_OF_IMAGES = 0xB001
_MOST_ENTRIES = 64


def walk_jpeg(data: Bytes) -> Structure | Unfit | None:
    """What the segments say when they and their scans lead from SOI to the image's own EOI; None when they do not.

    What lies inside a segment is stepped over by its length, so a thumbnail's EOI does not count.
    """
    position, size, scans, index = 2, None, 0, (0, 0)
    most = most_parts(len(data))
    while found := _MARKER.search(data, position):
        position, marker = found.start(), data[found.start() + 1]
        if marker == _EOI:
            return _first(data, size, position + _MARK, index) if size and scans else None
        length = int.from_bytes(data[position + 2 : position + 4])
        most -= 1
        if length < _LENGTH:
            return None
        if marker in _SOF:
            size = _jpeg_size(data[position + 5 : position + 9])
        if marker == _APP2 and data[position + 4 : position + 8] == _SEVERAL:
            index = position, position + _MARK + length
        scans += marker == _SOS
        if scans > MOST_SCANS:
            return laborious(ImageFormat.JPEG, f"more than {MOST_SCANS} scans")
        if most < 0:
            return laborious(ImageFormat.JPEG, f"more than {most_parts(len(data)):,} segments")
        position += _MARK + length
    return None


def _jpeg_size(sides: bytes) -> Size | None:
    return some(int.from_bytes(sides[2:4]), int.from_bytes(sides[:2]))


def _first(data: Bytes, size: Size, end: int, index: tuple[int, int]) -> Structure:
    """The first image, `index` being where the list of all of them lies: alone it is a JPEG like any other."""
    start, stop = index
    if not stop or not (_announced(data[start + 8 : stop]) > 1 or data.find(START, end) >= 0):
        return Structure(ImageFormat.JPEG, size)
    spans: Spans = ((0, start), (stop, end))
    return Structure(ImageFormat.JPEG, size, spans, several=True)


def _announced(index: bytes) -> int:
    """How many images the list announces, 0 when it cannot be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(index[:4])
    if order is None:
        return 0
    try:
        (at,) = struct.unpack_from(f"{order}I", index, 4)
        (entries,) = struct.unpack_from(f"{order}H", index, at)
        for number in range(min(entries, _MOST_ENTRIES)):
            tag, _, _, value = struct.unpack_from(f"{order}HHII", index, at + 2 + 12 * number)
            if tag == _NUMBER_OF_IMAGES:
                return int(value)
    except struct.error:
        return 0
    return 0


SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST_TEXT = 64 << 20
"""Bytes of unpacked text and profiles in one file: editors write megabytes of history."""

_PNG_CHUNK = struct.Struct(">I4s")
_SUM = 4
_NAME = re.compile(rb"[A-Za-z]{4}")
_OPTIONAL = 0x20
# What does not make up the pixels but changes how they are kept: transparency, orientation, colours.
_KEPT = frozenset({b"tRNS", b"eXIf", b"iCCP"})
_STEP = 1 << 20

_APPLE = Unfit(
    Fault(
        FaultCode.UNSUPPORTED_TYPE,
        "This is a PNG in a form of Apple's own (CgBI, from an iPhone app), which other programs cannot read.",
        EXPORT,
    ),
)
_PACKED = Unfit(
    Fault(
        FaultCode.TOO_LARGE,
        f"The PNG image carries more than {MOST_TEXT >> 20} MB of packed text or profiles beside its pixels.",
        "Open it in an image editor, export it again without its texts, and drop that.",
    ),
)


def walk_png(data: Bytes) -> Structure | Unfit | None:
    """What the chunks say when they lead from the signature to IEND with nothing missing; None when they do not."""
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
        """Bytes of text that may still come."""

    def chunk(self, name: bytes, start: int, end: int) -> bool:
        """Take a chunk in; False where one that is needed is damaged."""
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
    """How many bytes the packed part of a chunk holds, counted a little beyond `most`."""
    packed = _packed(name, body)
    unpacker, found = zlib.decompressobj(), 0
    try:
        while packed and found <= most and not unpacker.eof:
            found += len(unpacker.decompress(packed, _STEP))
            packed = unpacker.unconsumed_tail
    except zlib.error:
        # Nobody can read it, so nobody is harmed.
        return found
    return found


def _packed(name: bytes, body: bytes) -> bytes:
    if name in {b"zTXt", b"iCCP"}:
        # A name, its end, how it is packed.
        return body.partition(b"\0")[2][1:]
    if name == b"iTXt":
        _, _, rest = body.partition(b"\0")
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2] if rest[:1] == b"\1" else b""
    return b""


RIFF, WEBP = b"RIFF", b"WEBP"

MOST_SIDE = 16383
"""Px of a side of any image in a WEBP; only the header of the canvas has room for more."""

_WEBP_CHUNK = struct.Struct("<4sI")
_FIRST = 12
_PIXELS = frozenset({b"VP8 ", b"VP8L", b"ANMF"})
_LEAST_ZEROS, _PX_A_ZERO = 1024, 8192


def walk_webp(data: Bytes) -> Structure | Unfit | None:
    """What the chunks say when all bytes that the RIFF header announces are there; None when they are not."""
    end = 8 + int.from_bytes(data[4:8], "little")
    size = _webp_size(data[12:16], data[20:30])
    if size is not None and max(size.width, size.height) > MOST_SIDE:
        # Nothing that follows makes it smaller, or has to be waited for.
        return Structure(ImageFormat.WEBP, size)
    if end > len(data) or size is None:
        return None
    most, image = most_parts(end), None
    for name, start, stop in _chunks(data, end):
        most -= 1
        if most < 0:
            return laborious(ImageFormat.WEBP, f"more than {most_parts(end):,} chunks")
        if name in _PIXELS:
            if stop > end:
                return None
            image = start, stop
        elif name == bytes(4):
            # Space that was reserved. Behind the image it takes nothing away from it.
            if image is None:
                return None
            break
    return None if image is not None and _never_written(data, size, *image) else Structure(ImageFormat.WEBP, size)


def _chunks(data: Bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name, start and end of each chunk's content."""
    position = _FIRST
    while position + _WEBP_CHUNK.size <= end:
        name, length = _WEBP_CHUNK.unpack_from(data, position)
        start = position + _WEBP_CHUNK.size
        yield name, start, start + length
        position = start + length + length % 2


def _never_written(data: Bytes, size: Size, start: int, stop: int) -> bool:
    # Space that was reserved and never written decodes as grey. An image of one colour ends in zeros too, but
    # with one byte for 10,000 px at most (measured from 64 to 4096 px).
    zeros = min(_LEAST_ZEROS + size.width * size.height // _PX_A_ZERO, stop - start)
    return zeros > 0 and data[stop - zeros : stop] == bytes(zeros)


def _webp_size(kind: bytes, body: bytes) -> Size | None:
    if kind == b"VP8X":
        return Size(int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        sides = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return some(*(side & 0x3FFF for side in sides))
    return None


AGAIN = "Save or copy the image again, and drop it once more when it is complete."

_WALKS = {ImageFormat.JPEG: walk_jpeg, ImageFormat.PNG: walk_png, ImageFormat.WEBP: walk_webp}


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
    found = _WALKS[image_format](data)
    return cut_off(image_format) if found is None else found


def cut_off(image_format: ImageFormat) -> Unfinished:
    """The finding for a file that ends too early, or holds a gap."""
    return _unfinished(f"The file is cut off: the end of the {image_format.name} image is missing.")


def _unfinished(message: str) -> Unfinished:
    return Unfinished(Fault(FaultCode.NOT_WHOLE, message, AGAIN))


def _format(head: bytes) -> ImageFormat | None:
    if head.startswith(START):
        return ImageFormat.JPEG
    if head.startswith(SIGNATURE):
        return ImageFormat.PNG
    if head.startswith(RIFF) and head[8:12] == WEBP:
        return ImageFormat.WEBP
    return None


def _prefix(head: bytes) -> Unfinished | None:
    """The finding for a few bytes, with nothing or zeros behind them, that may yet become one of the formats."""
    if START.startswith(head):
        return cut_off(ImageFormat.JPEG)
    if SIGNATURE.startswith(head):
        return cut_off(ImageFormat.PNG)
    if RIFF.startswith(head[:4]) and WEBP.startswith(head[8:]):
        return cut_off(ImageFormat.WEBP)
    return None
