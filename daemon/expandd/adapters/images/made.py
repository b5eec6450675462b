"""Draws the API's image onto the canvas of the result.

The copy that the API saw covers the original exactly, so its coordinates are those of the original, scaled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from PIL import Image

from expandd.adapters.images.colours import OPAQUE, Convert, from_srgb, joined, plain, split, to_srgb
from expandd.adapters.images.matching import Correction, Place
from expandd.adapters.images.placing import Target
from expandd.adapters.images.source import Box, Source
from expandd.domain.finishing import Finishing

_FILTER, _SUPPORT = Image.Resampling.BICUBIC, 2
"""It takes three quarters of the time of Lanczos' filter, and what is enlarged has no finer detail to lose. And the px
of the source on each side that it looks at, where it does not reduce."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """From the canvas's px to those of the API's image: each times a factor, and a number more."""

    across: float
    left: float
    down: float
    top: float

    @classmethod
    def of(cls, plan: Finishing, made: tuple[int, int]) -> Self:
        asked = plan.asked.applied_to(plan.sent)
        # The API may have made another size than it was asked for.
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
        """Whether it only moves, by whole px."""
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
    """The API's image, decoded: plain, with what converts its colours to sRGB."""

    image: Image.Image
    to_srgb: Convert
    scale: _Scale

    @classmethod
    def of(cls, found: Source, plan: Finishing) -> Self:
        found.load()
        image = plain(found.image)
        return cls(image, to_srgb(OPAQUE.get(image.mode, image.mode), found.metadata.icc), _Scale.of(plan, image.size))

    def reduced(self, box: Box, size: tuple[int, int]) -> Image.Image:
        """What lies in `box` of the canvas, in so many px and in sRGB."""
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
        """Whole px that are needed to scale what lies at `place`."""
        margin = 0 if self.scale.none else math.ceil(_SUPPORT * max(self.scale.across, self.scale.down, 1))
        return (
            max(math.floor(place[0]) - margin, 0),
            max(math.floor(place[1]) - margin, 0),
            min(math.ceil(place[2]) + margin, self.image.width),
            min(math.ceil(place[3]) + margin, self.image.height),
        )
