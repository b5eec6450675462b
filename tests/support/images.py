"""The images that tests use: small files of every format, whole ones and ones to be refused."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image, ImageDraw

CORNERS: tuple[tuple[int, int, int], ...] = ((220, 20, 20), (20, 200, 20), (20, 20, 220), (230, 210, 20))
"""Colours of the top left, top right, bottom left and bottom right quarter, as a person sees the image."""

# What was done to the pixels before storing, so that the orientation tag of the same number undoes it.
_UNDONE: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def an_image(
    format: str = "jpeg",  # noqa: A002, the word everybody uses
    width: int = 96,
    height: int = 80,
    *,
    seed: int = 0,
    orientation: int = 1,
    mode: str = "RGB",
    **save: Any,
) -> bytes:
    """A whole file: four coloured quarters and some specks, `width` by `height` px as a person sees it.

    The same arguments give the same bytes; another `seed` gives other bytes. `save` goes to Pillow as it is.
    """
    upright = drawing(width, height, seed)
    stored = upright.transpose(_UNDONE[orientation]) if orientation in _UNDONE else upright
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        save["exif"] = exif.tobytes()
    return encoded(stored.convert("RGB") if mode == "RGB" else converted(stored, mode), format, **save)


def drawing(width: int, height: int, seed: int = 0) -> Image.Image:
    """The image itself, RGB: each quarter in its colour of CORNERS, with specks by `seed` at the centre."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    middle = (width // 2, height // 2)
    for colour, x, y in zip(CORNERS, (0, middle[0]) * 2, (0, 0, middle[1], middle[1]), strict=True):
        draw.rectangle((x, y, x + width, y + height), fill=colour)
    dice = random.Random(seed)
    for _ in range(24):
        x, y = (round(side * dice.uniform(0.35, 0.65)) for side in (width, height))
        draw.ellipse((x, y, x + width // 20, y + height // 20), fill=tuple(dice.randbytes(3)))
    return image


def converted(image: Image.Image, mode: str) -> Image.Image:
    """`image` in a mode that Pillow cannot always reach from RGB in one step, such as I;16."""
    if mode == "I;16":
        return image.convert("L").convert("I").point(lambda value: value * 257).convert("I;16")
    if mode == "LA":
        return image.convert("RGBA").convert("LA")
    return image.convert(mode)


def encoded(image: Image.Image, format: str, **save: Any) -> bytes:  # noqa: A002 - the word of its callers
    """`image` as a file of `format`: jpeg, png, webp, or any other name that Pillow writes."""
    out = io.BytesIO()
    image.save(out, format=format.upper(), **save)
    return out.getvalue()


def animated(format: str, width: int = 96, height: int = 80, frames: int = 3) -> bytes:  # noqa: A002 - the word of its callers
    """An animated PNG or WEBP."""
    first, *rest = (drawing(width, height, seed) for seed in range(frames))
    return encoded(first, format, save_all=True, append_images=rest, duration=100)


def chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with its length and CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of some 100 bytes whose header claims `width` by `height` px; its structure is complete."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def lossless_jpeg(width: int = 64, height: int = 64) -> bytes:
    """A JPEG of the lossless process (SOF3), all of one grey, which Pillow reads but does not write."""
    frame = struct.pack(">BHHB3B", 8, height, width, 1, 1, 0x11, 0)
    # One code of one bit: the sample is as predicted.
    table = bytes((0, 1, *bytes(15), 0))
    scan = bytes((1, 1, 0, 1, 0, 0))
    parts = ((0xC3, frame), (0xC4, table), (0xDA, scan))
    segments = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in parts)
    return b"\xff\xd8" + segments + bytes(width * height // 8) + b"\xff\xd9"
