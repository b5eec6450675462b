"""What a folder asks of its results: whose pixels, which format, how much metadata."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from expandd.domain.image import ImageFormat, Size
from expandd.domain.written import Between


class Accept(Enum):
    """Which formats are taken."""

    ALL = "all"
    """All that can be read; what the API does not take is sent as a copy."""
    API = "api"
    """JPEG, PNG and WEBP, which the API takes itself."""


class Oversize(Enum):
    """What happens to an image that is larger than the API takes."""

    REDUCE = "reduce"
    """The API is sent a smaller copy, and the result gets the full size."""
    ERROR = "error"


class Pixels(Enum):
    """Whose pixels lie where the original was."""

    AUTO = "auto"
    """The original's where the API saw a copy whose pixels are others, else those that the API sent back."""
    ORIGINAL = "original"
    API = "api"


class ResultFormat(Enum):
    """The format of the result."""

    AUTO = "auto"
    """The API's where it saw the original itself, else the original's or the nearest to it."""
    SOURCE = "source"
    """The original's, or the nearest to it."""
    API = "api"
    """What the API sends."""
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"


class Metadata(Enum):
    """Whether EXIF, XMP and IPTC of the original come along; its colour profile and resolution always do."""

    KEEP = "keep"
    STRIP = "strip"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRules:
    """What results are made of, and how they are written."""

    pixels: Pixels = Pixels.AUTO
    """Whose pixels lie where the original was: the original's, the API's, or the original's only where the API saw a
    copy with other pixels."""
    format: ResultFormat = ResultFormat.AUTO
    """The format: the API's for originals it saw themselves and the original's for others, or one of the others."""
    quality: Annotated[int, Between(1, 100, "a quality")] = 95
    """The quality of JPEG and WEBP results that are written here."""
    metadata: Metadata = Metadata.KEEP
    """Whether EXIF, XMP and IPTC of the original come along; its colour profile and resolution always do."""


AS_A_RULE = ResultRules()


def nearest(source: ImageFormat) -> ImageFormat:
    """The format nearest to `source` that results are written in."""
    match source:
        case ImageFormat.JPEG | ImageFormat.HEIC | ImageFormat.AVIF:
            return ImageFormat.JPEG
        case ImageFormat.WEBP | ImageFormat.TIFF:
            return source
        case _:
            return ImageFormat.PNG


MOST_SIDE = {ImageFormat.JPEG: 65_500, ImageFormat.WEBP: 16_383}
"""Px on each side that the files of these formats can have."""


def holding(image_format: ImageFormat, size: Size) -> ImageFormat:
    """`image_format`, or PNG where its files cannot have this size."""
    longer = max(size.width, size.height)
    return ImageFormat.PNG if longer > MOST_SIDE.get(image_format, longer) else image_format


def format_of(wanted: ResultFormat, *, source: ImageFormat, api: ImageFormat, touched: bool) -> ImageFormat:
    """The format of a result. `touched` where the API saw a copy with other pixels than the original's."""
    match wanted:
        case ResultFormat.API:
            return api
        case ResultFormat.AUTO:
            return nearest(source) if touched else api
        case ResultFormat.SOURCE:
            return nearest(source)
        case _:
            return ImageFormat(wanted.value)
