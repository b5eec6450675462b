"""The plausible surroundings of a picture: mirrored detail near its border, soft colour further out."""

import functools
import itertools
import math
import random

from PIL import Image, ImageChops, ImageFilter

from expandd.simulator.store import Offsets

_GRAIN_SIDE = 256
_STRIP = 12
_MARGIN = 0.09
_Piece = tuple[tuple[int, int, int, int], tuple[float, float, float, float, float, float, float, float]]


def expand(source: Image.Image, offsets: Offsets, *, plain: bool = False) -> Image.Image:
    """The source (RGB or RGBA) grown on the sides with positive offsets and cut on those with negative ones.

    `plain` grows it by one colour instead of surroundings that are like it. Pixels of the source keep their values.
    The size is the source's plus the offsets: at least 1x1.
    """
    left, top = max(0, offsets.left), max(0, offsets.top)
    right, bottom = max(0, offsets.right), max(0, offsets.bottom)
    size = (source.width + left + right, source.height + top + bottom)
    grow = _framed if plain else _surround
    grown = grow(source, size, (left, top)) if size != source.size else source
    width, height = offsets.result_size(source.width, source.height)
    cut_left, cut_top = max(0, -offsets.left), max(0, -offsets.top)
    return grown.crop((cut_left, cut_top, cut_left + width, cut_top + height))


