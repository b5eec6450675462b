"""The demo's sample images are ones that the daemon takes, the same every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from expandd.adapters.images.decoders import PillowImages
from expandd.domain.finishing import sent_size
from expandd.domain.image import ImageFormat, Size, Valid
from expandd.service.demo.demo import write_samples


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    return write_samples(tmp_path_factory.mktemp("samples"))


async def test_sample_images_are_whole(
    paths: Sequence[Path],
) -> None:
    async with PillowImages() as images:
        found = [await images.inspect(path) for path in paths]
    whole = [one for one in found if isinstance(one, Valid)]
    assert len(whole) == len(paths) == 6
    assert Counter(one.format for one in whole) == {
        ImageFormat.JPEG: 2,
        ImageFormat.PNG: 1,
        ImageFormat.WEBP: 1,
        ImageFormat.TIFF: 1,
        ImageFormat.HEIC: 1,
    }
    assert sorted(one.orientation for one in whole) == [1, 1, 1, 1, 1, 6]
    assert [one.size for one in whole if sent_size(one.size) != one.size] == [Size(6000, 4000)]
    assert sorted(path.name for path in paths) == sorted(path.name for path in paths[0].parent.iterdir())


def test_one_is_a_photo_as_a_camera_makes_it(paths: Sequence[Path]) -> None:
    (photo,) = (path for path in paths if path.name == "sunset over hills.jpg")
    with Image.open(photo) as image:
        assert (image.size, image.info["dpi"]) == ((6000, 4000), (300, 300))
        assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))) == (
            "Display P3\n"
        )
        assert image.getexif()[0x0110] == "Sample camera"
    assert photo.stat().st_size < 4_000_000


def test_the_samples_are_the_same_every_time(paths: Sequence[Path], tmp_path: Path) -> None:
    for one, other in zip(paths, write_samples(tmp_path), strict=True):
        assert one.read_bytes() == other.read_bytes()
