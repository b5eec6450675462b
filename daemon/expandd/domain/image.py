"""Owns what is said of every image: its format and its size. Decoder processes load it, and little else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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
    """Width × height in pixels, as a person sees the picture."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}×{self.height}"
