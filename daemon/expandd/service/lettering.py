"""Owns how pictures are captioned: the font, figures in a label, text cut to its room."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from PIL import ImageDraw, ImageFont

INK, QUIET, PAPER = "#22262b", "#7a8088", "#f4f3f0"
"""Colours of text, of lesser text, and of the ground both stand on."""

_ELLIPSIS = "…"


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings along, `size` px high."""
    return ImageFont.load_default(size=size)


def printable(text: str) -> str:
    """`text` without line breaks, control characters and what no font can show."""
    return "".join(char if char.isprintable() else "?" for char in text)


def fitted(text: str, room: float, size: int) -> str:
    """`text`, printable, cut in its middle so that it is at most `room` px wide: a file's ending stays visible."""
    shown = printable(text)
    if font(size).getlength(shown) <= room:
        return shown
    for kept in range(len(shown) - 1, 1, -1):
        cut = shown[: kept - kept // 2] + _ELLIPSIS + shown[len(shown) - kept // 2 :]
        if font(size).getlength(cut) <= room:
            return cut
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A figure on a small plate: where its centre is, and its colours."""

    text: str
    centre: tuple[float, float]
    ink: str = "white"
    plate: str = INK


def write_label(draw: ImageDraw.ImageDraw, label: Label, size: int) -> None:
    x, y = label.centre
    width, height = font(size).getlength(label.text) / 2 + size * 0.55, size * 0.85
    draw.rounded_rectangle((x - width, y - height, x + width, y + height), radius=height * 0.6, fill=label.plate)
    draw.text((x, y), label.text, fill=label.ink, font=font(size), anchor="mm")
