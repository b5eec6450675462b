"""Pictures: reads what was uploaded, checks it, and makes the expanded result in the wanted format."""

import io
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from expandd.simulator.canvas import expand
from expandd.simulator.store import Offsets
from expandd.simulator.switches import ResultType

FORMATS = ("WEBP", "JPEG", "PNG")
MEDIA_TYPES = {"WEBP": "image/webp", "JPEG": "image/jpeg", "PNG": "image/png"}

# What Pillow raises for bytes that are no picture, or one that is damaged, cut short or a bomb.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class BadPictureError(Exception):
    """The upload is not a picture the service takes; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """An encoded picture and its media type."""

    data: bytes
    media_type: str


def measure(data: bytes, min_side: int, max_side: int) -> tuple[int, int]:
    """Width and height in pixels as stored, EXIF orientation ignored.

    BadPictureError when the bytes are not a whole WEBP, JPEG or PNG with sides in the allowed range.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if not (min_side <= min(width, height) and max(width, height) <= max_side):
                raise BadPictureError(
                    f"The image is {width}x{height} pixels; {min_side} to {max_side} per side are allowed."
                )
            picture.load()
    except _UNREADABLE as error:
        raise BadPictureError("The file is not a readable WEBP, JPEG or PNG image.") from error
    return width, height


def make_result(data: bytes, offsets: Offsets, wanted: ResultType, *, watermark: bool, plain: bool = False) -> Result:
    """The source expanded and cropped by the offsets; inside, its pixels are untouched unless watermarked."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        picture_format = str(picture.format)
        profile = picture.info.get("icc_profile")
        source = _plain(picture)
    result = expand(source, offsets, plain=plain)
    if watermark:
        result = _watermarked(result)
    kind = picture_format if wanted is ResultType.SAME else wanted.value.upper()
    return Result(_encode(result, kind, profile), MEDIA_TYPES[kind])


def _plain(picture: Image.Image) -> Image.Image:
    """The picture as RGB, or as RGBA where it has transparency."""
    if picture.mode.startswith("I"):
        # Pillow clips 16-bit grey when it converts; the high byte is what the eye sees.
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _encode(picture: Image.Image, kind: str, profile: bytes | None) -> bytes:
    buffer = io.BytesIO()
    if kind == "JPEG":
        _flat(picture).save(buffer, kind, quality=92, icc_profile=profile)
    elif kind == "WEBP":
        picture.save(buffer, kind, quality=90, method=2, icc_profile=profile)
    else:
        picture.save(buffer, kind, compress_level=3, icc_profile=profile)
    return buffer.getvalue()


def _flat(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _watermarked(picture: Image.Image) -> Image.Image:
    """The picture with a mark in its lower right corner, as accounts without PRO get it."""
    size = max(8, min(picture.width // 36, picture.height // 8, 48))
    font = ImageFont.load_default(size)
    text = "MagicExpand practice"
    layer = Image.new("RGBA", picture.size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
    place = (picture.width - right - size // 2, picture.height - bottom - size // 2)
    draw.text((place[0] + max(1, size // 14), place[1] + max(1, size // 14)), text, (0, 0, 0, 120), font)
    draw.text(place, text, (255, 255, 255, 190), font)
    marked = Image.alpha_composite(picture.convert("RGBA"), layer)
    return marked.convert(picture.mode)
