"""Owns the proof that the contact sheet shows what it is given, whatever the files are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from expandd.domain.offsets import Offsets
from expandd.service.preview.contact_sheet import SheetRow, contact_sheet
from expandd.service.preview.preview import drawable, fitted, font
from tests.support.images import an_image, drawing, encoded


def row(directory: Path, name: str = "source.jpg", offsets: Offsets | None = None) -> SheetRow:
    source, result = directory / name, directory / f"result of {len(name)}.png"
    source.write_bytes(an_image("jpeg", 200, 120, orientation=6))
    offsets = offsets or Offsets(left=60, top=-20)
    size = 200 + offsets.left + offsets.right, 120 + offsets.top + offsets.bottom
    result.write_bytes(encoded(drawing(*size), "png"))
    return SheetRow(source=source, result=result, offsets=offsets, title="wide")


def sheet_of(rows: list[SheetRow], directory: Path) -> Image.Image:
    target = directory / "sheet.png"
    contact_sheet(rows, target)
    with Image.open(target) as sheet:
        sheet.load()
    assert sheet.format == "PNG"
    return sheet


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_the_sheet_grows_with_its_rows(tmp_path: Path, count: int) -> None:
    sheet = sheet_of([row(tmp_path)] * count, tmp_path)
    lower = sheet_of([row(tmp_path)] * max(count - 2, 0), tmp_path)
    assert sheet.height >= lower.height
    assert sheet.width <= 2000


def test_the_place_of_the_source_is_marked_in_the_result(tmp_path: Path) -> None:
    marked = sheet_of([row(tmp_path, offsets=Offsets(left=60))], tmp_path)
    elsewhere = sheet_of([row(tmp_path, offsets=Offsets(right=60))], tmp_path)
    assert marked.tobytes() != elsewhere.tobytes()


@pytest.mark.parametrize(
    "offsets",
    [Offsets(left=-199), Offsets(top=-119, left=40), Offsets(top=3000), Offsets(left=-150, right=300)],
)
def test_extreme_offsets_are_drawn(tmp_path: Path, offsets: Offsets) -> None:
    assert sheet_of([row(tmp_path, offsets=offsets)], tmp_path).width > 800


@pytest.mark.parametrize("name", ["line\nbreak.jpg", "写真 ü.jpg", "\udce9.jpg", "x" * 240 + ".jpg"])
def test_any_file_name_can_be_captioned(tmp_path: Path, name: str) -> None:
    assert sheet_of([row(tmp_path, name)], tmp_path).width > 800


def test_a_long_name_keeps_its_beginning_and_its_ending() -> None:
    shown = fitted("a holiday by the sea, image " + "9" * 80 + ".jpg", 300, font(20))
    assert shown.startswith("a holiday")
    assert shown.endswith(".jpg")
    assert font(20).getlength(shown) <= 300
    assert fitted("wide", 1, font(20)) == ""


def test_what_the_font_lacks_is_folded_or_becomes_a_question_mark() -> None:
    assert drawable("Größe 3×4 写\n", font(20)) == "Grosse 3x4 ??"
