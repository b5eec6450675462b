"""Reads and writes images of 16 bits a channel, exactly, as two images of 8: one of the high bytes, one of the low.

Pillow decodes colours of 16 bits to their high bytes only, and cannot write them. Decoded a second time, with the byte
order reversed, the file gives the low bytes. This module itself packs such images, with the horizontal difference
filter of both formats.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from PIL import Image, ImageChops

from expandd.adapters.images.source import Box

_OTHER_ORDER = {
    **{f"{mode};16B": f"{mode};16L" for mode in ("RGB", "RGBA", "RGBX", "CMYK")},
    **{f"{mode};16L": f"{mode};16B" for mode in ("RGB", "RGBA", "RGBX", "CMYK")},
    # The machine's own order, low byte first.
    **{f"{mode};16N": f"{mode};16B" for mode in ("RGB", "RGBA", "RGBX", "CMYK")},
}
_GREY = {"I;16": 1, "I;16L": 1, "I;16N": 1, "I;16B": 0}
"""The index of the high byte in the two bytes of a pixel."""

_LEVEL = 1
"""The compression level; the low bytes are grain, which more effort does not make much smaller."""
_ROWS = 128


def of_two_bytes(image: Image.Image) -> bool:
    """Whether an opened, undecoded image has 16 bits a channel, also where Pillow reads only one byte."""
    return image.mode in _GREY or any(";16" in str(part.args) for part in getattr(image, "tile", ()))


def is_deep(image: Image.Image) -> bool:
    """Whether an opened, undecoded image has 16 bits a channel and both bytes can be read."""
    return "transparency" not in image.info and (image.mode in _GREY or _swapped(image) is not None)


def decode_low(image: Image.Image) -> None:
    """Make an opened, undecoded deep image in colour decode to its low bytes."""
    if image.mode not in _GREY:
        image.tile = _swapped(image)  # type: ignore[attr-defined]  # Pillow sets it on each image it opens


def _swapped(image: Image.Image) -> list[Any] | None:
    tile = list(getattr(image, "tile", ()))
    swapped = [part._replace(args=_other(part.args)) for part in tile]
    return swapped if tile and all(one != other for one, other in zip(tile, swapped, strict=True)) else None


def _other(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_other(part) for part in value)
    return _OTHER_ORDER.get(value, value) if isinstance(value, str) else value


def high(image: Image.Image) -> Image.Image:
    """The high bytes of a part of a decoded deep image."""
    return _byte(image, _GREY[image.mode]) if image.mode in _GREY else image


def low(image: Image.Image) -> Image.Image:
    """The low bytes of a part of a deep image, after `decode_low`."""
    return _byte(image, 1 - _GREY[image.mode]) if image.mode in _GREY else image


def _byte(image: Image.Image, at: int) -> Image.Image:
    return Image.frombytes("L", image.size, image.tobytes()[at::2])


LowBytes = Callable[[Box], Image.Image]
"""Returns the low bytes of whole rows of an image."""


class Aside:
    """Stores low bytes in the result's file, behind its content, until the high ones are packed.

    In memory they would take as much as the high ones, beside the memory of the decoder. `write_png` and `write_tiff`
    cut them off.
    """

    def __init__(self, file: BinaryIO, mode: str, inner: Box, canvas: tuple[int, int]) -> None:
        self._descriptor = file.fileno()
        self._mode = mode
        self._inner = inner
        self._line = len(mode) * (inner[2] - inner[0])
        packed = 2 * len(mode) * canvas[0] * canvas[1]
        self._start = packed + packed // _SWELLS + _BESIDE

    def put(self, top: int, rows: Image.Image) -> None:
        """Store rows of the part, from row `top` of the canvas on."""
        data = memoryview(rows.tobytes())
        at = self._at(top)
        while data:
            done = os.pwrite(self._descriptor, data, at)
            data, at = data[done:], at + done

    def rows(self, top: int, bottom: int) -> Image.Image:
        """The rows of the part from `top` to `bottom` of the canvas."""
        size = self._inner[2] - self._inner[0], bottom - top
        return Image.frombytes(self._mode, size, os.pread(self._descriptor, self._line * size[1], self._at(top)))

    def _at(self, row: int) -> int:
        return self._start + self._line * (row - self._inner[1])


_SWELLS, _BESIDE = 128, 256 << 20
"""The greatest growth of data that cannot be compressed, as a fraction, and the bytes for the rest of a file."""


def write_png(high_bytes: Image.Image, low_bytes: LowBytes, out: BinaryIO, chunks: bytes = b"") -> None:
    """Write high and low bytes as one PNG; `chunks` follow its header."""
    width, height = high_bytes.size
    colour = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}[high_bytes.mode]
    out.write(b"\x89PNG\r\n\x1a\n")
    _chunk(out, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    out.write(chunks)
    pack = zlib.compressobj(_LEVEL)
    for box in _rows(high_bytes):
        # Each byte minus the same byte of the pixel on its left.
        rows = _interleaved(_less_left(high_bytes.crop(box)), _less_left(low_bytes(box)))
        line = len(rows) // (box[3] - box[1])
        filtered = b"".join(b"\1" + rows[at : at + line] for at in range(0, len(rows), line))
        _chunk(out, b"IDAT", pack.compress(filtered))
    _chunk(out, b"IDAT", pack.flush())
    _chunk(out, b"IEND", b"")
    out.truncate()


def _rows(image: Image.Image) -> Iterator[Box]:
    for top in range(0, image.height, _ROWS):
        yield 0, top, image.width, min(top + _ROWS, image.height)


def _chunk(out: BinaryIO, name: bytes, body: bytes) -> None:
    if body or name == b"IEND":
        out.write(struct.pack(">I", len(body)) + name)
        out.write(body)
        out.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(name))))


def _less_left(image: Image.Image) -> Image.Image:
    return ImageChops.subtract_modulo(image, _moved(image))


def _moved(image: Image.Image) -> Image.Image:
    """The image shifted right by one pixel, with zeros in the first column."""
    moved = Image.new(image.mode, image.size)
    moved.paste(image.crop((0, 0, image.width - 1, image.height)), (1, 0))
    return moved


def _interleaved(first: Image.Image, second: Image.Image) -> bytes:
    rows = bytearray(2 * len(first.getbands()) * first.width * first.height)
    rows[0::2], rows[1::2] = first.tobytes(), second.tobytes()
    return bytes(rows)


_SHORT, _LONG = 3, 4
_PHOTOMETRIC = {"L": 1, "RGB": 2, "CMYK": 5}
_DEFLATE, _DIFFERENCES, _UNASSOCIATED = 8, 2, 2


def write_tiff(high_bytes: Image.Image, low_bytes: LowBytes, out: BinaryIO) -> None:
    """Write high and low bytes as one TIFF, in strips."""
    out.write(struct.pack("<2sHI", b"II", 42, 0))
    places = [_strip(out, strip) for strip in _strips(high_bytes, low_bytes)]
    out.truncate()
    bands = high_bytes.getbands()
    fields = {
        256: (_LONG, [high_bytes.width]),
        257: (_LONG, [high_bytes.height]),
        258: (_SHORT, [16] * len(bands)),
        259: (_SHORT, [_DEFLATE]),
        262: (_SHORT, [_PHOTOMETRIC["".join(bands).removesuffix("A")]]),
        273: (_LONG, [start for start, _ in places]),
        277: (_SHORT, [len(bands)]),
        278: (_LONG, [_ROWS]),
        279: (_LONG, [length for _, length in places]),
        284: (_SHORT, [1]),
        317: (_SHORT, [_DIFFERENCES]),
    }
    if "A" in bands:
        fields[338] = (_SHORT, [_UNASSOCIATED])
    _directory(out, fields)


def _strips(high_bytes: Image.Image, low_bytes: LowBytes) -> Iterator[bytes]:
    for box in _rows(high_bytes):
        upper, lower = high_bytes.crop(box), low_bytes(box)
        before = _moved(lower)
        # 1 where the low byte is less than the one before: the borrow from the high byte.
        borrow = ImageChops.subtract(before, lower).point(lambda value: 1 if value else 0)
        high_less = ImageChops.subtract_modulo(_less_left(upper), borrow)
        yield zlib.compress(_interleaved(ImageChops.subtract_modulo(lower, before), high_less), _LEVEL)


def _strip(out: BinaryIO, strip: bytes) -> tuple[int, int]:
    start = out.tell()
    # Strips begin at even offsets.
    out.write(strip + bytes(len(strip) % 2))
    return start, len(strip)


def _directory(out: BinaryIO, fields: dict[int, tuple[int, list[int]]]) -> None:
    """Write the one directory at the end of the file, and its offset into the header."""
    table = bytearray(struct.pack("<H", len(fields)))
    for tag, (kind, values) in sorted(fields.items()):
        packed = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(packed) > 4:  # noqa: PLR2004, the bytes of an offset, in whose place shorter values stand
            place = out.tell()
            out.write(packed + bytes(len(packed) % 2))
            packed = struct.pack("<I", place)
        table += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    start = out.tell()
    out.write(table + bytes(4))
    out.seek(4)
    out.write(struct.pack("<I", start))
