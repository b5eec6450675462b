"""Proves that a preview shows what is added and what is cut, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from expandd.domain.image import Size
from expandd.domain.offsets import Offsets
from expandd.service.preview.preview import preview
from tests.support.images import an_image

ADDED, CUT = (0x2F, 0x7D, 0x95), (0xC8, 0x37, 0x2D)


def shown(directory: Path, offsets: Offsets, width: int = 400, height: int = 300) -> Image.Image:
    target = directory / "preview.png"
    preview(an_image("webp", width, height), Size(width, height), offsets, target)
    with Image.open(target) as page:
        return page.convert("RGB")


def count(page: Image.Image, colour: tuple[int, int, int]) -> int:
    return sum(number for number, value in page.getcolors(1 << 24) or [] if value == colour)


def test_what_is_added_is_hatched_and_what_is_cut_is_red(tmp_path: Path) -> None:
    legend_only = shown(tmp_path, Offsets())
    expanded = shown(tmp_path, Offsets(left=200))
    cropped = shown(tmp_path, Offsets(left=-200))
    assert count(expanded, ADDED) > count(legend_only, ADDED) + 2000
    assert count(expanded, CUT) == count(legend_only, CUT)
    assert count(cropped, CUT) > count(legend_only, CUT) + 2000
    assert count(cropped, ADDED) == count(legend_only, ADDED)


@pytest.mark.parametrize(
    "offsets",
    [
        Offsets(),
        Offsets(top=36, bottom=36, left=36, right=36),
        Offsets(top=-150, bottom=700, left=-10, right=25),
        Offsets(left=-400, right=400),
        Offsets(left=-399),
        Offsets(top=60_000),
    ],
)
def test_any_offsets_fit_on_the_page(tmp_path: Path, offsets: Offsets) -> None:
    page = shown(tmp_path, offsets)
    assert page.width <= 1400
    assert page.height <= 1100


@pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 4096), (4096, 64)])
def test_any_image_fits_on_the_page(tmp_path: Path, width: int, height: int) -> None:
    page = shown(tmp_path, Offsets(left=10, top=-10), width, height)
    assert page.width <= 1400
    assert page.height <= 1100
