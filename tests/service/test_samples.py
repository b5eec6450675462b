"""The demo's sample images are ones that the daemon takes, the same every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from expandd.adapters.images.decoders import PillowImages
from expandd.domain.image import ImageFormat, Whole
from expandd.service.demo.demo import write_samples


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    return write_samples(tmp_path_factory.mktemp("samples"))


async def test_six_samples_in_three_formats_are_whole_and_one_lies_on_its_side(paths: Sequence[Path]) -> None:
    async with PillowImages() as images:
        found = [await images.examine(path) for path in paths]
    whole = [one for one in found if isinstance(one, Whole)]
    assert len(whole) == len(paths) == 6
    assert Counter(one.format for one in whole) == dict.fromkeys((one for one in ImageFormat if one.taken_by_api), 2)
    assert sorted(one.orientation for one in whole) == [1, 1, 1, 1, 1, 6]
    assert all(600 <= side <= 1200 for one in whole for side in (one.size.width, one.size.height))
    assert sorted(path.name for path in paths) == sorted(path.name for path in paths[0].parent.iterdir())


def test_the_samples_are_the_same_every_time(paths: Sequence[Path], tmp_path: Path) -> None:
    for one, other in zip(paths, write_samples(tmp_path), strict=True):
        assert one.read_bytes() == other.read_bytes()
