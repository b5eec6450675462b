"""Reads presets (sides, a ratio or a size), checks the rules between their keys, and makes a name for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Annotated, Any

from expandd.adapters.config.config_errors import ConfigError, KeyPath, listed
from expandd.adapters.config.values import MOST_PIXELS
from expandd.domain.offsets import NOTHING, Amount, Anchor, Aspect, Canvas, Preset, Sides, Unit
from expandd.domain.written import Between, Written

SIDES = ("top", "bottom", "left", "right")
CANVAS = ("width", "height")
WAYS = (SIDES, ("aspect",), CANVAS)

Pixels = Annotated[int | None, Between(1, MOST_PIXELS, "a whole number of pixels")]


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetKeys:
    """A preset: how much to add on each side (negative crops), or a ratio, or a size in pixels to reach."""

    top: Amount = NOTHING
    """Pixels, or percent of the image's own height, to add above the image; negative crops."""
    bottom: Amount = NOTHING
    """Pixels, or percent of the image's own height, to add below the image; negative crops."""
    left: Amount = NOTHING
    """Pixels, or percent of the image's own width, to add on the left; negative crops."""
    right: Amount = NOTHING
    """Pixels, or percent of the image's own width, to add on the right; negative crops."""
    aspect: Annotated[Fraction | None, Written.NOT_NULL] = None
    """Width to height, such as "9:16", reached by the smallest expansion; never crops."""
    width: Pixels = None
    """Width of the result in pixels; what does not fit is cropped."""
    height: Pixels = None
    """Height of the result in pixels; what does not fit is cropped."""
    anchor: Anchor = Anchor.CENTER
    """Where the image sits on the new canvas."""

    def preset(self) -> Preset:
        """The preset of these keys, provided that `preset_config_errors` finds no error."""
        if self.aspect is not None:
            return Aspect(ratio=self.aspect, anchor=self.anchor)
        if self.width is not None or self.height is not None:
            return Canvas(width=self.width, height=self.height, anchor=self.anchor)
        return Sides(top=self.top, bottom=self.bottom, left=self.left, right=self.right)


KEYS = frozenset(field.name for field in fields(PresetKeys))


def one_way() -> list[dict[str, Any]]:
    """The same rule for editors: each way excludes the keys of the others."""
    return [{**_any(way), "not": _any([*(KEYS - {*way, "anchor"}), *(("anchor",) * (way is SIDES))])} for way in WAYS]


def _any(keys: list[str] | tuple[str, ...]) -> dict[str, Any]:
    return {"anyOf": [{"required": [key]} for key in sorted(keys)]}


def preset_config_errors(path: KeyPath, written: Any, preset: Preset, bad: set[KeyPath]) -> Iterator[ConfigError]:
    """The errors between the keys of one preset. `written` is its value in the file, valid or not."""
    given = KEYS & set(written) if isinstance(written, dict) else set()
    wrong = {other[-1] for other in bad if other[:-1] == path and other}
    if wrong - KEYS:
        return
    ways = [way for way in WAYS if given & set(way)]
    if len(ways) != 1:
        named = [key for way in ways for key in way if key in given]
        found = f"{listed(named)} together" if named else "none of them"
        expected = "either sides (top, bottom, left, right), or aspect, or width and/or height"
        yield ConfigError(path=path, expected=expected, found=found)
    elif ways[0] is SIDES and "anchor" in given:
        hint = "Remove it: the sides already say where the image sits."
        yield ConfigError(path=(*path, "anchor"), expected="no anchor beside sides", found="one", hint=hint)
    elif not wrong and isinstance(preset, Sides) and not any(getattr(preset, side).value for side in SIDES):
        hint = "Give at least one side another number."
        yield ConfigError(path=path, expected="something to add or to crop", found="0 on every side", hint=hint)


def description(preset: Preset) -> str:
    """A short name of an inline preset, valid in a file name: `top 10, left 25%`, `aspect 9x16`."""
    if isinstance(preset, Sides):
        named = [(side, getattr(preset, side)) for side in SIDES]
        return ", ".join(f"{side} {_plain(amount)}" for side, amount in named if amount.value)
    anchored = "" if preset.anchor is Anchor.CENTER else f" {preset.anchor.label}"
    if isinstance(preset, Aspect):
        ratio = preset.ratio.limit_denominator(1000)
        return f"aspect {ratio.numerator}x{ratio.denominator}{anchored}"
    if preset.width and preset.height:
        return f"{preset.width}x{preset.height}{anchored}"
    return (f"width {preset.width}" if preset.width else f"height {preset.height}") + anchored


def _plain(amount: Amount) -> str:
    whole = amount.value == int(amount.value)
    number = str(amount.value) if whole else f"{float(amount.value):g}"
    return number + ("%" if amount.unit is Unit.PERCENT else "")
