"""Divides the canvas of the result between the API's image and the original, and puts the original's pixels back.

The seam lies inside the original, on the sides that were expanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

from expandd.adapters.images.colours import OPAQUE, Convert, from_srgb, joined, plain, plain_mode, split, to_srgb
from expandd.adapters.images.source import ASIDE, Box, stored_box, turned
from expandd.domain.finishing import Finishing

SEAM = 8
"""Px inside the original's border within which it blends into the API's image.

Compared at 100 % in an image of 24 megapixels whose API's part was off by 3 steps and softer: with matched colours
(`matching`) no edge shows at 4, 8 or 16; without, one shows in the sky even at 32.
"""

_STRIP = 4_000_000
"""Px that are processed at once, so that intermediate images take little memory."""

_REDUCIBLE = frozenset({"L", "RGB", "RGBA", "CMYK", "LAB"})

_OPAQUE, _WHITE = 255, (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the canvas: `seen` is the visible part of the original, `inner` the part inside the seams."""

    size: tuple[int, int]
    seen: Box
    inner: Box

    def around(self) -> Iterator[Box]:
        """The API's part and the seams."""
        (width, height), (left, top, right, bottom) = self.size, self.inner
        yield from strips((0, 0, width, top))
        yield from strips((0, top, left, bottom))
        yield from strips((right, top, width, bottom))
        yield from strips((0, bottom, width, height))

    def seams(self) -> Iterator[Box]:
        (first, above, last, below), (left, top, right, bottom) = self.seen, self.inner
        yield from strips((first, above, last, top))
        yield from strips((first, top, left, bottom))
        yield from strips((right, top, last, bottom))
        yield from strips((first, bottom, last, below))

    def weights(self, box: Box) -> Image.Image:
        """The original's share of each px of `box`, 0 to 255."""
        left, top, right, bottom = box
        across = self._ramp(left, right, 0)
        down = self._ramp(top, bottom, 1).transpose(Image.Transpose.TRANSPOSE)
        size = right - left, bottom - top
        return ImageChops.multiply(across.resize(size), down.resize(size))

    def _ramp(self, start: int, stop: int, axis: int) -> Image.Image:
        """The weights from `start` to `stop` along an axis, in a row."""
        first, last = self.seen[axis], self.seen[axis + 2]
        row = bytearray((_OPAQUE,) * (stop - start))
        rising = [(first + at, weight) for at, weight in enumerate(_rising(self.inner[axis] - first))]
        falling = [(last - 1 - at, weight) for at, weight in enumerate(_rising(last - self.inner[axis + 2]))]
        for at, weight in (*rising, *falling):
            if start <= at < stop:
                row[at - start] = min(row[at - start], weight)
        return Image.frombytes("L", (len(row), 1), bytes(row))


def _rising(width: int) -> list[int]:
    """The weights from the border inwards, in a seam of `width` px, with soft ends."""
    shares = [(at + 1) / (width + 1) for at in range(width)]
    return [round(_OPAQUE * share * share * (3 - 2 * share)) for share in shares]


def layout(plan: Finishing) -> Layout:
    width, height = plan.size.width, plan.size.height
    left, right = _side(plan.offsets.left, plan.original.width, width, plan.offsets.right)
    top, bottom = _side(plan.offsets.top, plan.original.height, height, plan.offsets.bottom)
    seen = left[0], top[0], right[0], bottom[0]
    inner = left[1], top[1], right[1], bottom[1]
    return Layout((width, height), seen, inner if plan.pixels else (0, 0, 0, 0))


def _side(before: int, length: int, whole: int, behind: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The start and end, along one axis, of the original's visible part and of its inner part."""
    start, stop = max(0, before), min(whole, before + length)
    middle = (start + stop) // 2
    first = min(start + SEAM, middle) if before > 0 else start
    last = max(stop - SEAM, middle) if behind > 0 else stop
    return (start, first), (stop, last)


def strips(box: Box) -> Iterator[Box]:
    left, top, right, bottom = box
    if right <= left:
        return
    rows = max(1, _STRIP // (right - left))
    for start in range(top, bottom, rows):
        yield left, start, right, min(start + rows, bottom)


@dataclass(frozen=True, slots=True)
class Target:
    """The mode and colours of the canvas. `icc` is the profile of its colours, empty for sRGB.

    `native` where the colours are the original's own, so that its pixels are copied unchanged.
    """

    mode: str
    icc: bytes
    native: bool

    @property
    def colours(self) -> str:
        return OPAQUE.get(self.mode, self.mode)

    def made_fit(self, image: Image.Image, convert: Convert) -> Image.Image:
        """The plain `image` in this mode, its colours converted; on white where there is no transparency."""
        colours, alpha = split(image)
        colours = convert(colours)
        if self.mode in OPAQUE:
            return joined(colours, Image.new("L", colours.size, _OPAQUE) if alpha is None else alpha)
        return colours if alpha is None else _on_white(colours, alpha, self)


def _on_white(image: Image.Image, alpha: Image.Image, target: Target) -> Image.Image:
    white = from_srgb(target.colours, target.icc)(Image.new("RGB", (1, 1), _WHITE))
    sheet = white.resize(image.size)
    sheet.paste(image, mask=alpha)
    return sheet


@dataclass(frozen=True, slots=True)
class Original:
    """The original's decoded pixels and profile, and its upright place on the canvas.

    `read` returns a part of the pixels as a plain image.
    """

    image: Image.Image
    orientation: int
    icc: bytes
    read: Convert
    left: int
    top: int

    def part(self, box: Box) -> Image.Image:
        """The original's part in `box` of the canvas."""
        return turned(self.read(self.image.crop(self._stored(box))), self.orientation)

    def reduced(self, box: Box, size: tuple[int, int]) -> tuple[Image.Image, Image.Image | None]:
        """The same part scaled to `size` px, in sRGB, and its transparency."""
        image = self.image if self.image.mode in _REDUCIBLE else plain(self.image)
        stored = size if self.orientation < ASIDE else size[::-1]
        small = turned(image.resize(stored, Image.Resampling.BOX, box=self._stored(box)), self.orientation)
        colours, alpha = split(plain(small))
        return to_srgb(colours.mode, self.icc)(colours), alpha

    def _stored(self, box: Box) -> Box:
        upright = box[0] - self.left, box[1] - self.top, box[2] - self.left, box[3] - self.top
        return stored_box(upright, self.orientation, self.image.size)


def place_original(
    canvas: Image.Image,
    target: Target,
    original: Original,
    boxes: Iterable[Box],
    weights: Callable[[Box], Image.Image] | None = None,
) -> None:
    """Put the original's pixels into these boxes of the canvas, blended by the weights if there are any."""
    colours = OPAQUE.get(plain_mode(original.image), plain_mode(original.image))
    convert = _as_they_are if target.native else to_srgb(colours, original.icc)
    for box in boxes:
        piece = target.made_fit(original.part(box), convert)
        canvas.paste(piece, box[:2], weights(box) if weights else None)


def _as_they_are(image: Image.Image) -> Image.Image:
    return image
