"""Proves that the contact sheet shows what it is given, whatever the files are called."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from expandd.domain.image import Size
from expandd.domain.offsets import Offsets
from expandd.service.preview.contact_sheet import SheetRow, Shown, contact_sheet
from expandd.service.preview.preview import drawable, fitted, font
from tests.support.images import drawing, encoded


def image(size: Size, colour: str = "", name: str = "result.png", icc_profile: bytes | None = None) -> Shown:
    small = Image.new("RGB", (60, 40), colour) if colour else drawing(60, 40)
    return Shown(name=name, size=size, small=encoded(small, "webp", lossless=True, icc_profile=icc_profile))


def row(name: str = "source.jpg", offsets: Offsets | None = None, **changes: Any) -> SheetRow:
    offsets = offsets or Offsets(left=60, top=-20)
    size = Size(200, 120)
    facts: dict[str, Any] = {
        "source": image(size, name=name),
        "result": image(offsets.applied_to(size)),
        "uploaded": size,
        "offsets": offsets,
        "title": "wide",
    }
    return SheetRow(**{**facts, **changes})


def sheet_of(rows: list[SheetRow], directory: Path) -> Image.Image:
    target = directory / "sheet.png"
    contact_sheet(rows, target)
    with Image.open(target) as sheet:
        sheet.load()
    assert sheet.format == "PNG"
    return sheet


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_the_sheet_grows_with_its_rows(tmp_path: Path, count: int) -> None:
    sheet = sheet_of([row()] * count, tmp_path)
    lower = sheet_of([row()] * max(count - 2, 0), tmp_path)
    assert sheet.height >= lower.height
    assert sheet.width <= 2000


def test_the_place_of_the_source_is_marked_in_the_result(tmp_path: Path) -> None:
    marked = sheet_of([row(offsets=Offsets(left=60))], tmp_path)
    elsewhere = sheet_of([row(offsets=Offsets(right=60))], tmp_path)
    assert marked.tobytes() != elsewhere.tobytes()


def test_source_and_result_are_drawn_in_their_true_relation(tmp_path: Path) -> None:
    source, result = image(Size(6000, 4000), "#ff0000"), image(Size(9000, 8000), "#0000ff")
    sheet = sheet_of([row(source=source, result=result, offsets=Offsets(left=3000, top=4000))], tmp_path)
    areas = Counter({colour: number for number, colour in sheet.getcolors(sheet.width * sheet.height) or ()})

    assert areas[0, 0, 255] / areas[255, 0, 0] == pytest.approx(3, rel=0.05)


def test_an_image_of_another_profile_is_drawn_in_the_colours_it_means(tmp_path: Path) -> None:
    profile = (resources.files("expandd.service.demo") / "samples" / "display p3.icc").read_bytes()
    plain, wide = (
        sheet_of([row(source=image(Size(200, 120), "#c83c3c", icc_profile=one))], tmp_path) for one in (None, profile)
    )
    where = plain.tobytes().index(b"\xc8\x3c\x3c")

    red, green, blue = wide.tobytes()[where : where + 3]
    assert red > 0xC8
    assert max(green, blue) < 0x3C


def test_a_copy_that_was_uploaded_is_captioned(tmp_path: Path) -> None:
    as_it_is, copy = (sheet_of([row(uploaded=size)], tmp_path) for size in (Size(200, 120), Size(100, 60)))
    assert as_it_is.tobytes() != copy.tobytes()


@pytest.mark.parametrize(
    "offsets",
    [Offsets(left=-199), Offsets(top=-119, left=40), Offsets(top=3000), Offsets(left=-150, right=300)],
)
def test_extreme_offsets_are_drawn(tmp_path: Path, offsets: Offsets) -> None:
    assert sheet_of([row(offsets=offsets)], tmp_path).width > 800


@pytest.mark.parametrize("name", ["line\nbreak.jpg", "写真 ü.jpg", "\udce9.jpg", "x" * 240 + ".jpg"])
def test_any_file_name_can_be_captioned(tmp_path: Path, name: str) -> None:
    assert sheet_of([row(name)], tmp_path).width > 800


def test_a_long_name_keeps_its_beginning_and_its_ending() -> None:
    shown = fitted("a holiday by the sea, image " + "9" * 80 + ".jpg", 300, font(20))
    assert shown.startswith("a holiday")
    assert shown.endswith(".jpg")
    assert font(20).getlength(shown) <= 300
    assert fitted("wide", 1, font(20)) == ""


def test_what_the_font_lacks_is_folded_or_becomes_a_question_mark() -> None:
    assert drawable("Größe 3×4 写\n", font(20)) == "Grosse 3x4 ??"
