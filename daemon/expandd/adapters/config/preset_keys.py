"""Owns how a preset is written: sides, an aspect, or a canvas; and its short description."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from expandd.adapters.config.config_errors import KeyPath, Mistake, listed
from expandd.adapters.config.values import AnchorWord, Pixels, Ratio, Side
from expandd.domain.offsets import NOTHING, Amount, Anchor, Aspect, Canvas, Preset, Sides, Unit

SIDES = ("top", "bottom", "left", "right")
CANVAS = ("width", "height")

_ONE_WAY = "either sides (top, bottom, left, right), or aspect, or width and/or height"
_SIDE = "Pixels, or percent of the image's own"


def _kinds() -> list[dict[str, Any]]:
    def none_of(*keys: str) -> dict[str, Any]:
        return {"not": {"anyOf": [{"required": [key]} for key in keys]}}

    def any_of(*keys: str) -> dict[str, Any]:
        return {"anyOf": [{"required": [key]} for key in keys]}

    return [
        {**any_of(*SIDES), **none_of("aspect", "anchor", *CANVAS)},
        {**any_of("aspect"), **none_of(*SIDES, *CANVAS)},
        {**any_of(*CANVAS), **none_of("aspect", *SIDES)},
    ]


class PresetKeys(BaseModel):
    """A preset: how much to add on each side (negative crops), or a ratio, or a size in pixels to reach."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"oneOf": [*_kinds()]})

    top: Side = Field(default=None, description=f"{_SIDE} height, to add above the image; negative crops.")
    bottom: Side = Field(default=None, description=f"{_SIDE} height, to add below the image; negative crops.")
    left: Side = Field(default=None, description=f"{_SIDE} width, to add on the left; negative crops.")
    right: Side = Field(default=None, description=f"{_SIDE} width, to add on the right; negative crops.")
    aspect: Ratio = Field(
        default=None,
        description='Width to height, such as "9:16", reached by the smallest expansion; never crops.',
    )
    width: Pixels = Field(default=None, description="Width of the result in pixels; what does not fit is cropped.")
    height: Pixels = Field(default=None, description="Height of the result in pixels; what does not fit is cropped.")
    anchor: AnchorWord = Field(
        default=None,
        description="Where the image sits on the new canvas.",
        json_schema_extra={"default": Anchor.CENTER.label},
    )


def preset_of(keys: PresetKeys) -> Preset:
    """The preset that `keys` describe; they have passed `preset_mistake`."""
    anchor = keys.anchor or Anchor.CENTER
    if keys.aspect is not None:
        return Aspect(ratio=keys.aspect, anchor=anchor)
    if keys.width is not None or keys.height is not None:
        return Canvas(width=keys.width, height=keys.height, anchor=anchor)
    sides = {side: getattr(keys, side) or NOTHING for side in SIDES}
    return Sides(**sides)


def preset_mistake(path: KeyPath, given: set[str], keys: PresetKeys) -> Mistake | None:
    """What is wrong between the keys of one preset. `given` are those that stand in the file, valid or not."""
    ways = [way for way in (SIDES, ("aspect",), CANVAS) if given & set(way)]
    if len(ways) != 1:
        named = [key for way in ways for key in way if key in given]
        found = f"{listed(named)} together" if named else "none of them"
        return Mistake(path=path, expected=_ONE_WAY, found=found)
    if ways[0] is SIDES and "anchor" in given:
        hint = "Remove it: the sides already say where the image sits."
        return Mistake(path=(*path, "anchor"), expected="no anchor beside sides", found="one", hint=hint)
    if ways[0] is SIDES and given == set(keys.model_fields_set) and _adds_nothing(preset_of(keys)):
        hint = "Give at least one side another number."
        return Mistake(path=path, expected="something to add or to crop", found="0 on every side", hint=hint)
    return None


def _adds_nothing(preset: Preset) -> bool:
    return isinstance(preset, Sides) and not any(getattr(preset, side).value for side in SIDES)


def description(preset: Preset) -> str:
    """A few words that name a preset given in place, fit for a file name: `top 10, left 25%`, `aspect 9x16`."""
    if isinstance(preset, Sides):
        named = [(side, getattr(preset, side)) for side in SIDES]
        return ", ".join(f"{side} {_plain(amount)}" for side, amount in named if amount.value)
    if isinstance(preset, Aspect):
        ratio = preset.ratio.limit_denominator(1000)
        return f"aspect {ratio.numerator}x{ratio.denominator}{_anchored(preset.anchor)}"
    if preset.width and preset.height:
        return f"{preset.width}x{preset.height}{_anchored(preset.anchor)}"
    side = f"width {preset.width}" if preset.width else f"height {preset.height}"
    return side + _anchored(preset.anchor)


def _anchored(anchor: Anchor) -> str:
    return "" if anchor is Anchor.CENTER else f" {anchor.label}"


def _plain(amount: Amount) -> str:
    number = str(amount.value) if amount.value == int(amount.value) else _decimal(amount.value)
    return number + ("%" if amount.unit is Unit.PERCENT else "")


def _decimal(value: Fraction) -> str:
    return f"{float(value):g}"
