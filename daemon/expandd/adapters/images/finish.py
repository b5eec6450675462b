"""Makes the result from the original and the API's image: full size, the original's colours, pixels and metadata.

Outside a seam of a few pixels, the original's pixels are exactly its own before they are encoded. An image of 16 bits a
channel stays one as PNG and TIFF, though the API's part has only 8 bits to give. Grey of 16 bits with transparency,
which Pillow reads in 8, is finished in 8.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, Self

from PIL import Image

from expandd.adapters.images import deep
from expandd.adapters.images.colours import OPAQUE, Convert, from_srgb, joined, plain, plain_mode, split, to_srgb
from expandd.adapters.images.decoder import opened
from expandd.adapters.images.encoding import Canvas, effort, write
from expandd.adapters.images.matching import Correction, Place, cells, correction
from expandd.adapters.images.metadata import Metadata, fitted, read, stripped
from expandd.adapters.images.metadata_adding import added
from expandd.adapters.images.placing import (
    Layout,
    Original,
    Target,
    layout,
    place_original,
    strips,
)
from expandd.adapters.images.prepare import emptied
from expandd.adapters.images.source import Box, Source, identified, source_in, writing
from expandd.domain.finishing import Finishing
from expandd.domain.image import ImageFormat

_FILTER, _SUPPORT = Image.Resampling.BICUBIC, 2
"""The filter takes three quarters of Lanczos' time, and an enlarged image has no finer detail to lose. Its reach is in
px of the source on each side, where it does not reduce."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps coordinates of the canvas to those of the API's image, by a factor and an offset for each axis.

    The copy that the API saw covers the original exactly, so its coordinates are those of the original, scaled.
    """

    across: float
    left: float
    down: float
    top: float

    @classmethod
    def of(cls, plan: Finishing, made: tuple[int, int]) -> Self:
        asked = plan.asked.applied_to(plan.sent)
        # The API's image may differ in size from the requested one.
        wider, higher = made[0] / asked.width, made[1] / asked.height
        across, down = plan.sent.width / plan.original.width, plan.sent.height / plan.original.height
        return cls(
            across * wider,
            (plan.asked.left - plan.offsets.left * across) * wider,
            down * higher,
            (plan.asked.top - plan.offsets.top * down) * higher,
        )

    @property
    def none(self) -> bool:
        """Whether it only shifts, by whole px."""
        return self.across == self.down == 1 and self.left.is_integer() and self.top.is_integer()

    def there(self, box: Box, size: tuple[int, int]) -> Place:
        """Where `box` of the canvas lies in the API's image of `size` px."""
        left, right = (min(max(at * self.across + self.left, 0), size[0]) for at in (box[0], box[2]))
        top, bottom = (min(max(at * self.down + self.top, 0), size[1]) for at in (box[1], box[3]))
        return left, top, right, bottom

    def here(self, box: Box) -> Place:
        """Where `box` of the API's image lies on the canvas."""
        left, right = ((at - self.left) / self.across for at in (box[0], box[2]))
        top, bottom = ((at - self.top) / self.down for at in (box[1], box[3]))
        return left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Made:
    """The API's image, decoded: plain, with the conversion of its colours to sRGB."""

    image: Image.Image
    to_srgb: Convert
    scale: _Scale

    @classmethod
    def of(cls, found: Source, plan: Finishing) -> Self:
        found.load()
        image = plain(found.image)
        return cls(image, to_srgb(OPAQUE.get(image.mode, image.mode), found.metadata.icc), _Scale.of(plan, image.size))

    def reduced(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """The part of the image at `box` of the canvas, scaled to `size` px, in sRGB."""
        place = self.scale.there(box, self.image.size)
        colours, _ = split(self.image.resize(size, Image.Resampling.BOX, box=place))
        return self.to_srgb(colours)

    def draw(self, canvas: Image.Image, target: Target, boxes: Iterable[Box], correction: Correction | None) -> None:
        """Draw it, scaled, in these boxes of the canvas."""
        back = from_srgb(target.colours, target.icc)
        for box in boxes:
            place = self.scale.there(box, self.image.size)
            part = self._part(place)
            colours, alpha = split(self.image.crop(part))
            colours = self.to_srgb(colours)
            if correction is not None:
                colours = correction.applied(colours, self.scale.here(part))
            piece = target.made_fit(joined(colours, alpha), back)
            if not self.scale.none:
                size = box[2] - box[0], box[3] - box[1]
                inside = place[0] - part[0], place[1] - part[1], place[2] - part[0], place[3] - part[1]
                piece = piece.resize(size, _FILTER, box=inside)
            canvas.paste(piece, box[:2])

    def _part(self, place: Place) -> Box:
        """The whole px that are needed to scale the part at `place`."""
        margin = 0 if self.scale.none else math.ceil(_SUPPORT * max(self.scale.across, self.scale.down, 1))
        return (
            max(math.floor(place[0]) - margin, 0),
            max(math.floor(place[1]) - margin, 0),
            min(math.ceil(place[2]) + margin, self.image.width),
            min(math.ceil(place[3]) + margin, self.image.height),
        )


_MODES = {
    ImageFormat.JPEG: frozenset({"L", "RGB", "CMYK"}),
    ImageFormat.PNG: frozenset({"L", "RGB"}),
    ImageFormat.WEBP: frozenset({"RGB"}),
    ImageFormat.TIFF: frozenset({"L", "RGB", "CMYK", "LAB"}),
}
"""The modes of each format, without transparency."""

_DEEP = frozenset({ImageFormat.PNG, ImageFormat.TIFF})
"""Formats of 16 bits a channel."""


def finish(original: int, made: int, target: int, plan: Finishing) -> bool:
    """Write the result of the images open at `original` and `made` to the empty file open at `target`, synced.

    False, and nothing written, where nothing is to be added to the API's image. Raises FileFault for an image that
    cannot be decoded, Later when a file cannot be read or written just now.
    """
    with opened(original) as before, opened(made) as after, emptied(target) as out:
        structure = identified(before)
        metadata = _metadata(before, structure.format, plan)
        if plan.canvas:
            _painted(partial(source_in, before, structure), after, out, plan, metadata)
        else:
            with writing(plan.format):
                if not added(after, plan.format, metadata, out):
                    return False
        with writing(plan.format):
            out.flush()
            os.fsync(target)
        return True


Opening = Callable[[], AbstractContextManager[Source]]
"""Opens the original, whose structure is known, once more."""


def _metadata(original: BinaryIO, image_format: ImageFormat, plan: Finishing) -> Metadata:
    metadata = fitted(read(original, image_format), plan.size)
    return metadata if plan.metadata else stripped(metadata)


def _painted(before: Opening, after: BinaryIO, out: BinaryIO, plan: Finishing, metadata: Metadata) -> None:
    with before() as found:
        target = _target(plan.format, plain_mode(found.image), found.metadata.icc)
        save = effort(found, plan.format, target.mode, plan.quality)
        is_deep = plan.pixels and target.native and plan.format in _DEEP and deep.is_deep(found.image)
    low = _low_aside(before, plan, out) if is_deep else None
    image = _canvas(before, after, plan, target, deep.high if is_deep else plain)
    canvas = Canvas(image, None if low is None else lambda box: _low_bytes(image, low, layout(plan).inner, box))
    with writing(plan.format):
        write(canvas, plan.format, metadata if target.native else replace(metadata, icc=b""), out, **save)


def _low_aside(before: Opening, plan: Finishing, out: BinaryIO) -> deep.Aside:
    """The low bytes of the original's own part, kept in the file instead of memory."""
    place = layout(plan)
    with before() as found:
        deep.decode_low(found.image)
        original = _decoded(found, plan, deep.low)
        left, top, *_ = place.inner
        aside = deep.Aside(out, original.part((left, top, left + 1, top + 1)).mode, place.inner, place.size)
        with writing(plan.format):
            for box in strips(place.inner):
                aside.put(box[1], original.part(box))
        return aside


def _canvas(before: Opening, after: BinaryIO, plan: Finishing, target: Target, convert: Convert) -> Image.Image:
    """The finished pixels; the memory of all other images is free again."""
    place = layout(plan)
    with before() as found, source_in(after) as result:
        original = _decoded(found, plan, convert) if plan.pixels else None
        made = Made.of(result, plan)
        # Only now: a decoder may need more memory while it works than its image takes afterwards.
        canvas = Image.new(target.mode, place.size)
        match = None if original is None else _correction(original, made, place)
        made.draw(canvas, target, place.around(), match)
        if original is not None:
            place_original(canvas, target, original, strips(place.inner))
            place_original(canvas, target, original, place.seams(), place.weights)
        return canvas


def _low_bytes(canvas: Image.Image, original: deep.Aside, inner: Box, box: Box) -> Image.Image:
    """The low bytes of a part of the canvas: the original's, and for the API's part its high bytes again.

    Repeating the high byte scales 255 of 255 to 65,535 of 65,535.
    """
    part = canvas.crop(box)
    top, bottom = max(inner[1], box[1]), min(inner[3], box[3])
    if inner[0] < inner[2] and top < bottom:
        part.paste(original.rows(top, bottom), (inner[0], top - box[1]))
    return part


def _correction(original: Original, made: Made, place: Layout) -> Correction:
    size = cells(place.seen)
    colours, alpha = original.reduced(place.seen, size)
    return correction(colours, alpha, made.reduced(place.seen, size), place.seen, place.size)


def _target(image_format: ImageFormat, mode: str, icc: bytes) -> Target:
    """The mode and the profile that the result of an original of this mode and profile gets."""
    colours, clear = OPAQUE.get(mode, mode), mode in OPAQUE and image_format is not ImageFormat.JPEG
    if colours in _MODES[image_format]:
        return Target(mode if clear else colours, icc, native=True)
    return Target("RGBA" if clear else "RGB", b"", native=False)


def _decoded(found: Source, plan: Finishing, part: Convert) -> Original:
    found.load()
    left, top = plan.offsets.left, plan.offsets.top
    return Original(found.image, found.orientation, found.metadata.icc, part, left, top)
