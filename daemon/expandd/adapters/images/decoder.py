"""Opens images with Pillow, inside a decoder process, and makes thumbnails of them.

Runs in a process of its own (`process`), because a decoder may crash, hang or use up memory on a hostile file. It
gets open files, never a path.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
from typing import BinaryIO

from PIL import (
    Image,
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401, imported here, so that Pillow does not import its forty other plugins
)

from expandd.adapters.images.colours import joined, plain, split, to_srgb
from expandd.adapters.images.foreign_types import HEAD
from expandd.adapters.images.formats.common import EXPORT_AGAIN, Structure, spliced
from expandd.adapters.images.limits import require_room
from expandd.adapters.images.structure import AGAIN, structure_of
from expandd.domain.errors import Fault, FaultCode, FileFault, Later
from expandd.domain.image import ImageFormat, Incomplete, Invalid, Size

MOST_BYTES = 1 << 30
"""Bytes of the largest file that is read."""

_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ASIDE = frozenset({5, 6, 7, 8})
_PLUGINS = {ImageFormat.HEIC: "HEIF"}


def opened(descriptor: int) -> BinaryIO:
    """The regular file open at `descriptor`, which it closes. Raises Later for anything else."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Later("It is not a regular file.")
    return os.fdopen(descriptor, "rb")


def structure_in(file: BinaryIO) -> Structure | Incomplete | Invalid:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return structure_of(b"")
    if size > MOST_BYTES:
        return _heavy(file.read(HEAD), size)
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        return structure_of(data)


def _heavy(head: bytes, size: int) -> Invalid:
    found = structure_of(head)
    if isinstance(found, Invalid):
        return found
    message = f"The file has {size / (1 << 30):.1f} GB; files of more than {MOST_BYTES >> 30} GB are not read."
    return Invalid(
        Fault(FaultCode.TOO_LARGE, message, "Export the image again, in a format that packs its pixels, and drop that.")
    )


def damaged(image_format: ImageFormat, error: Exception) -> Incomplete:
    """The inspection for an error that Pillow raised. Raises Later when the disk has failed."""
    if isinstance(error, OSError) and error.errno:
        raise Later(f"It cannot be read or written just now: {error.strerror}.") from error
    if isinstance(error, UnidentifiedImageError):
        # Its message contains our descriptor's number.
        message = f"The {image_format.title} image is damaged, or of a kind that cannot be read."
        return Incomplete(Fault(FaultCode.NOT_WHOLE, message, EXPORT_AGAIN))
    detail = f" ({error})" if str(error) else ""
    message = f"The file is damaged: its {image_format.title} image cannot be decoded to the end{detail}."
    return Incomplete(Fault(FaultCode.NOT_WHOLE, message, AGAIN))


def image_in(file: BinaryIO, found: Structure) -> Image.Image:
    """The image opened, not decoded."""
    return Image.open(spliced(file, found.spans), formats=(_PLUGINS.get(found.format, found.format.name),))


def as_seen(size: Size, orientation: int) -> Size:
    return Size(size.height, size.width) if orientation in _ASIDE else size


def exif_of(image: Image.Image) -> Image.Exif:
    """The image's EXIF; empty when there is none or it cannot be read, as in every viewer."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        orientation_in(exif)
    except Exception:  # noqa: BLE001, as in _decoded
        return Image.Exif()
    return exif


def orientation_in(exif: Image.Exif) -> int:
    value = exif.get(_ORIENTATION)
    return value if isinstance(value, int) and value in TURNS else 1


_MOST_PROFILE = 64_000  # bytes of a profile kept in a thumbnail; those of cameras and screens have a few thousand


def thumbnail(descriptor: int, most_pixels: int, side: int) -> tuple[bytes, Size]:
    """A small upright WEBP of the image open at `descriptor`, at most `side` px on each side, and its own size.

    Raises FileFault for one that is not whole or has more than `most_pixels`, Later when it cannot be read just now.
    """
    with opened(descriptor) as file:
        found = structure_in(file)
        if not isinstance(found, Structure):
            raise FileFault(found.fault)
        if found.size.width * found.size.height > most_pixels:
            message = f"The image is {found.size} px, too many to be shown here."
            raise FileFault(Fault(FaultCode.TOO_LARGE, message, "Open it in an image viewer."))
        require_room(found.size)
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
    with image_in(file, found) as image:
        size, orientation = Size(*image.size), orientation_in(exif_of(image))
        # The profile of an RGB image fits its thumbnail too; those of CMYK and grey would not.
        icc = image.info.get("icc_profile", b"")
        profile = icc if image.mode in {"RGB", "RGBA"} and len(icc) < _MOST_PROFILE else b""
        if scaled:
            image.draft("RGB", (2 * side, 2 * side))
        image.load()
        small = plain(image)
        small.thumbnail((side, side), reducing_gap=2.0)
    colours, alpha = split(small)
    shown = joined(colours.convert("RGB") if profile else to_srgb(colours.mode, icc)(colours), alpha)
    turn = TURNS.get(orientation)
    # Pillow asks an image opened from a file for its path before it writes it.
    upright = shown.transpose(turn) if turn is not None else shown.copy()
    out = io.BytesIO()
    upright.save(out, "WEBP", quality=82, method=2, icc_profile=profile)
    return out.getvalue(), as_seen(size, orientation)
