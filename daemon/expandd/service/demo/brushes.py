"""Owns the brushes that the demo's pictures are painted with: gradients, glows, ridges, shadows, grain."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Box = tuple[float, float, float, float]
Point = tuple[float, float]


def ramp(size: tuple[int, int], *stops: tuple[float, str]) -> Image.Image:
    """A gradient from top to bottom through `stops` (share of the height, colour), in rising order."""
    strip = Image.new("RGB", (1, 512))
    for row in range(512):
        strip.putpixel((0, row), _between(stops, row / 511))
    return strip.resize(size, Image.Resampling.BICUBIC)


def sideways(size: tuple[int, int], *stops: tuple[float, str]) -> Image.Image:
    """A gradient from left to right."""
    return ramp((size[1], size[0]), *stops).transpose(Image.Transpose.TRANSPOSE)


def _between(stops: Sequence[tuple[float, str]], at: float) -> tuple[int, int, int]:
    above = next((index for index, (place, _) in enumerate(stops) if place >= at), len(stops) - 1)
    (start, one), (end, other) = stops[max(above - 1, 0)], stops[above]
    share = (at - start) / (end - start) if end > start else 1.0
    pairs = zip(ImageColor.getrgb(one)[:3], ImageColor.getrgb(other)[:3], strict=True)
    red, green, blue = (round(a + (b - a) * min(max(share, 0), 1)) for a, b in pairs)
    return red, green, blue


def glow(image: Image.Image, centre: Point, radius: float, colour: str, strength: float = 1.0) -> None:
    """Light of `colour` around `centre`, fading to nothing at `radius` px."""
    side = round(2 * radius)
    light = ImageChops.invert(Image.radial_gradient("L")).point(lambda value: max(value - 73, 0) ** 2 // 130)
    mask = light.resize((side, side), Image.Resampling.BICUBIC).point(lambda value: min(value * strength, 255))
    image.paste(colour, (round(centre[0] - radius), round(centre[1] - radius)), mask)


def ridge(width: int, base: float, height: float, seed: int, roughness: float = 0.5) -> list[Point]:
    """A hill line from left to right around y = `base`, by waves whose height falls with `roughness`."""
    dice = random.Random(seed)  # noqa: S311, a picture is no secret
    waves = [(2.0**octave, dice.uniform(0, 2 * math.pi), roughness**octave) for octave in range(6)]

    def level(x: float) -> float:
        turn = 1.3 * math.pi * x / width
        return base - height * sum(share * math.sin(turn * speed + start) for speed, start, share in waves)

    return [(x, level(x)) for x in range(0, width + 8, 8)]


def below(image: Image.Image, line: Sequence[Point], fill: Image.Image | str) -> None:
    """Fill everything below `line`."""
    width, height = image.size
    mask = stencil(image.size, lambda draw: draw.polygon([*line, (width, height), (0, height)], fill=255))
    image.paste(fill, (0, 0, *image.size), mask)


def stencil(size: tuple[int, int], draw: Callable[[ImageDraw.ImageDraw], object], blur: float = 0) -> Image.Image:
    """A mask with what `draw` paints in 255; softened by `blur` px."""
    mask = Image.new("L", size)
    draw(ImageDraw.Draw(mask))
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def tint(image: Image.Image, mask: Image.Image, colour: str, strength: float = 1.0) -> None:
    """Lay `colour` over `image` where `mask` is, with `strength` from 0 to 1."""
    image.paste(colour, (0, 0, *image.size), mask.point(lambda value: value * strength))


def shadow(image: Image.Image, box: Box, blur: float, strength: float, colour: str = "black") -> None:
    """A soft oval shadow."""
    tint(image, stencil(image.size, lambda draw: draw.ellipse(box, fill=255), blur), colour, strength)


@dataclass(frozen=True, slots=True)
class Ball:
    """A lit ball: its colour, its shaded side, and the spot where the light meets it."""

    colour: str
    shade: str
    light: str


def ball(image: Image.Image, centre: Point, radius: float, look: Ball) -> None:
    """A ball lit from the upper left."""
    side = round(2 * radius)
    face = Image.new("RGB", (side, side), look.shade)
    glow(face, (side * 0.40, side * 0.36), side * 0.95, look.colour, 2.4)
    glow(face, (side * 0.33, side * 0.28), side * 0.30, look.light, 0.75)
    mask = stencil((side, side), lambda draw: draw.ellipse((1, 1, side - 2, side - 2), fill=255))
    image.paste(face, (round(centre[0] - radius), round(centre[1] - radius)), mask)


def clouds(size: tuple[int, int], cells: tuple[int, int], seed: int) -> Image.Image:
    """A mask of soft noise with `cells` spots across and down."""
    dice = random.Random(seed)  # noqa: S311, a picture is no secret
    small = Image.frombytes("L", cells, dice.randbytes(cells[0] * cells[1]))
    return small.resize(size, Image.Resampling.BICUBIC)


def grain(image: Image.Image, strength: float, seed: int) -> Image.Image:
    """`image` with the grain of paper or film."""
    dice = random.Random(seed)  # noqa: S311, a picture is no secret
    tile = Image.frombytes("L", (256, 256), dice.randbytes(65536))
    noise = Image.new("L", image.size)
    for x in range(0, image.width, 256):
        for y in range(0, image.height, 256):
            noise.paste(tile, (x, y))
    return Image.blend(image, ImageChops.overlay(image, noise.convert("RGB")), strength)
