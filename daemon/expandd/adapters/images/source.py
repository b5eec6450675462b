"""Opens an image with Pillow and reads its properties before its pixels are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageFile

from expandd.adapters.images.decoder import TURNS, as_seen, damaged, exif_of, image_in, orientation_in, structure_in
from expandd.adapters.images.formats.common import Structure
from expandd.adapters.images.limits import NeedsRoom, require_room
from expandd.adapters.images.metadata import Metadata, read
from expandd.domain.errors import Fault, FaultCode, FileFault, Later
from expandd.domain.image import ImageFormat, Size

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in px."""

ASIDE = 5
"""The first of the EXIF orientations that swap width and height."""

_UPRIGHT_ALREADY = frozenset({ImageFormat.HEIC, ImageFormat.TIFF})
"""Formats whose decoders apply the orientation themselves."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open image file, and its image, which Pillow has opened but not decoded."""

    file: BinaryIO
    structure: Structure
    image: Image.Image
    metadata: Metadata

    @property
    def format(self) -> ImageFormat:
        return self.structure.format

    def load(self, smallest: Size | None = None) -> None:
        """Decode the pixels; those of a JPEG to a smaller image of at least `smallest` px, if it is much smaller."""
        if smallest is not None and self.format is ImageFormat.JPEG:
            self.image.draft(None, (smallest.width, smallest.height))
        self.image.load()

    @property
    def orientation(self) -> int:
        """The EXIF orientation still to be applied to the decoded pixels; known once they are decoded."""
        return 1 if self.format in _UPRIGHT_ALREADY else orientation_in(exif_of(self.image))

    @property
    def size(self) -> Size:
        """The full size in px, upright; known once the pixels are decoded, also to a smaller size."""
        stored = self.structure.size if self.format is ImageFormat.JPEG else Size(*self.image.size)
        return as_seen(stored, self.orientation)


def identified(file: BinaryIO) -> Structure:
    """The structure of `file`. Raises FileFault where it is not a whole image."""
    structure = structure_in(file)
    if isinstance(structure, Structure):
        return structure
    raise FileFault(structure.fault)


@contextmanager
def source_in(file: BinaryIO, structure: Structure | None = None) -> Iterator[Source]:
    """The image in `file`, whose `structure` may be known already.

    Any error that the file causes in the block becomes a FileFault.

    Raises NeedsRoom for one that is larger than this process was granted memory for, Later when it cannot be read or
    written just now.
    """
    structure = structure or identified(file)
    require_room(structure.size)
    try:
        with image_in(file, structure) as image:
            yield Source(file, structure, image, read(file, structure.format))
    except (FileFault, Later, NeedsRoom):
        raise
    except MemoryError as error:
        raise FileFault(_swelling(structure)) from error
    except Exception as error:
        raise FileFault(damaged(structure.format, error).fault) from error


def _swelling(structure: Structure) -> Fault:
    message = f"The {structure.format.title} image of {structure.size} px takes more memory than there is for it."
    return Fault(FaultCode.TOO_LARGE, message, "Export it smaller and drop that.")


@contextmanager
def writing(image_format: ImageFormat) -> Iterator[None]:
    """Translate any error in the block to a FileFault, or to Later when the disk has failed."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise Later(f"It cannot be read or written just now: {error.strerror}.") from error
        message = f"The result cannot be written as {image_format.title}: {error or type(error).__name__}."
        raise FileFault(Fault(FaultCode.UNREADABLE, message, "Set another `result.format` for this folder.")) from error


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image upright."""
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def stored_box(box: Box, orientation: int, stored: tuple[int, int]) -> Box:
    """The place of the upright image's part `box` in the stored image of `stored` px."""
    width, height = stored
    left, top, right, bottom = box
    match orientation:
        case 2:
            return width - right, top, width - left, bottom
        case 3:
            return width - right, height - bottom, width - left, height - top
        case 4:
            return left, height - bottom, right, height - top
        case 5:
            return top, left, bottom, right
        case 6:
            return top, height - right, bottom, height - left
        case 7:
            return width - bottom, height - right, width - top, height - left
        case 8:
            return width - bottom, left, width - top, right
        case _:
            return box


def bare(image: Image.Image) -> Image.Image:
    """The pixels without metadata: encoders write an image's metadata by default, and look for its file."""
    image = image.copy() if isinstance(image, ImageFile.ImageFile) else image
    image.info = {}
    return image
