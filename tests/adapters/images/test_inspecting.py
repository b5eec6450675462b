"""Proves what is said of an image before it is sent: size, colours, further images, metadata."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageCms

from expandd.adapters.images.decoders import PillowImages
from expandd.domain.errors import FaultCode
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Size, Valid
from tests.support.format_files import PAGE, codestream, heif, tiff
from tests.support.images import an_image, animated, chunk, drawing, encoded, png_claiming
from tests.support.odd_images import several_images
from tests.support.profiles import gamma_profile, srgb_profile

TWO: dict[str, Any] = {"save_all": True, "append_images": [drawing(70, 70)]}


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def found_in(images: PillowImages, directory: Path, data: bytes) -> Inspection:
    path = directory / "image"
    path.write_bytes(data)
    return await images.inspect(path)


def deep_png(colour: int) -> bytes:
    width, height, samples = 70, 65, {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    rows = b"".join(b"\0" + bytes(range(2 * samples)) * width for _ in range(height))
    header = png_claiming(width, height, depth=16, colour=colour)[:33]
    return header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


FORMATS = {
    ImageFormat.TIFF: "tiff",
    ImageFormat.AVIF: "avif",
    ImageFormat.BMP: "bmp",
    ImageFormat.GIF: "gif",
    ImageFormat.JPEG2000: "jpeg2000",
}


@pytest.mark.parametrize("image_format", FORMATS, ids=FORMATS.values())
async def test_every_other_format_is_whole_and_is_sent_converted(
    images: PillowImages, tmp_path: Path, image_format: ImageFormat
) -> None:
    found = await found_in(images, tmp_path, an_image(FORMATS[image_format], 150, 100))
    assert isinstance(found, Valid)
    assert (found.format, found.size, found.orientation) == (image_format, Size(150, 100), 1)
    assert (found.converts, found.several) == (True, False)
    assert (await images.thumbnail(tmp_path / "image", 50)).of == Size(150, 100)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_turned_tiff_has_the_size_that_a_person_sees(
    images: PillowImages, tmp_path: Path, orientation: int
) -> None:
    found = await found_in(images, tmp_path, an_image("tiff", 150, 100, orientation=orientation))
    assert isinstance(found, Valid)
    assert found.size == (await images.thumbnail(tmp_path / "image", 50)).of == Size(150, 100)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("jpeg", "CMYK"),
        ("png", "P"),
        ("png", "1"),
        ("png", "I;16"),
        ("tiff", "CMYK"),
        ("tiff", "LAB"),
        ("tiff", "1"),
        ("tiff", "I;16"),
        ("bmp", "P"),
    ],
)
async def test_colours_that_the_api_is_not_sent_are_converted(
    images: PillowImages, tmp_path: Path, name: str, mode: str
) -> None:
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(drawing(96, 80), ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
        assert image is not None
        data = encoded(image, name)
    else:
        data = an_image(name, mode=mode)
    found = await found_in(images, tmp_path, data)
    assert isinstance(found, Valid)
    assert found.converts
    assert (await images.thumbnail(tmp_path / "image", 50)).of == Size(96, 80)


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
async def test_sixteen_bits_a_channel_are_converted(images: PillowImages, tmp_path: Path, colour: int) -> None:
    found = await found_in(images, tmp_path, deep_png(colour))
    assert isinstance(found, Valid)
    assert found.converts
    assert not (await images.prepare(tmp_path / "image", tmp_path / "copy")).exact


@pytest.mark.parametrize(
    ("name", "mode"), [("jpeg", "RGB"), ("jpeg", "L"), ("png", "LA"), ("png", "RGBA"), ("webp", "RGBA"), ("png", "L")]
)
async def test_what_the_api_takes_is_not(images: PillowImages, tmp_path: Path, name: str, mode: str) -> None:
    found = await found_in(images, tmp_path, an_image(name, mode=mode))
    assert found == Valid(format=ImageFormat(name), size=Size(96, 80), orientation=1)


class TestProfiles:
    @pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
    async def test_one_of_srgb_is_kept_and_not_converted(self, images: PillowImages, tmp_path: Path, name: str) -> None:
        found = await found_in(images, tmp_path, an_image(name, icc_profile=srgb_profile()))
        assert isinstance(found, Valid)
        assert (found.converts, found.metadata) == (False, True)

    @pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
    async def test_one_of_other_colours_is_converted(self, images: PillowImages, tmp_path: Path, name: str) -> None:
        found = await found_in(images, tmp_path, an_image(name, icc_profile=gamma_profile(1.8)))
        assert isinstance(found, Valid)
        assert (found.converts, found.metadata) == (True, True)

    async def test_one_of_grey_is_judged_by_its_curve(self, images: PillowImages, tmp_path: Path) -> None:
        found = await found_in(images, tmp_path, an_image(mode="L", icc_profile=gamma_profile(1.0, grey=True)))
        assert isinstance(found, Valid)
        assert found.converts

    @pytest.mark.parametrize("harm", ["cut", "nonsense", "of other channels"])
    async def test_one_that_cannot_be_used_is_as_if_it_were_not_there(
        self, images: PillowImages, tmp_path: Path, harm: str
    ) -> None:
        profile = {
            "cut": gamma_profile(1.8)[:200],
            "nonsense": b"nonsense" * 40,
            "of other channels": gamma_profile(1.8, grey=True),
        }[harm]
        found = await found_in(images, tmp_path, an_image(icc_profile=profile))
        assert isinstance(found, Valid)
        assert not found.converts


class TestSeveral:
    @pytest.mark.parametrize(
        "data",
        [
            several_images()[0],
            encoded(drawing(96, 80), "tiff", **TWO),
            animated("gif"),
            animated("avif"),
        ],
        ids=["jpeg", "tiff", "gif", "avif"],
    )
    async def test_further_images_are_said(self, images: PillowImages, tmp_path: Path, data: bytes) -> None:
        found = await found_in(images, tmp_path, data)
        assert isinstance(found, Valid)
        assert found.several


class TestMetadata:
    @pytest.mark.parametrize(
        ("name", "save"),
        [
            ("jpeg", {"dpi": (300, 300)}),
            ("png", {"dpi": (300, 300)}),
            ("tiff", {"dpi": (300, 300)}),
            ("jpeg", {"xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}),
            ("webp", {"xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}),
        ],
    )
    async def test_what_the_result_is_to_have_too_is_said(
        self, images: PillowImages, tmp_path: Path, name: str, save: dict[str, Any]
    ) -> None:
        found = await found_in(images, tmp_path, an_image(name, **save))
        assert isinstance(found, Valid)
        assert found.metadata


class TestSizes:
    @pytest.mark.parametrize("size", [(10, 10), (63, 64), (64, 5000), (6000, 100)])
    async def test_a_size_that_the_api_does_not_take_is_for_the_folder_to_judge(
        self, images: PillowImages, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        for name in ("jpeg", "tiff", "png"):
            found = await found_in(images, tmp_path, an_image(name, *size))
            assert isinstance(found, Valid)
            assert found.size == Size(*size)

    @pytest.mark.parametrize(
        "data",
        [
            png_claiming(60_000, 60_000),
            tiff({**PAGE, 256: 1 << 24, 257: 1 << 24}),
            heif(size=(1 << 24, 1 << 24)),
            heif(b"avif", b"av01", (1 << 31, 1 << 31)),
            codestream((1 << 32) - 1, (1 << 32) - 1),
            an_image("gif")[:6] + b"\xff\xff\xff\xff" + an_image("gif")[10:],
        ],
        ids=["png", "tiff", "heic", "avif", "jpeg2000", "gif"],
    )
    async def test_more_pixels_than_are_taken_are_refused_and_not_decoded(
        self, images: PillowImages, tmp_path: Path, data: bytes
    ) -> None:
        found = await found_in(images, tmp_path, data)
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.TOO_LARGE
        assert "images of up to 250 million px can be expanded" in found.fault.message


@pytest.mark.parametrize(
    "data",
    [
        heif(),
        heif(b"avif", b"av01"),
        codestream(96, 80),
        tiff({**PAGE, 259: 5}),
    ],
    ids=["heic", "avif", "jpeg2000", "tiff"],
)
async def test_what_is_whole_but_cannot_be_decoded_is_damaged(
    images: PillowImages, tmp_path: Path, data: bytes
) -> None:
    found = await found_in(images, tmp_path, data)
    assert isinstance(found, Incomplete)
    assert "is damaged" in found.fault.message


@pytest.mark.parametrize("name", FORMATS.values())
async def test_an_image_cut_anywhere_is_unfinished(images: PillowImages, tmp_path: Path, name: str) -> None:
    data = an_image(name, 200, 150)
    for cut in {1, 5, 11, 30, *range(40, len(data), len(data) // 10), len(data) - 1}:
        assert isinstance(await found_in(images, tmp_path, data[:cut]), Incomplete), cut


@pytest.mark.parametrize(
    ("data", "words"),
    [
        # What Windows calls Unicode: its decoder must not be looked for in a file, which the process may not open.
        ("Dear studio".encode("utf-16"), "a text file"),
        (tiff({**PAGE, 258: 14}), "of a kind that"),
    ],
)
async def test_what_cannot_be_read_is_named_by_a_process_that_opens_no_file(
    images: PillowImages, tmp_path: Path, data: bytes, words: str
) -> None:
    found = await found_in(images, tmp_path, data)

    assert isinstance(found, Invalid | Incomplete)
    assert words in found.fault.message
