"""Converts pixels between the colours of an image's own profile and sRGB, and all modes to those of 8 bits a channel.

Runs in a decoder process: a colour profile is as hostile as its image. One that cannot be read, or has other
channels than the image, is ignored, as in every viewer.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable
from typing import Any, Literal

from PIL import Image, ImageChops, ImageCms

Convert = Callable[[Image.Image], Image.Image]
"""Converts the colours of an image without transparency, possibly in place."""

OPAQUE = {"LA": "L", "RGBA": "RGB"}
"""The modes with transparency, and each without."""

_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_AWAY = {
    **dict.fromkeys(_DEEP | {"1"}, "L"),
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "LAB": "LAB",
    "CMYK": "CMYK",
}
_OF_TWO_BYTES = 1 / 257
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def plain_mode(image: Image.Image) -> str:
    """The mode that `plain` converts it to: L, LA, RGB, RGBA, CMYK or LAB."""
    mode = _AWAY.get(image.mode, image.mode if image.mode in {"L", "LA", "RGBA"} else "RGB")
    clear = "transparency" in image.info and mode in {"L", "RGB"} and image.mode not in _DEEP
    return {"L": "LA", "RGB": "RGBA"}[mode] if clear else mode


def plain(image: Image.Image) -> Image.Image:
    """The image in 8 bits a channel, without a palette: in one of six modes."""
    if image.mode in _DEEP:
        # Pillow itself clips values above 255.
        whole = image if image.mode == "F" else image.convert("I").point(lambda value: value * _OF_TWO_BYTES)
        return whole.convert("L")
    mode = plain_mode(image)
    return image if image.mode == mode else image.convert(mode)


def split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A plain image without its transparency, and its transparency."""
    if image.mode not in OPAQUE:
        return image, None
    return image.convert(OPAQUE[image.mode]), image.getchannel("A")


def joined(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is not None:
        image.putalpha(alpha)
    return image


_REMEMBERED, _SHORT_PROFILE = 16, 1 << 16
"""Cached answers, and the most bytes of a cached profile: all images of a camera have the same one."""


def in_srgb(mode: str, icc: bytes) -> bool:
    """Whether pixels of this plain mode and profile are in sRGB already."""
    return (_known if len(icc) <= _SHORT_PROFILE else _is_srgb)(mode, icc)


@functools.lru_cache(_REMEMBERED)
def _known(mode: str, icc: bytes) -> bool:
    return _is_srgb(mode, icc)


def _is_srgb(mode: str, icc: bytes) -> bool:
    opaque = OPAQUE.get(mode, mode)
    if opaque not in {"L", "RGB"}:
        return False
    profile = _profile(opaque, icc)
    # Building the tables that make a transform fast takes longer than converting the few colours compared here.
    flags = _FLAGS | ImageCms.Flags.NOOPTIMIZE
    transform = None if profile is None else _transform(profile, _named("sRGB"), opaque, "RGB", flags)
    return transform is None or _changes_nothing(transform, opaque)


def to_srgb(mode: str, icc: bytes) -> Convert:
    """A function that converts an image of `mode` (L, RGB, CMYK or LAB) and profile to RGB in sRGB."""
    return _applied(_towards(mode, icc), mode, "RGB")


def from_srgb(mode: str, icc: bytes) -> Convert:
    """A function that converts RGB in sRGB to `mode` (L, RGB, CMYK or LAB) and profile."""
    profile = None if in_srgb(mode, icc) else _profile(mode, icc)
    transform = None if profile is None else _transform(_named("sRGB"), profile, "RGB", mode)
    return _applied(transform, "RGB", mode)


def _towards(mode: str, icc: bytes) -> ImageCms.ImageCmsTransform | None:
    """The conversion to sRGB; None where none is needed or no profile is usable."""
    profile = None if in_srgb(mode, icc) else _profile(mode, icc)
    return None if profile is None else _transform(profile, _named("sRGB"), mode, "RGB")


def _profile(mode: str, icc: bytes) -> ImageCms.ImageCmsProfile | None:
    if mode == "LAB":
        # Lab pixels are absolute and need no profile of their own.
        return _named("LAB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else None
    except (OSError, ImageCms.PyCMSError):
        return None
    return profile if profile is not None and profile.profile.xcolor_space == _SPACES[mode] else None


def _named(space: Literal["LAB", "sRGB"]) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space))


def _transform(
    source: ImageCms.ImageCmsProfile,
    target: ImageCms.ImageCmsProfile,
    before: str,
    after: str,
    flags: ImageCms.Flags = _FLAGS,
) -> ImageCms.ImageCmsTransform | None:
    """The transform; None for a profile of one direction only, such as a scanner's."""
    try:
        return ImageCms.buildTransform(source, target, before, after, _INTENT, flags)
    except ImageCms.PyCMSError:
        return None


def _applied(transform: ImageCms.ImageCmsTransform | None, before: str, after: str) -> Convert:
    def convert(image: Image.Image) -> Image.Image:
        if transform is None:
            return image if before == after else image.convert(after)
        if before == after:
            ImageCms.applyTransform(image, transform, inPlace=True)
            return image
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None, "a new image"
        return converted

    return convert


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether all colours stay the same to within a step, as many profiles of sRGB differ slightly from it."""
    if mode not in {"L", "RGB"}:
        return False
    steps = bytes(value for colour in itertools.product(_STEPS, repeat=len(mode)) for value in colour)
    colours = Image.frombytes(mode, (len(steps) // len(mode), 1), steps)
    changed = ImageChops.difference(_applied(transform, "", "RGB")(colours), colours.convert("RGB"))
    extrema: Any = changed.getextrema()
    return all(most <= 1 for _, most in extrema)


_STEPS = (0, 16, 48, 96, 160, 224, 255)
