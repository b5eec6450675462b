"""Owns how a thumbnail is made: small, upright, in colours that a browser shows. Runs where `decoder` runs."""

from __future__ import annotations

import io
from typing import BinaryIO

from PIL import Image

from expandd.adapters.images.decoder import (
    TURNS,
    as_seen,
    damaged,
    exif_of,
    opened,
    orientation_in,
    picture_in,
    structure_in,
)
from expandd.adapters.images.shape import Structure
from expandd.domain.errors import Fault, FaultCode, FileFault
from expandd.domain.image import ImageFormat, Size

_MOST_PROFILE = 64_000  # bytes beside a thumbnail; those of cameras and screens have a few thousand


def thumbnail(descriptor: int, most_pixels: int, side: int) -> tuple[bytes, Size]:
    """A small upright WEBP of the picture open at `descriptor`, at most `side` px on each side, and its own size.

    Raises FileFault for one that is not whole or has more than `most_pixels`, Later when it cannot be read just now.
    """
    with opened(descriptor) as file:
        found = structure_in(file)
        if not isinstance(found, Structure):
            raise FileFault(found.fault)
        if found.size.width * found.size.height > most_pixels:
            message = f"The picture is {found.size} px, too many to be shown here."
            raise FileFault(Fault(FaultCode.TOO_LARGE, message, "Open it in an image viewer."))
        try:
            return _reduced(file, found, side)
        except Exception as error:
            raise FileFault(damaged(found.format, error).fault) from error


def _reduced(file: BinaryIO, found: Structure, side: int) -> tuple[bytes, Size]:
    if found.format is ImageFormat.JPEG:
        try:
            return _small(file, found, side, scaled=True)
        except OSError:
            # A lossless JPEG has no smaller scale to decode to.
            return _small(file, found, side)
    return _small(file, found, side)


def _small(file: BinaryIO, found: Structure, side: int, *, scaled: bool = False) -> tuple[bytes, Size]:
    with picture_in(file, found) as image:
        orientation = orientation_in(exif_of(image))
        if scaled:
            image.draft("RGB", (2 * side, 2 * side))
        small = _shown(image)
        small.thumbnail((side, side), reducing_gap=2.0)
        turn = TURNS.get(orientation)
        upright = small.transpose(turn) if turn is not None else small
        # The profile of an RGB picture fits its thumbnail too; one of CMYK or grey would not.
        profile = image.info.get("icc_profile", b"") if image.mode in {"RGB", "RGBA"} else b""
    out = io.BytesIO()
    upright.save(out, "WEBP", quality=82, method=2, icc_profile=profile if len(profile) < _MOST_PROFILE else b"")
    return out.getvalue(), as_seen(found.size, orientation)


def _shown(image: Image.Image) -> Image.Image:
    """The picture in 8 bits and a mode that WEBP has."""
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    clear = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
    return image.convert("RGBA" if clear else "RGB")
