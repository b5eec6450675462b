"""What is known of an image: its format, its size, and what an inspection finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from expandd.domain.errors import Fault


class ImageFormat(Enum):
    """The three formats the API takes, by content."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"

    @property
    def extension(self) -> str:
        return ".jpg" if self is ImageFormat.JPEG else f".{self.value}"


@dataclass(frozen=True, slots=True)
class Size:
    """Width × height in pixels, as a person sees the image."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The file is a complete image the API takes. `size` is as a person sees it, orientation applied."""

    format: ImageFormat
    size: Size
    orientation: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The file may still be on its way: empty, zeros, cut off. `fault` is what it is if it stays so."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Unfit:
    """The file is clearly something that cannot be expanded."""

    fault: Fault


Finding = Whole | Unfinished | Unfit
