"""The contact sheet: each source beside its result, at one scale, with the source's place marked in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw, ImageFilter

from expandd.domain.image import Size
from expandd.domain.offsets import Offsets
from expandd.service.preview.preview import INK, PAPER, QUIET, Frame, canvas_frame, fitted, font, source_frame

_COLUMNS = 2
_EDGE, _GAP = 48, 32  # px around the sheet, and between cards
_PAD, _ARROW = 32, 60  # px inside a card, and between source and result
_SOURCE, _RESULT = Size(300, 400), Size(440, 400)  # px, the most room for each
_CAPTION = 104
_THINNEST = 4  # px, of a frame that has room for two lines
SIDE = 2 * max(_RESULT.width, _RESULT.height)
"""The longest side in px of what is to be drawn."""

_CARD = Size(2 * _PAD + _SOURCE.width + _ARROW + _RESULT.width, 2 * _PAD + _RESULT.height + _CAPTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An image: its name, its own upright size in px, and a small WEBP of it, as the decoders make it."""

    name: str
    size: Size
    small: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """One pair of the sheet; `title` is shown beneath the result, usually the preset.

    `uploaded` is the size in px of what the API saw of the source.
    """

    source: Shown
    result: Shown
    uploaded: Size
    offsets: Offsets
    title: str


def contact_sheet(pairs: Sequence[SheetRow], target: Path) -> None:
    """Write a PNG of all `pairs`."""
    columns = min(_COLUMNS, max(len(pairs), 1))
    rows = -(-len(pairs) // columns)
    width = 2 * _EDGE + columns * _CARD.width + (columns - 1) * _GAP
    height = 2 * _EDGE + rows * _CARD.height + max(rows - 1, 0) * _GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    for index, pair in enumerate(pairs):
        row, column = divmod(index, columns)
        corner = _EDGE + column * (_CARD.width + _GAP), _EDGE + row * (_CARD.height + _GAP)
        _shade(sheet, corner)
        sheet.paste(_card(pair), corner, _rounded(_CARD))
    sheet.save(target, "PNG")


def _shade(sheet: Image.Image, corner: tuple[int, int]) -> None:
    """The soft shadow of a card."""
    reach = 24
    mask = Image.new("L", (_CARD.width + 2 * reach, _CARD.height + 2 * reach))
    mask.paste(34, (reach, reach + 6), _rounded(_CARD))
    soft = mask.filter(ImageFilter.GaussianBlur(reach / 3))
    sheet.paste("#3a3226", (corner[0] - reach, corner[1] - reach), soft)


def _rounded(size: Size) -> Image.Image:
    mask = Image.new("L", (size.width * 2, size.height * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius=28, fill=255)
    return mask.reduce(2)


def _card(pair: SheetRow) -> Image.Image:
    card = Image.new("RGB", (_CARD.width, _CARD.height), "white")
    before, after = pair.source.size, pair.result.size
    scale = min(_scale(before, _SOURCE), _scale(after, _RESULT))
    _place(card, pair.source, scale, _PAD, _SOURCE)
    shown = _place(card, pair.result, scale, _PAD + _SOURCE.width + _ARROW, _RESULT)
    _mark(card, _source_in_result(before, pair.offsets).scaled(scale).moved(shown.left, shown.top).within(shown))
    _arrow(card)
    uploaded = f"uploaded as {pair.uploaded} px" if pair.uploaded != before else ""
    _caption(card, _PAD, _SOURCE.width, (pair.source.name, f"{before} px", uploaded))
    result = pair.title, f"{after} px", _described(pair.offsets)
    _caption(card, _PAD + _SOURCE.width + _ARROW, _RESULT.width, result)
    return card


def _scale(size: Size, room: Size) -> float:
    return min(room.width / size.width, room.height / size.height, 1)


def _place(card: Image.Image, image: Shown, scale: float, left: int, room: Size) -> Frame:
    """Paste `image` into its room, which starts at `left`; where it lies on the card."""
    size = max(round(image.size.width * scale), 1), max(round(image.size.height * scale), 1)
    shown = _in_srgb(image.small).convert("RGBA").resize(size, Image.Resampling.LANCZOS)
    x, y = left + (room.width - size[0]) // 2, _PAD + (room.height - size[1]) // 2
    card.paste(shown, (x, y), shown)
    return Frame(left=x, top=y, right=x + size[0], bottom=y + size[1])


def _in_srgb(small: bytes) -> Image.Image:
    with Image.open(io.BytesIO(small), formats=("WEBP",)) as image:
        if profile := image.info.get("icc_profile"):
            ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), inPlace=True
            )
        return image.copy()


def _source_in_result(size: Size, offsets: Offsets) -> Frame:
    canvas = canvas_frame(size, offsets)
    return source_frame(size).moved(-canvas.left, -canvas.top)


def _mark(card: Image.Image, frame: Frame) -> None:
    """A thin frame, white within dark, so that it shows on every image."""
    if frame.empty:
        return
    draw = ImageDraw.Draw(card, "RGBA")
    left, top, right, bottom = frame.box
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(0, 0, 0, 110))
    if min(frame.size.width, frame.size.height) > _THINNEST:
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=(255, 255, 255, 220))


def _arrow(card: Image.Image) -> None:
    draw = ImageDraw.Draw(card)
    x, y = _PAD + _SOURCE.width + _ARROW // 2, _PAD + _RESULT.height // 2
    draw.line([(x - 14, y), (x + 12, y)], fill=QUIET, width=3)
    draw.line([(x + 3, y - 9), (x + 13, y), (x + 3, y + 9)], fill=QUIET, width=3, joint="curve")


def _caption(card: Image.Image, left: int, room: int, lines: Sequence[str]) -> None:
    draw, top = ImageDraw.Draw(card), _PAD + _RESULT.height + 30
    for line, y, size, ink in zip(lines, (0, 36, 62), (24, 18, 18), (INK, QUIET, QUIET), strict=True):
        draw.text((left + room / 2, top + y), fitted(line, room, font(size)), fill=ink, font=font(size), anchor="ma")


def _described(offsets: Offsets) -> str:
    """The sides that change, in a person's words: left +120, top -30."""
    sides = {
        "top": offsets.top,
        "bottom": offsets.bottom,
        "left": offsets.left,
        "right": offsets.right,
    }
    return ", ".join(f"{name} {pixels:+d}" for name, pixels in sides.items() if pixels)
