"""Owns the proof that the demo's pictures are ones the daemon takes, the same every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from expandd.adapters.images.pillow import PillowImages
from expandd.domain.findings import Whole
from expandd.domain.job import ImageFormat
from expandd.service.samples import write_samples


async def test_six_samples_in_three_formats_are_whole_and_one_lies_on_its_side(tmp_path: Path) -> None:
    paths = write_samples(tmp_path)
    async with PillowImages() as images:
        found = [await images.examine(path) for path in paths]
    whole = [one for one in found if isinstance(one, Whole)]
    assert len(whole) == len(paths) == 6
    assert Counter(one.format for one in whole) == dict.fromkeys(ImageFormat, 2)
    assert sorted(one.orientation for one in whole) == [1, 1, 1, 1, 1, 6]
    assert all(600 <= side <= 1200 for one in whole for side in (one.size.width, one.size.height))
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())


def test_the_same_pictures_are_painted_every_time(tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    for one, other in zip(write_samples(tmp_path), write_samples(again), strict=True):
        assert one.read_bytes() == other.read_bytes()
