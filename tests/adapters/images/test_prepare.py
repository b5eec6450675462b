"""Tests the copy that the API is sent: upright, in sRGB, at most 4096 px, and the same every time."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat

from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.images.limits import LARGE
from expandd.domain.errors import FileFault
from expandd.domain.image import ImageFormat, Prepared, Size
from tests.support.images import CORNERS, an_image, drawing, encoded, png_claiming
from tests.support.profiles import gamma_profile, srgb_profile
from tests.support.textured import HEIC, textured

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def copied(images: PillowImages, directory: Path, data: bytes) -> tuple[Prepared, Image.Image]:
    (directory / "source").write_bytes(data)
    prepared = await images.prepare(directory / "source", directory / "copy")
    image = Image.open(directory / "copy")
    image.load()
    assert image.size == (prepared.size.width, prepared.size.height)
    assert image.format == prepared.format.name
    return prepared, image


def pixel(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    found = image.convert("RGB").getpixel(place)
    assert isinstance(found, tuple)
    return found


def off(one: Image.Image, other: Image.Image) -> float:
    """Mean steps by which two images differ, once both are a little softer."""
    first, second = (image.convert("RGB").resize((16, 12), Image.Resampling.BOX) for image in (one, other))
    return max(ImageStat.Stat(ImageChops.difference(first, second)).mean)


@pytest.mark.parametrize(
    ("name", "mode", "sent", "save"),
    [
        ("jpeg", "CMYK", "JPEG", {}),
        ("jpeg", "L", "JPEG", {"orientation": 6}),
        ("avif", "RGB", "JPEG", {}),
        ("tiff", "RGB", "PNG", {"compression": "tiff_lzw"}),
        ("tiff", "RGB", "PNG", {"compression": "tiff_adobe_deflate", "orientation": 5}),
        ("tiff", "CMYK", "PNG", {}),
        ("tiff", "I;16", "PNG", {}),
        ("tiff", "1", "PNG", {"compression": "group4"}),
        ("png", "P", "PNG", {}),
        ("png", "I;16", "PNG", {}),
        ("bmp", "RGB", "PNG", {}),
        ("gif", "RGB", "PNG", {}),
        ("jpeg2000", "RGB", "PNG", {}),
    ],
)
async def test_what_the_api_does_not_take_is_converted(
    images: PillowImages, tmp_path: Path, name: str, mode: str, sent: str, *, save: dict[str, Any]
) -> None:
    prepared, image = await copied(images, tmp_path, an_image(name, 240, 160, mode=mode, **save))
    grey = drawing(240, 160).convert("L" if mode in {"L", "I;16", "1"} else "RGB")

    assert prepared == Prepared(format=ImageFormat[sent], size=Size(240, 160), exact=False)
    assert image.mode == "RGB"
    # A palette of the web's colours, and dots of black and white, are nearly the same.
    assert off(image, grey) <= (30 if mode in {"P", "1"} or name == "gif" else 6)


async def test_heic_is_read_and_upright(images: PillowImages, tmp_path: Path) -> None:
    prepared, image = await copied(images, tmp_path, HEIC.read_bytes())

    assert prepared == Prepared(format=ImageFormat.JPEG, size=Size(160, 240), exact=False)
    red, green, blue = pixel(image, (150, 10))
    assert (red > 200, green < 40, blue < 40) == (True, True, True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff"])
async def test_every_orientation_is_made_upright(
    images: PillowImages, tmp_path: Path, name: str, orientation: int
) -> None:
    save: dict[str, Any] = {"lossless": True} if name == "webp" else {}
    prepared, image = await copied(images, tmp_path, an_image(name, 240, 160, orientation=orientation, **save))

    assert prepared.exact is (name in {"png", "webp"})
    assert image.size == (240, 160)
    assert off(image, drawing(240, 160)) <= 4
    places = ((5, 5), (234, 5), (5, 154), (234, 154))
    seen = [pixel(image, place) for place in places]
    assert all(max(map(abs, map(int.__sub__, one, two))) < 12 for one, two in zip(seen, CORNERS, strict=True))


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff"])
async def test_colours_of_another_profile_become_those_of_srgb(images: PillowImages, tmp_path: Path, name: str) -> None:
    profile = gamma_profile(1.2)
    prepared, image = await copied(images, tmp_path, encoded(drawing(240, 160), name, icc_profile=profile))
    meant = ImageCms.profileToProfile(
        drawing(240, 160), io.BytesIO(profile), ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
    )

    assert not prepared.exact
    assert meant is not None
    assert off(image, meant) <= 4 < off(image, drawing(240, 160))
    assert "icc_profile" not in image.info


async def test_a_profile_of_srgb_changes_nothing(images: PillowImages, tmp_path: Path) -> None:
    data = encoded(drawing(240, 160), "png", icc_profile=srgb_profile())
    prepared, image = await copied(images, tmp_path, data)

    assert prepared.exact
    assert image.tobytes() == drawing(240, 160).tobytes()


@pytest.mark.parametrize("name", ["png", "webp"])
async def test_transparency_is_kept(images: PillowImages, tmp_path: Path, name: str) -> None:
    clear = textured(240, 160, mode="RGBA")
    prepared, image = await copied(images, tmp_path, encoded(clear, name, lossless=True, exact=True))

    assert prepared.exact
    assert image.tobytes() == clear.tobytes()


async def test_transparency_of_a_palette_is_kept(images: PillowImages, tmp_path: Path) -> None:
    colours = drawing(240, 160).quantize(8)
    prepared, image = await copied(images, tmp_path, encoded(colours, "png", transparency=0))

    assert not prepared.exact
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema() == (0, 255)


@pytest.mark.parametrize(("name", "sent"), [("jpeg", "JPEG"), ("png", "PNG"), ("tiff", "PNG")])
async def test_a_large_one_is_reduced(images: PillowImages, tmp_path: Path, name: str, sent: str) -> None:
    large = drawing(9000, 300)
    prepared, image = await copied(images, tmp_path, encoded(large, name))

    assert prepared == Prepared(format=ImageFormat[sent], size=Size(4096, 137), exact=False)
    assert off(image, large) <= 6


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "avif"])
async def test_the_same_file_gives_the_same_bytes(images: PillowImages, tmp_path: Path, name: str) -> None:
    data = encoded(textured(240, 160), name, icc_profile=gamma_profile(1.8))
    await copied(images, tmp_path, data)
    first = (tmp_path / "copy").read_bytes()
    async with PillowImages() as others:
        await copied(others, tmp_path, data)

    assert (tmp_path / "copy").read_bytes() == first


async def test_large_ones_wait_for_each_other_and_are_prepared(images: PillowImages, tmp_path: Path) -> None:
    sides = (7000, 6000)
    assert sides[0] * sides[1] > LARGE
    for number in (1, 2):
        Image.new("1", sides, number % 2).save(tmp_path / f"{number}.png")
    calls = (images.prepare(tmp_path / f"{number}.png", tmp_path / f"copy{number}") for number in (1, 2))

    assert [prepared.size for prepared in await asyncio.gather(*calls)] == [Size(4096, 3511)] * 2
    assert len(images.idle) <= 2


async def test_one_that_claims_to_be_vast_is_a_fault_and_leaves_nothing(images: PillowImages, tmp_path: Path) -> None:
    with pytest.raises(FileFault):
        await copied(images, tmp_path, png_claiming(15_000, 15_000))

    assert [path.name for path in tmp_path.iterdir()] == ["source"]
