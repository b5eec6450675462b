"""Decodes images with Pillow, inside a decoder process: to the last row, or as a thumbnail.

Runs in a process of its own (`process`), because a decoder may crash, hang or swell on a hostile file. It is given
open files, never a path.
"""

from __future__ import annotations

import io
import mmap
import os
import stat
from collections.abc import Callable
from typing import BinaryIO

from PIL import (
    Image,
    WebPImagePlugin,  # noqa: F401, named here Pillow need not import its forty other plugins to look for it
)

from expandd.adapters.images.foreign_types import HEAD, not_taken
from expandd.adapters.images.formats.common import Structure, spliced
from expandd.adapters.images.structure import AGAIN, structure_of
from expandd.domain.errors import Fault, FaultCode, FileFault, Later
from expandd.domain.image import Finding, ImageFormat, Size, Unfinished, Unfit, Whole

SMALLEST, LARGEST = 64, 4096
"""The least and the most px that the API takes on each side."""

MOST_BYTES = 1 << 30
"""No image of LARGEST px squared is larger than this; a file that is will not be read."""

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


def examine(descriptor: int) -> Finding:
    """What the source open at `descriptor` is. Raises Later when it cannot be read just now."""
    return _examined(descriptor, lambda file, found: _misfit(found.size) or _decoded(file, found))


def examine_result(descriptor: int, most_pixels: int) -> Finding:
    """What the downloaded result open at `descriptor` is, whatever its size. Raises Later.

    One of more than `most_pixels` is taken for whole when its own end is there: refusing what was paid for
    because this machine is too small to decode it would be worse.
    """

    def judge(file: BinaryIO, found: Structure) -> Finding:
        if found.size.width * found.size.height > most_pixels:
            return Whole(format=found.format, size=found.size, orientation=1)
        return _decoded(file, found)

    return _examined(descriptor, judge)


def _examined(descriptor: int, judge: Callable[[BinaryIO, Structure], Finding]) -> Finding:
    with opened(descriptor) as file:
        found = structure_in(file)
        return judge(file, found) if isinstance(found, Structure) else found


def opened(descriptor: int) -> BinaryIO:
    """The regular file open at `descriptor`, which is closed with it. Raises Later for all else."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Later("It is not a regular file.")
    return os.fdopen(descriptor, "rb")


def structure_in(file: BinaryIO) -> Structure | Unfinished | Unfit:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return structure_of(b"")
    if size > MOST_BYTES:
        return _heavy(file.read(HEAD), size)
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        found = structure_of(data)
    if isinstance(found, Structure) and not found.format.taken_by_api:
        return Unfit(not_taken(found.format))
    return found


def _heavy(head: bytes, size: int) -> Unfit:
    found = structure_of(head)
    if isinstance(found, Unfit):
        return found
    message = f"The file has {size / (1 << 30):.1f} GB; no image of up to {LARGEST} px has as much."
    return Unfit(Fault(FaultCode.TOO_LARGE, message, "Export the image again and drop that."))


def _misfit(size: Size) -> Unfit | None:
    sides = f"{SMALLEST} to {LARGEST} px"
    takes = f"The image is {size} px; only images of {sides} on each side can be expanded."
    if min(size.width, size.height) < SMALLEST:
        what = f"Export it with at least {SMALLEST} px on its shorter side and drop that."
        return Unfit(Fault(FaultCode.TOO_SMALL, takes, what))
    if max(size.width, size.height) > LARGEST:
        what = f"Export it with at most {LARGEST} px on its longer side and drop that."
        return Unfit(Fault(FaultCode.TOO_LARGE, takes, what))
    return None


def damaged(image_format: ImageFormat, error: Exception) -> Unfinished:
    """The finding for what Pillow raised. Raises Later when it is the disk that failed."""
    if isinstance(error, OSError) and error.errno:
        raise Later(f"It cannot be read or written just now: {error.strerror}.") from error
    detail = f" ({error})" if str(error) else ""
    message = f"The file is damaged: its {image_format.name} image cannot be decoded to the end{detail}."
    return Unfinished(Fault(FaultCode.NOT_WHOLE, message, AGAIN))


def _decoded(file: BinaryIO, found: Structure) -> Finding:
    try:
        orientation = _decode(file, found)
    except MemoryError:
        return _swelling(found)
    except Exception as error:  # noqa: BLE001, decoders raise whatever a hostile file makes them stumble over
        return damaged(found.format, error)
    size = as_seen(found.size, orientation)
    return Whole(format=found.format, size=size, orientation=orientation, several=found.several)


def _swelling(found: Structure) -> Unfit:
    message = f"Decoding the {found.format.name} image takes more memory than any image of {found.size} px needs."
    what = "Open it in an image editor, export it again, and drop that."
    return Unfit(Fault(FaultCode.UNREADABLE, message, what))


def _decode(file: BinaryIO, found: Structure) -> int:
    """Decode every row; the orientation."""
    if found.format is ImageFormat.JPEG:
        try:
            return _load(file, found, small=True)
        except OSError:
            # A lossless JPEG has no smaller scale to decode to.
            return _load(file, found)
    return _load(file, found)


def _load(file: BinaryIO, found: Structure, *, small: bool = False) -> int:
    with image_in(file, found) as image:
        if image.size != (found.size.width, found.size.height):
            raise ValueError("its header names two sizes")
        if small:
            # An eighth of each side: every coded bit is read all the same, in a third less time and no memory.
            image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
        image.load()
        return orientation_in(exif_of(image))


def image_in(file: BinaryIO, found: Structure) -> Image.Image:
    return Image.open(spliced(file, found.spans), formats=(found.format.name,))


def as_seen(size: Size, orientation: int) -> Size:
    return Size(size.height, size.width) if orientation in _ASIDE else size


def exif_of(image: Image.Image) -> Image.Exif:
    """The image's EXIF; empty when there is none that can be read, as for every viewer."""
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


_MOST_PROFILE = 64_000  # bytes beside a thumbnail; those of cameras and screens have a few thousand


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
        orientation = orientation_in(exif_of(image))
        if scaled:
            image.draft("RGB", (2 * side, 2 * side))
        small = _shown(image)
        small.thumbnail((side, side), reducing_gap=2.0)
        turn = TURNS.get(orientation)
        upright = small.transpose(turn) if turn is not None else small
        # The profile of an RGB image fits its thumbnail too; one of CMYK or grey would not.
        profile = image.info.get("icc_profile", b"") if image.mode in {"RGB", "RGBA"} else b""
    out = io.BytesIO()
    upright.save(out, "WEBP", quality=82, method=2, icc_profile=profile if len(profile) < _MOST_PROFILE else b"")
    return out.getvalue(), as_seen(found.size, orientation)


def _shown(image: Image.Image) -> Image.Image:
    """The image in 8 bits and a mode that WEBP has."""
    if image.mode.startswith("I"):
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    clear = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
    return image.convert("RGBA" if clear else "RGB")
