"""Owns the drawing of a pair: the source on its canvas, and the result with the source's outline, in one scale."""

from __future__ import annotations

from dataclasses import dataclass

from expandd.domain.image import Size
from expandd.domain.job import Job
from expandd.domain.offsets import Offsets

LONGEST = 1000
"""Units of the drawing's longest side, whatever the px: hatching and lines look the same on every picture."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in units of the drawing."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The canvas, where the source lies on it, and the part of the source that was kept.

    `shape` is "wide", "tall" or "even".
    """

    width: int
    height: int
    source: Box
    kept: Box
    shape: str


def canvas_of(job: Job) -> Canvas | None:
    """None for a job whose picture was never measured."""
    size = job.source.size
    if size is None:
        return None
    return canvas(size, job.offsets)


def canvas(size: Size, offsets: Offsets) -> Canvas:
    whole = offsets.applied_to(size)
    scale = LONGEST / max(whole.width, whole.height)
    source = _box(offsets.left, offsets.top, size.width, size.height, scale)
    left, top = max(offsets.left, 0), max(offsets.top, 0)
    right = min(offsets.left + size.width, whole.width)
    bottom = min(offsets.top + size.height, whole.height)
    return Canvas(
        width=max(1, round(whole.width * scale)),
        height=max(1, round(whole.height * scale)),
        source=source,
        kept=_box(left, top, max(right - left, 0), max(bottom - top, 0), scale),
        shape=_shape(whole),
    )


def _box(x: int, y: int, width: int, height: int, scale: float) -> Box:
    return Box(round(x * scale), round(y * scale), round(width * scale), round(height * scale))


def _shape(size: Size) -> str:
    if size.width > 1.8 * size.height:
        return "wide"
    return "tall" if size.height > 1.2 * size.width else "even"
