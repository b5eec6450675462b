"""Owns where things lie when a picture is expanded: the source, the canvas and what is kept of the one on the other."""

from __future__ import annotations

from dataclasses import dataclass

from expandd.domain.image import Size
from expandd.domain.offsets import Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A rectangle in px; right and bottom are the first px outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        return Size(self.right - self.left, self.bottom - self.top)

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.right, self.bottom

    def moved(self, x: int, y: int) -> Frame:
        return Frame(left=self.left + x, top=self.top + y, right=self.right + x, bottom=self.bottom + y)

    def scaled(self, scale: float) -> Frame:
        return Frame(
            left=round(self.left * scale),
            top=round(self.top * scale),
            right=round(self.right * scale),
            bottom=round(self.bottom * scale),
        )

    def within(self, other: Frame) -> Frame:
        """What both cover; empty when they do not meet."""
        return Frame(
            left=max(self.left, other.left),
            top=max(self.top, other.top),
            right=min(self.right, other.right),
            bottom=min(self.bottom, other.bottom),
        )

    def around(self, other: Frame) -> Frame:
        """The smallest that holds both."""
        return Frame(
            left=min(self.left, other.left),
            top=min(self.top, other.top),
            right=max(self.right, other.right),
            bottom=max(self.bottom, other.bottom),
        )


def source_frame(size: Size) -> Frame:
    """The source in its own coordinates."""
    return Frame(left=0, top=0, right=size.width, bottom=size.height)


def canvas_frame(size: Size, offsets: Offsets) -> Frame:
    """The canvas of the result, in the source's coordinates."""
    return Frame(
        left=-offsets.left, top=-offsets.top, right=size.width + offsets.right, bottom=size.height + offsets.bottom
    )