def _framed(source: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    canvas = Image.new(source.mode, size, source.getpixel((0, 0)))
    canvas.paste(source, place)
    return canvas


def _surround(source: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    if source.mode == "RGBA":
        colour = _surround(source.convert("RGB"), size, place)
        alpha = _surround(source.getchannel("A"), size, place)
        colour.putalpha(alpha)
        # Colour under full transparency is part of "untouched" too, and convert("RGB") kept it.
        return colour
    drawn = _drawn_out(source, size, place)
    near, mid, far = (_soft(drawn, strength) for strength in (0.003, 0.01, 0.028))
    reach = max(24, round(0.5 * min(source.size)))
    distance = _distance(source.size, size, place, reach)
    canvas = Image.composite(near, drawn, distance.point(_ramp(0.02, 0.2)))
    canvas = Image.composite(mid, canvas, distance.point(_ramp(0.12, 0.45)))
    canvas = Image.composite(far, canvas, distance.point(_ramp(0.3, 0.9)))
    canvas = Image.blend(canvas, Image.composite(_pull_push(source, size, place), canvas, distance), 0.25)
    return _grained(canvas, distance)


def _drawn_out(source: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    """The canvas filled with the source's margins, mirrored and drawn out ever more the further they go."""
    wide = _drawn_across(source, size[0], place[0])
    # Pillow remaps both axes alike, so the second axis goes through the first one's code lying down.
    lying = wide.transpose(Image.Transpose.TRANSPOSE)
    return _drawn_across(lying, size[1], place[1]).transpose(Image.Transpose.TRANSPOSE)


def _drawn_across(source: Image.Image, width: int, place: int) -> Image.Image:
    """The source within a canvas of this width, its left and right margins drawn out to the canvas' ends."""
    if width == source.width:
        return source
    ends = [(0, place), (place + source.width, width)]
    pieces = [piece for start, end in ends for piece in _pieces(source, place, start, end)]
    canvas = source.transform((width, source.height), Image.Transform.MESH, pieces, Image.Resampling.BILINEAR)
    canvas.paste(source, (place, 0))
    return canvas


def _pieces(source: Image.Image, place: int, start: int, end: int) -> list[_Piece]:
    """The strips between start and end, each with the corners of what it shows, from the upper left down."""
    marks = [*range(start, end, _STRIP), end]
    height = source.height
    return [
        ((a, 0, b, height), (u, 0.0, u, float(height), v, float(height), v, 0.0))
        for a, b in itertools.pairwise(marks)
        for u, v in [(_seen(source.width, place, a), _seen(source.width, place, b))]
    ]


def _seen(inner: int, place: int, x: int) -> float:
    """Which column of the source, `inner` wide and at `place`, is shown at column x outside of it.

    At the border it is the mirror image, so that nothing breaks there. Further out the columns pass ever
    more slowly and never go deeper than the margin: no motif of the middle comes back as a ghost.
    """
    margin = max(2.0, _MARGIN * inner)
    outside = place - x if x <= place else x - place - inner
    depth = margin * (1 - math.exp(-outside / margin))
    depth = min(max(depth, 0.6), inner - 0.6)
    return depth if x <= place else inner - depth


def _soft(picture: Image.Image, strength: float) -> Image.Image:
    """A blur of `strength` times the picture's mean side, made on a small copy because that is far faster."""
    radius = strength * (picture.width + picture.height) / 2
    factor = max(1, int(radius / 1.5))
    small = picture.reduce(factor) if factor > 1 else picture
    small = small.filter(ImageFilter.GaussianBlur(radius / factor))
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def _pull_push(source: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    """Smooth colour for the canvas: each pixel takes the mean of the known ones, the nearer the more."""
    factor = max(1, max(size) // 256)
    small = (max(1, round(size[0] / factor)), max(1, round(size[1] / factor)))
    known = Image.new("RGBA", small, (0, 0, 0, 0))
    patch = source.convert("RGB").resize(
        (max(1, source.width // factor), max(1, source.height // factor)), Image.Resampling.BOX
    )
    known.paste(patch, (place[0] // factor, place[1] // factor))
    filled = _fill_unknown(known)
    return filled.resize(size, Image.Resampling.BICUBIC).convert(source.mode)


def _fill_unknown(known: Image.Image) -> Image.Image:
    if known.size == (1, 1):
        return known.convert("RGB")
    half = ((known.width + 1) // 2, (known.height + 1) // 2)
    # Pillow weighs RGBA pixels by their alpha when it resizes, which is just what is wanted here.
    coarse = _fill_unknown(_opaque(known.resize(half, Image.Resampling.BOX)))
    coarse = coarse.resize(known.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
    return Image.composite(known.convert("RGB"), coarse, known.getchannel("A"))


def _opaque(picture: Image.Image) -> Image.Image:
    """The picture with every partly known pixel taken as known."""
    picture.putalpha(picture.getchannel("A").point(lambda alpha: 255 * (alpha > 0)))
    return picture


def _distance(inner: tuple[int, int], size: tuple[int, int], place: tuple[int, int], reach: int) -> Image.Image:
    """How far each pixel lies outside the inner rectangle: 0 up to its border, 255 from `reach` on."""
    across = _steps(inner[0], size[0], place[0], reach).resize(size, Image.Resampling.NEAREST)
    down = _steps(inner[1], size[1], place[1], reach).transpose(Image.Transpose.TRANSPOSE)
    return ImageChops.screen(across, down.resize(size, Image.Resampling.NEAREST))


def _steps(inner: int, size: int, place: int, reach: int) -> Image.Image:
    row = bytes(min(255, round(255 * max(place - x, x - (place + inner - 1), 0) / reach)) for x in range(size))
    return Image.frombytes("L", (size, 1), row)


def _ramp(start: float, end: float) -> list[int]:
    """A table for `point`: 0 up to `start` of the reach, 255 from `end` on, an S curve between."""

    def value(level: int) -> int:
        t = min(1.0, max(0.0, (level / 255 - start) / (end - start)))
        return round(255 * t * t * (3 - 2 * t))

    return [value(level) for level in range(256)]


def _grained(canvas: Image.Image, distance: Image.Image) -> Image.Image:
    """The canvas with a light grain, without which smooth gradients show bands."""
    tile = _grain()
    grain = Image.new("L", canvas.size)
    for x in range(0, canvas.width, _GRAIN_SIDE):
        for y in range(0, canvas.height, _GRAIN_SIDE):
            grain.paste(tile, (x, y))
    layer = grain if canvas.mode == "L" else Image.merge(canvas.mode, [grain] * 3)
    noisy = ImageChops.add(canvas, layer, offset=-128)
    return Image.composite(noisy, canvas, distance.point(_ramp(0.05, 0.4)))


@functools.cache
def _grain() -> Image.Image:
    # Seeded: the same link must give the same bytes each time.
    noise = random.Random(7).randbytes(_GRAIN_SIDE * _GRAIN_SIDE)  # noqa: S311 - a texture, not a secret
    picture = Image.frombytes("L", (_GRAIN_SIDE, _GRAIN_SIDE), noise)
    return picture.point(lambda value: 128 + round((value - 127.5) * 5 / 127.5))
