"""Proves what a thumbnail is, and that it is made under the same limits as everything else."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from expandd.adapters.images.decoders import PillowImages
from expandd.domain.errors import FileFault, Later
from expandd.domain.image import Size
from tests.support.images import CORNERS, an_image, lossless_jpeg, png_claiming

BABBLING = """
import sys
print('{"is":"ready","walls":[],"formats":[]}', flush=True)
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(b"x" * (4 << 20) + b"\\n")
    sys.stdout.buffer.flush()
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


def written(directory: Path, data: bytes) -> Path:
    path = directory / "image"
    path.write_bytes(data)
    return path


def opened(webp: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    image.load()
    return image


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("jpeg", "RGB"), ("jpeg", "L"), ("jpeg", "CMYK"), ("png", "P"), ("png", "I;16"), ("png", "LA"), ("webp", "RGBA")],
)
async def test_every_kind_of_image_has_one(images: PillowImages, tmp_path: Path, file_format: str, mode: str) -> None:
    found = await images.thumbnail(written(tmp_path, an_image(file_format, 400, 300, mode=mode)), 200)

    assert found.of == Size(400, 300)
    assert opened(found.webp).size == (200, 150)


async def test_a_jpeg_that_has_no_smaller_scale_has_one_too(images: PillowImages, tmp_path: Path) -> None:
    assert (await images.thumbnail(written(tmp_path, lossless_jpeg()), 200)).of == Size(64, 64)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
async def test_it_is_upright(images: PillowImages, tmp_path: Path, orientation: int) -> None:
    path = written(tmp_path, an_image("jpeg", 400, 300, orientation=orientation))
    found = await images.thumbnail(path, 200)
    image = opened(found.webp).convert("RGB")

    corners = [image.getpixel(place) for place in ((5, 5), (194, 5), (5, 144), (194, 144))]
    assert found.of == Size(400, 300)
    assert image.size == (200, 150)
    for seen, meant in zip(corners, CORNERS, strict=True):
        assert isinstance(seen, tuple)
        assert max(abs(one - other) for one, other in zip(seen, meant, strict=True)) < 30


async def test_a_small_image_is_not_made_larger_and_its_profile_stays(images: PillowImages, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = await images.thumbnail(written(tmp_path, an_image("jpeg", 100, 80, icc_profile=profile)), 200)
    image = opened(found.webp)

    assert image.size == (100, 80)
    assert image.info["icc_profile"] == profile


@pytest.mark.parametrize(
    "data", [png_claiming(60000, 60000), an_image("png")[:-40], an_image("jpeg")[:200], b"GIF89a", b"", b"\0" * 100]
)
async def test_what_is_no_image_or_a_bomb_has_none_and_harms_nobody(
    images: PillowImages, tmp_path: Path, data: bytes
) -> None:
    with pytest.raises(FileFault):
        await images.thumbnail(written(tmp_path, data), 200)

    good = tmp_path / "good"
    good.write_bytes(an_image("png"))
    assert (await images.thumbnail(good, 200)).of == Size(96, 80)


@pytest.mark.parametrize("make", ["symlink", "directory", "pipe", "nothing"])
async def test_what_is_no_regular_file_has_none(images: PillowImages, tmp_path: Path, make: str) -> None:
    path = tmp_path / "image"
    makers: dict[str, Any] = {
        "symlink": lambda: path.symlink_to("/etc/hostname"),
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "nothing": lambda: None,
    }
    makers[make]()

    with pytest.raises(Later):
        await images.thumbnail(path, 200)


async def test_a_reader_that_never_ends_its_answer_is_let_go_of(tmp_path: Path) -> None:
    async with PillowImages(program=("-c", BABBLING)) as images:
        with pytest.raises(FileFault):
            await images.thumbnail(written(tmp_path, an_image("png")), 200)

        assert images.idle == ()
