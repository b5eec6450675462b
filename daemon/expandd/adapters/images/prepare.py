"""Makes the copy of an image for the API: upright, in sRGB, at most 4096 px a side, of a type that it takes.

Only what needs it is changed. The same file gives the same bytes, so that it can be uploaded again at any time.
"""

from __future__ import annotations

import os
import shutil
from typing import Any, BinaryIO

from PIL import Image

from expandd.adapters.images.colours import in_srgb, joined, plain, split, to_srgb
from expandd.adapters.images.decoder import as_seen, opened
from expandd.adapters.images.deep import of_two_bytes
from expandd.adapters.images.encoding import LOSSLESS_WEBP
from expandd.adapters.images.formats.common import spliced
from expandd.adapters.images.source import Source, bare, source_in, turned
from expandd.domain.finishing import sent_size
from expandd.domain.image import ImageFormat, Prepared, Size

_PHOTOS = frozenset({ImageFormat.JPEG, ImageFormat.HEIC, ImageFormat.AVIF})
"""Formats of photographs, which lose nothing visible when they are written as JPEG again."""

_KEPT = frozenset({ImageFormat.PNG, ImageFormat.WEBP})
"""Formats that the API takes and that can be written without a loss."""

_MODES_KEPT = frozenset({"L", "LA", "RGB", "RGBA"})

_EFFORT: dict[ImageFormat, dict[str, Any]] = {
    ImageFormat.JPEG: {"quality": 95, "subsampling": 0},
    ImageFormat.PNG: {"compress_level": 3},
    ImageFormat.WEBP: LOSSLESS_WEBP,
}


def prepare(source: int, target: int) -> Prepared:
    """Write the copy of the image open at `source` to the empty file open at `target`, synced.

    Raises FileFault for a source that cannot be decoded, Later when a file cannot be read or written just now.
    """
    with opened(source) as file, source_in(file) as found:
        with emptied(target) as out:
            prepared = _copied(found, out) if _is_first_of_several(found) else _made(found, out)
        os.fsync(target)
        return prepared


def emptied(target: int) -> BinaryIO:
    # A process that died may have left bytes of an earlier try.
    os.ftruncate(target, 0)
    os.lseek(target, 0, os.SEEK_SET)
    return os.fdopen(target, "r+b", closefd=False)


def _is_first_of_several(found: Source) -> bool:
    """Whether cutting out the first image of a JPEG of several is all that is needed."""
    return (
        found.format is ImageFormat.JPEG
        and found.structure.several
        and found.orientation == 1
        and sent_size(found.size) == found.size
        and in_srgb(found.image.mode, found.metadata.icc)
    )


def _copied(found: Source, out: BinaryIO) -> Prepared:
    shutil.copyfileobj(spliced(found.file, found.structure.spans), out)
    return Prepared(format=ImageFormat.JPEG, size=found.size, exact=True)


def _made(found: Source, out: BinaryIO) -> Prepared:
    deep = of_two_bytes(found.image)
    found.load(sent_size(found.structure.size))
    exact = not deep and _is_only_turned(found)
    image = plain(found.image) if exact else _in_srgb(found, sent_size(found.size))
    image_format = found.format if exact else _format(found.format, image)
    upright = bare(turned(image, found.orientation))
    upright.save(out, image_format.name, **_EFFORT[image_format])
    return Prepared(format=image_format, size=Size(*upright.size), exact=exact)


def _is_only_turned(found: Source) -> bool:
    return (
        found.format in _KEPT
        and found.image.mode in _MODES_KEPT
        and sent_size(found.size) == found.size
        and in_srgb(found.image.mode, found.metadata.icc)
    )


def _in_srgb(found: Source, size: Size) -> Image.Image:
    """The stored image in RGB, perhaps with transparency, reduced so that it has `size` when it is turned."""
    image = plain(found.image)
    stored = as_seen(size, found.orientation)
    if image.size != (stored.width, stored.height):
        # It takes a fifth of the time of Lanczos' filter, and the API gains nothing from a sharper copy.
        image = image.resize((stored.width, stored.height), Image.Resampling.HAMMING)
    colours, alpha = split(image)
    return joined(to_srgb(colours.mode, found.metadata.icc)(colours), alpha)


def _format(source: ImageFormat, image: Image.Image) -> ImageFormat:
    return ImageFormat.JPEG if source in _PHOTOS and image.mode == "RGB" else ImageFormat.PNG
