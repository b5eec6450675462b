"""`preview`: draws what a preset would add and cut, before anything is paid."""

from __future__ import annotations

import asyncio
import io
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import click
from PIL import Image, ImageChops, ImageDraw, ImageFont

from expandd.adapters.config.load import presets_of
from expandd.adapters.images.decoders import PillowImages
from expandd.domain.errors import FileFault, Later
from expandd.domain.finishing import require_fit
from expandd.domain.image import Inspection, Size, Valid
from expandd.domain.naming import printable
from expandd.domain.offsets import Offsets, Preset, resolve
from expandd.service.exit_codes import ExitCode

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK, QUIET, PAPER = "#22262b", "#7a8088", "#f2f0ec"
"""Colours of text, of lesser text, and of the ground both stand on."""

_NOT_IN_FONT = "\ue000"
_FOLDED = {"…": "...", "×": "x", "−": "-", "ß": "ss"}


def font(size: int) -> Font:
    """The font that Pillow brings along, `size` px high."""
    return ImageFont.load_default(size=size)


def drawable(text: str, face: Font) -> str:
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
    """`text`, drawable, cut in its middle so that it is at most `room` px wide: a file's ending stays visible."""
    shown = drawable(text, face)
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
    text = drawable(plate.text, face)
    width, height = face.getlength(text) / 2 + size * 0.6, size * 0.85
    box = (x - width, y - height, x + width, y + height)
    draw.rounded_rectangle(box, radius=height * 0.55, fill=plate.ground)
    draw.text((x, y), text, fill=plate.ink, font=face, anchor="mm")


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


def _draw_source(page: Image.Image, plan: Plan, image: Image.Image) -> None:
    size = max(plan.source.size.width, 1), max(plan.source.size.height, 1)
    shown = image.resize(size, Image.Resampling.LANCZOS)
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
    text = drawable(f"{size} px becomes {offsets.applied_to(size)} px", face)
    draw.text((x, y), text, fill=INK, font=face, anchor="mm")
    for colour, ground, word, left in ((_ADDED, _ADDED_GROUND, "added", x - 110), (_CUT, _CUT_GROUND, "cut", x + 30)):
        box = (left, y + 28, left + 26, y + 46)
        draw.rectangle(box, fill=ground, outline=colour, width=2)
        draw.text((left + 36, y + 37), word, fill=QUIET, font=font(18), anchor="lm")


def run_preview(image: Path, preset_name: str, output: Path | None, config: Path) -> int:
    """Draw what the preset adds and cuts. Raises click.UsageError for a preset that is none."""
    preset = _preset(presets_of(config), preset_name)
    try:
        inspection, small = asyncio.run(_looked_into(image))
    except Later as error:
        click.echo(f"{printable(image)} cannot be drawn just now: {error}", err=True)
        return ExitCode.SOME_FAILED
    if not isinstance(inspection, Valid):
        click.echo(f"{inspection.fault.message} {inspection.fault.what_to_do}", err=True)
        return ExitCode.SOME_FAILED
    try:
        require_fit(inspection)
        offsets = resolve(preset, inspection.size)
    except FileFault as error:
        click.echo(f"{error.fault.message} {error.fault.what_to_do}", err=True)
        return ExitCode.SOME_FAILED
    target = output or Path(f"{image.stem}-preview.png")
    preview(small, inspection.size, offsets, target)
    click.echo(
        f"{printable(image)}, {inspection.size}: {offsets}; the result would be {offsets.applied_to(inspection.size)}."
    )
    click.echo(f"Drawn in {printable(target)}.")
    return ExitCode.FINE


def _preset(presets: Mapping[str, Preset], name: str) -> Preset:
    if name in presets:
        return presets[name]
    near = get_close_matches(name, presets, n=1)
    hint = f" Did you mean “{near[0]}”?" if near else ""
    known = ", ".join(sorted(presets)) or "none"
    raise click.UsageError(f"The configuration has no preset “{printable(name)}”.{hint} It has: {known}.")


async def _looked_into(image: Path) -> tuple[Inspection, bytes]:
    """What the image is, and a small copy of it where it is whole."""
    async with PillowImages(processes=1) as images:
        inspection = await images.inspect(image.absolute())
        small = (await images.thumbnail(image.absolute(), SIDE)).webp if isinstance(inspection, Valid) else b""
    return inspection, small
