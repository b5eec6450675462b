"""Sizes, offsets and presets: from what a person configures to four integers for one image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from expandd.domain.errors import Fault, FaultCode, FileFault
from expandd.domain.image import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Offsets:
    """Pixels to add on each side; negative crops. The four integers the API is asked for."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def applied_to(self, size: Size) -> Size:
        return Size(size.width + self.left + self.right, size.height + self.top + self.bottom)

    @property
    def nothing(self) -> bool:
        return not (self.top or self.bottom or self.left or self.right)

    def __str__(self) -> str:
        return f"top {self.top}, bottom {self.bottom}, left {self.left}, right {self.right}"


class Unit(Enum):
    """What an amount in a preset is measured in."""

    PX = "px"
    PERCENT = "%"


@dataclass(frozen=True, slots=True)
class Amount:
    """One side of a preset: whole pixels, or percent of the image's own side."""

    value: Fraction
    unit: Unit = Unit.PX

    def of(self, side: int) -> int:
        """Whole pixels for a side of `side` px; percent is rounded half up."""
        exact = self.value if self.unit is Unit.PX else self.value * side / 100
        return round_half_up(exact)


NOTHING = Amount(Fraction(0))


class Anchor(Enum):
    """Where the source sits on the new canvas, as shares of the added width on its left and height on its top."""

    CENTER = ("center", Fraction(1, 2), Fraction(1, 2))
    LEFT = ("left", Fraction(0), Fraction(1, 2))
    RIGHT = ("right", Fraction(1), Fraction(1, 2))
    TOP = ("top", Fraction(1, 2), Fraction(0))
    BOTTOM = ("bottom", Fraction(1, 2), Fraction(1))
    TOP_LEFT = ("top-left", Fraction(0), Fraction(0))
    TOP_RIGHT = ("top-right", Fraction(1), Fraction(0))
    BOTTOM_LEFT = ("bottom-left", Fraction(0), Fraction(1))
    BOTTOM_RIGHT = ("bottom-right", Fraction(1), Fraction(1))

    def __init__(self, label: str, left_share: Fraction, top_share: Fraction) -> None:
        self.label = label
        self.left_share = left_share
        self.top_share = top_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A preset that names each side: px, or percent of the width (left, right) or height (top, bottom)."""

    top: Amount = NOTHING
    bottom: Amount = NOTHING
    left: Amount = NOTHING
    right: Amount = NOTHING

    def offsets_for(self, size: Size) -> Offsets:
        return Offsets(
            top=self.top.of(size.height),
            bottom=self.bottom.of(size.height),
            left=self.left.of(size.width),
            right=self.right.of(size.width),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """A preset that asks for a ratio: the smallest expansion that reaches it to the nearest pixel, never a crop."""

    ratio: Fraction
    anchor: Anchor = Anchor.CENTER

    def offsets_for(self, size: Size) -> Offsets:
        if Fraction(size.width, size.height) < self.ratio:
            wanted = Size(round_half_up(size.height * self.ratio), size.height)
        else:
            wanted = Size(size.width, round_half_up(size.width / self.ratio))
        return _placed(size, wanted, self.anchor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A preset that asks for a size in px; what does not fit is cropped. A side left out keeps the image's own."""

    width: int | None = None
    height: int | None = None
    anchor: Anchor = Anchor.CENTER

    def offsets_for(self, size: Size) -> Offsets:
        return _placed(size, Size(self.width or size.width, self.height or size.height), self.anchor)


Preset = Sides | Aspect | Canvas


def resolve(preset: Preset, size: Size) -> Offsets:
    """The integer offsets of `preset` for an image of `size`.

    Raises FileFault when they change nothing, or leave less than 1×1 px.
    """
    offsets = preset.offsets_for(size)
    if offsets.nothing:
        raise FileFault(
            Fault(
                FaultCode.NOTHING_TO_DO,
                f"This image is {size} and already has the size that its folder asks for, so there is nothing to add.",
                "Use the image as it is, or drop it into a folder with another preset.",
            ),
        )
    result = offsets.applied_to(size)
    if result.width < 1 or result.height < 1:
        raise FileFault(
            Fault(
                FaultCode.OFFSETS_LEAVE_NOTHING,
                f"The folder's preset crops more than this image of {size} has ({offsets}).",
                "Drop a larger image, or use a folder whose preset crops less.",
            ),
        )
    return offsets


def round_half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _placed(size: Size, wanted: Size, anchor: Anchor) -> Offsets:
    left = _share(wanted.width - size.width, anchor.left_share)
    top = _share(wanted.height - size.height, anchor.top_share)
    return Offsets(
        top=top,
        bottom=wanted.height - size.height - top,
        left=left,
        right=wanted.width - size.width - left,
    )


def _share(added: int, share: Fraction) -> int:
    # Truncated towards zero: an odd pixel goes right or below, whether it is added or cut.
    return int(added * share)
