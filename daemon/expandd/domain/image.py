"""What is known of an image: its format, its size, and what an inspection finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from expandd.domain.errors import Fault


class ImageFormat(Enum):
    """The formats that are read, by content; the value is the word for it in the job database."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"
    HEIC = "heic"
    AVIF = "avif"
    BMP = "bmp"
    GIF = "gif"
    JPEG2000 = "jpeg2000"

    @property
    def extension(self) -> str:
        return _EXTENSIONS.get(self, f".{self.value}")

    @property
    def title(self) -> str:
        """Its name in sentences."""
        return "JPEG 2000" if self is ImageFormat.JPEG2000 else self.name

    @property
    def taken_by_api(self) -> bool:
        return self in _TAKEN_BY_API


_EXTENSIONS = {ImageFormat.JPEG: ".jpg", ImageFormat.TIFF: ".tif", ImageFormat.JPEG2000: ".jp2"}
_TAKEN_BY_API = frozenset({ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP})


@dataclass(frozen=True, slots=True)
class Size:
    """Width × height in pixels, as a person sees the image."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Valid:
    """The file is a complete image. `size` is as a person sees it, orientation applied.

    `converts` where its format, its mode (CMYK, Lab, 16 bit, palette) or its colour profile is none that the API is
    sent. `several` where more images follow the first: pages, or the frames of a GIF. `metadata` where it carries a
    colour profile, EXIF, XMP, IPTC or a resolution that its result is to have, too.
    """

    format: ImageFormat
    size: Size
    orientation: int
    converts: bool = False
    several: bool = False
    metadata: bool = False


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The file may still be on its way: empty, zeros, cut off. `fault` is what it is if it stays so."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Invalid:
    """The file is clearly something that cannot be expanded."""

    fault: Fault


Inspection = Valid | Incomplete | Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The copy that the API is sent in place of the file. `exact` where its pixels are the original's, one by one."""

    format: ImageFormat
    size: Size
    exact: bool
