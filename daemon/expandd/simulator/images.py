"""Checks uploaded images and makes the expanded results in the configured format."""

import io
import math
import random
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from expandd.simulator.state import Offsets
from expandd.simulator.switches import ResultMetadata, ResultType, Switches

_FORMATS = ("WEBP", "JPEG", "PNG")
_SAVING = {"JPEG": {"quality": 92}, "WEBP": {"quality": 90, "method": 2}, "PNG": {"compress_level": 3}}

# Pillow's errors for bytes that are no image, or for one that is damaged, cut off or a bomb.
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)

_EXIF = b"Exif\0\0"

_MARGIN = 0.05  # the part of the source's side that is mirrored beyond its border
_BLURS = (0.004, 0.014, 0.04)  # blur radius from inside to outside, as a part of the canvas' mean side
_GRAIN = 4  # levels up or down, without which smooth gradients show bands


class BadImageError(Exception):
    """The upload is not an acceptable image; the text says why."""


def measure(data: bytes, min_side: int, max_side: int) -> tuple[int, int]:
    """Width and height in pixels as stored, EXIF orientation ignored.

    Raises BadImageError when the bytes are not a whole WEBP, JPEG or PNG with sides in the allowed range.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if not (min_side <= min(width, height) and max(width, height) <= max_side):
                raise BadImageError(
                    f"The image is {width}x{height} pixels; {min_side} to {max_side} per side are allowed."
                )
            image.load()
    except _UNREADABLE as error:
        raise BadImageError("The file is not a readable WEBP, JPEG or PNG image.") from error
    return width, height


def make_result(data: bytes, offsets: Offsets, switches: Switches, *, watermark: bool) -> tuple[bytes, str]:
    """Expand and crop the source by the offsets; returns the encoded image and its media type.

    Inside, its pixels are unchanged unless watermarked, shifted or blurred.
    """
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        kind = _kind(image, switches.result_type)
        metadata = _metadata(image, switches.result_metadata)
        result = _expanded(_as_rgb(image), offsets, plain=switches.plain)
    result = _generated(result, switches.colour_shift, switches.blur)
    if watermark:
        _watermark(result)
    if kind == "JPEG" and result.mode == "RGBA":
        result = Image.alpha_composite(Image.new("RGBA", result.size, "white"), result).convert("RGB")
    buffer = io.BytesIO()
    result.save(buffer, kind, **metadata, **_SAVING[kind])
    return buffer.getvalue(), f"image/{kind.lower()}"


def _kind(source: Image.Image, wanted: ResultType) -> str:
    """The format of the result, by Pillow's name."""
    if wanted is not ResultType.SAME:
        return f"{wanted.value}".upper()
    # Pillow's name for a JPEG with further images behind the first.
    return "JPEG" if source.format == "MPO" else str(source.format)


def _metadata(source: Image.Image, kept: ResultMetadata) -> dict[str, Any]:
    """The metadata that the result keeps, as arguments of `save`."""
    info: Mapping[Any, Any] = {} if kept is ResultMetadata.NONE else source.info
    # Set even when empty: otherwise a PNG gets the profile that came with the pixels.
    found: dict[str, Any] = {"icc_profile": info.get("icc_profile")}
    if kept is ResultMetadata.ALL:
        found |= {name: info[name] for name in ("exif", "dpi") if name in info}
        if "exif" in found:
            # Pillow returns it with the prefix of JPEG for some formats, and without for others.
            found["exif"] = _EXIF + found["exif"].removeprefix(_EXIF)
    return found


def _generated(image: Image.Image, shift: int, blur: float) -> Image.Image:
    """The image as a generative model returns it: colours a few steps off, details softer."""
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    if shift:
        steps = [shift, shift, -shift, 0][: len(image.mode)]
        image = image.point([min(255, max(0, level + step)) for step in steps for level in range(256)])
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    """The image as RGB, or as RGBA where it has transparency."""
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey when it converts, so this takes the high byte.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _expanded(source: Image.Image, offsets: Offsets, *, plain: bool) -> Image.Image:
    """The source grown on the sides with positive offsets and cut on those with negative ones."""
    left, top = max(0, offsets.left), max(0, offsets.top)
    size = (source.width + left + max(0, offsets.right), source.height + top + max(0, offsets.bottom))
    if size == source.size:
        canvas = source
    else:
        canvas = Image.new(source.mode, size, source.getpixel((0, 0)))
        canvas = canvas if plain else _surroundings(source, size, (left, top))
        canvas.paste(source, (left, top))
    width, height = offsets.result_size(source.width, source.height)
    cut_left, cut_top = max(0, -offsets.left), max(0, -offsets.top)
    return canvas.crop((cut_left, cut_top, cut_left + width, cut_top + height))


def _surroundings(source: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> Image.Image:
    """The source's margins, mirrored, stretched to the ends of the canvas, softer further out, with a light grain."""
    wide = _drawn_out(source, size[0], place[0])
    # The second axis uses the code of the first on the transposed image.
    lying = wide.transpose(Image.Transpose.TRANSPOSE)
    canvas = _drawn_out(lying, size[1], place[1]).transpose(Image.Transpose.TRANSPOSE)
    for strength in _BLURS:
        radius = strength * sum(size) / 2
        canvas = Image.composite(_blurred(canvas, radius), canvas, _outside(source.size, size, place, 3 * radius))
    # Seeded, so that the same link always gives the same bytes.
    noise = random.Random(7).randbytes(size[0] * size[1])  # noqa: S311 - a texture, not a secret
    grain = Image.frombytes("L", size, noise).point([128 + (level - 128) * _GRAIN // 128 for level in range(256)])
    opaque = [Image.new("L", size, 128)] * (len(canvas.mode) - 3)
    return ImageChops.add(canvas, Image.merge(canvas.mode, [grain] * 3 + opaque), offset=-128)


def _drawn_out(source: Image.Image, width: int, place: int) -> Image.Image:
    """The source at `place` in a canvas of this width, with its left and right margins mirrored and stretched."""
    canvas = Image.new(source.mode, (width, source.height))
    canvas.paste(source, (place, 0))
    for start, end, right in ((0, place, False), (place + source.width, width, True)):
        if end > start:
            margin = min(end - start, math.ceil(_MARGIN * source.width))
            edge = source.width - margin if right else 0
            strip = source.crop((edge, 0, edge + margin, source.height)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            canvas.paste(strip.resize((end - start, source.height), Image.Resampling.BICUBIC), (start, 0))
    return canvas


def _blurred(image: Image.Image, radius: float) -> Image.Image:
    """The blurred image, made on a small copy, which is far faster."""
    factor = max(1, int(radius / 1.5))
    small = image.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _outside(inner: tuple[int, int], size: tuple[int, int], place: tuple[int, int], reach: float) -> Image.Image:
    """A mask: 0 within the inner rectangle and at its border, 255 from about twice `reach` outside on."""
    mask = Image.new("L", size, 255)
    x, y, more = *place, round(reach)
    mask.paste(0, (x - more, y - more, x + inner[0] + more, y + inner[1] + more))
    return _blurred(mask, reach / 2)


def _watermark(image: Image.Image) -> None:
    """Draw the watermark of accounts without PRO into the lower right corner."""
    size = max(8, min(image.width // 36, image.height // 8, 48))
    place = (image.width - size // 2, image.height - size // 2)
    font = ImageFont.load_default(size)
    stroke = max(1, size // 14)
    ImageDraw.Draw(image).text(
        place, "MagicExpand simulator", "white", font, "rd", stroke_width=stroke, stroke_fill="grey"
    )
