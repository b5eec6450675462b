"""Owns how pictures are captioned: the font, text cut to its room, figures on small plates."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK, QUIET, PAPER = "#22262b", "#7a8088", "#f2f0ec"
"""Colours of text, of lesser text, and of the ground both stand on."""

_NOT_IN_FONT = "\ue000"
_FOLDED = {"…": "...", "×": "x", "−": "-", "ß": "ss"}


def font(size: int) -> Font:
    """The font that Pillow brings along, `size` px high."""
    return ImageFont.load_default(size=size)


def printable(text: str, face: Font) -> str:
    """`text` with what `face` can show: an accent may be lost, the rest becomes a question mark."""
    missing = _shape(_NOT_IN_FONT, face)
    return "".join(_shown(char, face, missing) for char in unicodedata.normalize("NFC", text))


def _shown(char: str, face: Font, missing: bytes) -> str:
    for choice in (char, _FOLDED.get(char, ""), unicodedata.normalize("NFD", char)[:1]):
        if choice and choice.isprintable() and _shape(choice, face) != missing:
            return choice
    return "?"


def _shape(char: str, face: Font) -> bytes:
    return bytes(face.getmask(char))


def fitted(text: str, room: float, face: Font) -> str:
    """`text`, printable, cut in its middle so that it is at most `room` px wide: a file's ending stays visible."""
    shown = printable(text, face)
    if face.getlength(shown) <= room:
        return shown
    for kept in range(len(shown) - 1, 0, -1):
        cut = f"{shown[: kept - kept // 2]}...{shown[len(shown) - kept // 2 :]}"
        if face.getlength(cut) <= room:
            return cut
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A figure on a small plate: its text, its centre in px, its colours."""

    text: str
    centre: tuple[float, float]
    ink: str = "white"
    ground: str = INK


def write_plate(draw: ImageDraw.ImageDraw, plate: Plate, size: int) -> None:
    x, y = plate.centre
    face = font(size)
    text = printable(plate.text, face)
    width, height = face.getlength(text) / 2 + size * 0.6, size * 0.85
    box = (x - width, y - height, x + width, y + height)
    draw.rounded_rectangle(box, radius=height * 0.55, fill=plate.ground)
    draw.text((x, y), text, fill=plate.ink, font=face, anchor="mm")
