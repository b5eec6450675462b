"""Owns the preview: a picture of what a preset would add and cut, before anything is paid."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from expandd.domain.image import Size
from expandd.domain.offsets import Offsets
from expandd.service.preview.frames import Frame, canvas_frame, source_frame
from expandd.service.preview.lettering import INK, PAPER, QUIET, Plate, font, printable, write_plate

SIDE = 1000
"""The longest side in px of what is to be drawn."""

_ROOM = Size(SIDE, 760)  # px, the most for canvas and source together
_MARGIN = Size(150, 84)  # px beside and above, for the figures
_FOOT = 92
_ADDED, _ADDED_GROUND = "#2f7d95", "#dcebee"
_CUT, _CUT_GROUND = "#c8372d", "#efb9b2"
_STRIPE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where everything lies on the page, in px of the page."""

    source: Frame
    canvas: Frame
    page: Size


def preview(small: bytes, size: Size, offsets: Offsets, target: Path) -> None:
    """Write a PNG that shows the canvas, what is added (hatched), what is cut (red), and the px on each side.

    `small` is an upright WEBP of an image that has `size`, as the decoders make it.
    """
    with Image.open(io.BytesIO(small), formats=("WEBP",)) as opened:
        upright = opened.convert("RGBA")
    plan = _plan(size, offsets)
    page = Image.new("RGB", (plan.page.width, plan.page.height), PAPER)
    _draw_added(page, plan)
    _draw_source(page, plan, upright)
    _draw_edges(page, plan)
    _draw_figures(page, plan, offsets)
    _draw_foot(page, size, offsets)
    page.save(target, "PNG")


def _plan(size: Size, offsets: Offsets) -> Plan:
    source, canvas = source_frame(size), canvas_frame(size, offsets)
    both = source.around(canvas)
    scale = min(_ROOM.width / both.size.width, _ROOM.height / both.size.height, 1)
    source, canvas, both = (frame.scaled(scale) for frame in (source, canvas, both))
    width = max(both.size.width + 2 * _MARGIN.width, 640)
    x, y = (width - both.size.width) // 2 - both.left, _MARGIN.height - both.top
    page = Size(width, both.size.height + 2 * _MARGIN.height + _FOOT)
    return Plan(source=source.moved(x, y), canvas=canvas.moved(x, y), page=page)


def _mask(size: tuple[int, int], frame: Frame) -> Image.Image:
    mask = Image.new("L", size)
    if not frame.empty:
        mask.paste(255, frame.box)
    return mask


def _hatching(size: tuple[int, int], width: int) -> Image.Image:
    """A mask of slanted stripes, `width` px each."""
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for x in range(-size[1], size[0], _STRIPE):
        draw.line([(x, size[1]), (x + size[1], 0)], fill=255, width=width)
    return mask


def _draw_added(page: Image.Image, plan: Plan) -> None:
    added = _mask(page.size, plan.canvas)
    page.paste(_ADDED_GROUND, (0, 0, *page.size), added)
    page.paste(_ADDED, (0, 0, *page.size), ImageChops.multiply(added, _hatching(page.size, 2)))


def _draw_source(page: Image.Image, plan: Plan, picture: Image.Image) -> None:
    size = max(plan.source.size.width, 1), max(plan.source.size.height, 1)
    shown = picture.resize(size, Image.Resampling.LANCZOS)
    page.paste("white", plan.source.box)
    page.paste(shown, plan.source.box[:2], shown)
    cut = ImageChops.subtract(_mask(page.size, plan.source), _mask(page.size, plan.canvas))
    page.paste(_CUT_GROUND, (0, 0, *page.size), cut.point(lambda value: value * 0.72))
    page.paste(_CUT, (0, 0, *page.size), ImageChops.multiply(cut, _hatching(page.size, 1)))


def _draw_edges(page: Image.Image, plan: Plan) -> None:
    draw = ImageDraw.Draw(page)
    for frame, colour, width in ((plan.source, "white", 1), (plan.canvas, INK, 3)):
        left, top, right, bottom = frame.box
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=width)


def _draw_figures(page: Image.Image, plan: Plan, offsets: Offsets) -> None:
    """The px of each side, beside the canvas and the source."""
    draw, around = ImageDraw.Draw(page), plan.source.around(plan.canvas)
    x, y = (plan.canvas.left + plan.canvas.right) / 2, (plan.canvas.top + plan.canvas.bottom) / 2
    places = (
        (offsets.top, (x, around.top - 40)),
        (offsets.bottom, (x, around.bottom + 40)),
        (offsets.left, (around.left - 76, y)),
        (offsets.right, (around.right + 76, y)),
    )
    for pixels, centre in places:
        if pixels:
            ground = _ADDED if pixels > 0 else _CUT
            write_plate(draw, Plate(text=f"{pixels:+d} px", centre=centre, ground=ground), 22)
        else:
            draw.text(centre, "0 px", fill=QUIET, font=font(22), anchor="mm")


def _draw_foot(page: Image.Image, size: Size, offsets: Offsets) -> None:
    draw, face = ImageDraw.Draw(page), font(24)
    x, y = page.width / 2, page.height - 78
    text = printable(f"{size} px becomes {offsets.applied_to(size)} px", face)
    draw.text((x, y), text, fill=INK, font=face, anchor="mm")
    for colour, ground, word, left in ((_ADDED, _ADDED_GROUND, "added", x - 110), (_CUT, _CUT_GROUND, "cut", x + 30)):
        box = (left, y + 28, left + 26, y + 46)
        draw.rectangle(box, fill=ground, outline=colour, width=2)
        draw.text((left + 36, y + 37), word, fill=QUIET, font=font(18), anchor="lm")
