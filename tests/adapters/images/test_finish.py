"""Tests results: full size, the original's pixels, colours and metadata, in the format asked for."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.images.placing import SEAM
from expandd.domain.errors import FileFault
from expandd.domain.finishing import Finishing, finishing
from expandd.domain.image import ImageFormat, Prepared, Size, Valid
from expandd.domain.offsets import Offsets
from expandd.domain.result_rules import Metadata, Pixels, ResultFormat, ResultRules
from tests.support.images import chunk, converted, encoded
from tests.support.profiles import gamma_profile
from tests.support.textured import HEIC, expanded, textured

AROUND = Offsets(left=30, right=21, top=13, bottom=40)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'


pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Bench:
    """Goes through both steps in a directory, with a plain API between them."""

    images: PillowImages
    directory: Path

    async def result(
        self,
        data: bytes,
        source: ImageFormat,
        size: tuple[int, int],
        offsets: Offsets = AROUND,
        rules: ResultRules | None = None,
        **api: Any,
    ) -> tuple[Finishing, Image.Image]:
        (self.directory / "original").write_bytes(data)
        prepared = await self.images.prepare(self.directory / "original", self.directory / "copy")
        plan = self.plan(source, size, prepared, offsets=offsets, rules=rules)
        (self.directory / "made").write_bytes(expanded(self.directory / "copy", plan.asked, **api))
        assert await self.finish(plan)
        image = Image.open(self.directory / "result")
        image.load()
        assert image.size == (plan.size.width, plan.size.height)
        assert image.format == plan.format.name
        return plan, image

    def plan(
        self,
        source: ImageFormat,
        size: tuple[int, int],
        prepared: Prepared | None = None,
        *,
        offsets: Offsets = AROUND,
        rules: ResultRules | None = None,
        made: ImageFormat = ImageFormat.PNG,
    ) -> Finishing:
        original, rules = Size(*size), rules or ResultRules()
        return finishing(rules=rules, source=source, original=original, offsets=offsets, prepared=prepared, made=made)

    async def finish(self, plan: Finishing) -> bool:
        original, made, result = (self.directory / name for name in ("original", "made", "result"))
        return await self.images.finish(original, made, result, plan)


@pytest.fixture
def bench(images: PillowImages, tmp_path: Path) -> Bench:
    return Bench(images, tmp_path)


def inside(
    result: Image.Image, original: Image.Image, offsets: Offsets, seam: int = SEAM
) -> tuple[Image.Image, Image.Image]:
    """What is the original's alone in the result, and the same of the original."""
    left, top, right, bottom = (seam if side > 0 else -side for side in _sides(offsets))
    box = (left, top, original.width - right, original.height - bottom)
    there = tuple(at + offset for at, offset in zip(box, (offsets.left, offsets.top) * 2, strict=True))
    return result.crop(there), original.crop(box)  # type: ignore[arg-type]  # four numbers


def _sides(offsets: Offsets) -> tuple[int, int, int, int]:
    return offsets.left, offsets.top, offsets.right, offsets.bottom


def same(result: Image.Image, original: Image.Image, offsets: Offsets) -> bool:
    one, other = inside(result, original, offsets)
    return one.mode == other.mode and one.tobytes() == other.tobytes()


def mean(one: Image.Image, other: Image.Image) -> float:
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


@pytest.mark.parametrize(
    ("source", "save"),
    [
        (ImageFormat.TIFF, {"compression": "tiff_lzw"}),
        (ImageFormat.TIFF, {"compression": "tiff_adobe_deflate", "orientation": 8}),
        (ImageFormat.BMP, {}),
        (ImageFormat.JPEG2000, {"irreversible": False}),
    ],
)
@pytest.mark.parametrize("size", [(240, 160), (4300, 80)], ids=["as it was", "reduced"])
async def test_the_originals_pixels_are_inside_exactly(
    bench: Bench, source: ImageFormat, save: dict[str, Any], size: tuple[int, int]
) -> None:
    original = textured(*size)
    turned = original.transpose(Image.Transpose.ROTATE_270) if "orientation" in save else original
    if "orientation" in save:
        exif = Image.Exif()
        exif[274] = 8
        save = {"compression": save["compression"], "exif": exif.tobytes()}
    _, image = await bench.result(encoded(turned, source.value, **save), source, size)

    assert same(image, original, AROUND)
    assert image.getpixel((2, 2)) == (0, 0, 0), "the API's"


@pytest.mark.parametrize(
    ("source", "mode", "back"),
    [
        (ImageFormat.TIFF, "CMYK", "CMYK"),
        (ImageFormat.TIFF, "L", "L"),
        (ImageFormat.TIFF, "LAB", "LAB"),
        (ImageFormat.PNG, "P", "RGB"),
        (ImageFormat.GIF, "P", "RGB"),
        (ImageFormat.TIFF, "I;16", "I;16"),
        (ImageFormat.PNG, "I;16", "I;16"),
    ],
)
async def test_every_mode_comes_back(bench: Bench, source: ImageFormat, mode: str, back: str) -> None:
    if mode == "I;16":
        original = Image.frombytes("I;16", (240, 160), textured(480, 160, mode="L").tobytes())
    elif mode == "LAB":
        original = Image.frombytes("LAB", (240, 160), textured(240, 160).tobytes())
    else:
        original = converted(textured(240, 160), mode)
    _, image = await bench.result(encoded(original, source.value), source, (240, 160))

    assert image.mode == back
    assert same(image, original if mode == back else original.convert(back), AROUND)


def round_trip(original: Image.Image, **save: Any) -> float:
    """Mean steps by which a JPEG differs from what it is encoded from, at another place in the grid of its blocks."""
    moved = original.crop((3, 5, original.width, original.height))
    with Image.open(io.BytesIO(encoded(moved, "jpeg", **save))) as again:
        return mean(moved, again.convert(moved.mode))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("source", [ImageFormat.PNG, ImageFormat.TIFF])
async def test_a_turned_originals_pixels_are_inside_upright(
    bench: Bench, source: ImageFormat, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = textured(160, 240) if orientation >= 5 else textured(240, 160)
    data = encoded(stored, source.value, exif=exif.tobytes())
    rules = ResultRules(pixels=Pixels.ORIGINAL)
    _, image = await bench.result(data, source, (240, 160), rules=rules)
    with Image.open(bench.directory / "original") as original:
        assert same(image, ImageOps.exif_transpose(original), AROUND)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
async def test_a_jpeg_comes_back_as_fine_as_it_was(bench: Bench, mode: str) -> None:
    data = encoded(textured(4300, 120).convert(mode), "jpeg", quality=93, subsampling=0)
    plan, image = await bench.result(data, ImageFormat.JPEG, (4300, 120))
    with Image.open(bench.directory / "original") as original:
        original.load()
        assert image.quantization == original.quantization  # type: ignore[attr-defined]  # of a JPEG alone

        assert plan.format is ImageFormat.JPEG
        assert image.mode == mode
        unavoidable = round_trip(original, qtables=original.quantization, subsampling=0)  # type: ignore[attr-defined]  # of a JPEG alone
        assert mean(*inside(image, original, AROUND)) < 1.05 * unavoidable


async def test_a_coarse_jpeg_is_written_finer(bench: Bench) -> None:
    data = encoded(textured(4300, 120), "jpeg", quality=60)
    _, image = await bench.result(data, ImageFormat.JPEG, (4300, 120))
    with Image.open(bench.directory / "original") as original:
        assert sum(image.quantization[0]) < sum(original.quantization[0]) / 2  # type: ignore[attr-defined]  # of a JPEG alone
        assert mean(*inside(image, original, AROUND)) < 1.05 * round_trip(original.convert("RGB"), quality=90)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (ImageFormat.JPEG, ResultFormat.JPEG),
        (ImageFormat.TIFF, ResultFormat.TIFF),
        (ImageFormat.JPEG, ResultFormat.TIFF),
        (ImageFormat.PNG, ResultFormat.WEBP),
        (ImageFormat.TIFF, ResultFormat.PNG),
    ],
)
@pytest.mark.parametrize("metadata", Metadata)
async def test_profile_and_resolution_are_kept_and_the_rest_where_it_is_wanted(
    bench: Bench, source: ImageFormat, wanted: ResultFormat, metadata: Metadata
) -> None:
    exif = Image.Exif()
    exif[271], exif[274] = "A camera", 3
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    profile = gamma_profile(1.8)
    data = encoded(
        textured(240, 160).transpose(Image.Transpose.ROTATE_180),
        source.value,
        exif=exif.tobytes(),
        icc_profile=profile,
        dpi=(300, 300),
        **({"xmp": XMP} if source is ImageFormat.JPEG else {}),
    )
    rules = ResultRules(format=wanted, metadata=metadata, pixels=Pixels.ORIGINAL)
    plan, image = await bench.result(data, source, (240, 160), rules=rules)
    found = image.getexif()
    keep = metadata is Metadata.KEEP

    assert image.info["icc_profile"] == profile
    if plan.format is not ImageFormat.WEBP:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert found.get(271) == ("A camera" if keep else None)
    if source is not ImageFormat.TIFF:
        # Pillow does not write it into the file that is dropped.
        assert found.get_ifd(0x8769).get(0x9003) == ("2026:01:02 03:04:05" if keep else None)
    assert found.get(274, 1) == 1
    if source is ImageFormat.JPEG:
        assert (image.info.get("xmp") == XMP) is keep


def exiftool(path: Path, *options: str) -> dict[str, Any]:
    """What exiftool reads from the file."""
    asked = ("exiftool", "-j", "-n", *options, str(path))
    found = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    return dict(found[0])


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
@pytest.mark.parametrize("wanted", [ResultFormat.JPEG, ResultFormat.PNG, ResultFormat.TIFF, ResultFormat.WEBP])
async def test_exiftool_finds_nothing_wrong(bench: Bench, wanted: ResultFormat) -> None:
    exif = Image.Exif()
    exif[271], exif[282], exif[283], exif[296] = "A camera", 300.0, 300.0, 2
    exif.get_ifd(0x8769)[0xA002] = 240
    exif.get_ifd(0x8825)[1] = "N"
    data = encoded(textured(240, 160), "jpeg", exif=exif, icc_profile=gamma_profile(1.8), dpi=(300, 300), xmp=XMP)
    rules = ResultRules(format=wanted, pixels=Pixels.ORIGINAL)
    await bench.result(data, ImageFormat.JPEG, (240, 160), rules=rules)
    said = await asyncio.to_thread(exiftool, bench.directory / "result", "-validate", "-warning", "-a")
    found = await asyncio.to_thread(exiftool, bench.directory / "result")

    # Warnings are of tags that this camera should have written.
    assert str(said["Validate"]).startswith("0 "), said
    assert (found["ImageWidth"], found["ImageHeight"]) == (291, 213)
    assert (found["Make"], found["GPSLatitudeRef"]) == ("A camera", "N")
    assert (found["XResolution"], found["ResolutionUnit"]) == (pytest.approx(300, abs=0.01), 2)
    assert found["ExifImageWidth"] == 291


async def test_heic_comes_back_as_jpeg(bench: Bench) -> None:
    plan, image = await bench.result(HEIC.read_bytes(), ImageFormat.HEIC, (160, 240))

    assert plan.format is ImageFormat.JPEG
    red, green, blue = image.getpixel((150 + AROUND.left, 12 + AROUND.top))  # type: ignore[misc]  # a pixel of an RGB image is three numbers
    assert (red > 200, green < 40, blue < 40) == (True, True, True)
    assert image.getexif()[271] == "A camera"
    assert image.getexif().get(274, 1) == 1


def deep_png(width: int, height: int) -> tuple[bytes, list[bytes]]:
    """A PNG of 16 bits of red, green and blue, and its rows."""
    data = textured(2 * width, height).tobytes()
    rows = [data[at : at + 6 * width] for at in range(0, len(data), 6 * width)]
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""), rows


def rows_of(png: bytes, line: int, pixel: int) -> list[bytes]:
    """The rows of a PNG each of whose bytes is kept less that of the pixel before."""
    at, packed = 8, b""
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        if png[at + 4 : at + 8] == b"IDAT":
            packed += png[at + 8 : at + 8 + length]
        at += 12 + length
    data, rows = zlib.decompress(packed), []
    for start in range(0, len(data), line + 1):
        assert data[start] == 1
        row = bytearray(data[start + 1 : start + 1 + line])
        for place in range(pixel, line):
            row[place] = (row[place] + row[place - pixel]) & 255
        rows.append(bytes(row))
    return rows


async def test_sixteen_bits_of_colour_come_back(bench: Bench) -> None:
    data, rows = deep_png(96, 80)
    _, image = await bench.result(data, ImageFormat.PNG, (96, 80))
    found = rows_of((bench.directory / "result").read_bytes(), 6 * image.width, 6)

    for y in range(SEAM, 80 - SEAM):
        start = 6 * (AROUND.left + SEAM)
        assert found[y + AROUND.top][start : start + 6 * (96 - 2 * SEAM)] == rows[y][6 * SEAM : -6 * SEAM]


async def test_sixteen_bits_of_colour_become_a_tiff(bench: Bench) -> None:
    data, _ = deep_png(96, 80)
    _, image = await bench.result(data, ImageFormat.PNG, (96, 80), rules=ResultRules(format=ResultFormat.TIFF))
    with Image.open(bench.directory / "original") as original:
        original.load()

        assert image.tag_v2[258] == (16, 16, 16)  # type: ignore[attr-defined]  # of a TIFF alone
        assert same(image, original, AROUND), "the high bytes, which Pillow reads"


@pytest.mark.parametrize(
    "offsets",
    [
        Offsets(left=-20, right=30, top=-5, bottom=-17),
        Offsets(top=40, bottom=-90),
        Offsets(left=60, right=-200),
        Offsets(left=10),
    ],
)
@pytest.mark.parametrize("size", [(240, 160), (4300, 120)], ids=["as it was", "reduced"])
async def test_cropped_sides_and_those_left_alone_have_no_seam(
    bench: Bench, offsets: Offsets, size: tuple[int, int]
) -> None:
    original = textured(*size)
    _, image = await bench.result(encoded(original, "tiff"), ImageFormat.TIFF, size, offsets)

    assert same(image, original, offsets)


@pytest.mark.parametrize("times", [1, 2])
async def test_the_apis_part_lies_where_it_belongs(bench: Bench, times: int) -> None:
    """The copy is smaller than the original, and the API may make it larger again: a line that leaves it goes on."""
    whole = textured(5120, 400).copy()
    whole.paste((255, 255, 255), (0, 180, 5120, 220))
    offsets = Offsets(left=100, right=110, top=50, bottom=50)
    original = whole.crop((100, 50, 5010, 350))
    (bench.directory / "original").write_bytes(encoded(original, "tiff"))
    prepared = await bench.images.prepare(bench.directory / "original", bench.directory / "copy")
    plan = bench.plan(ImageFormat.TIFF, original.size, prepared, offsets=offsets)
    asked = plan.asked.applied_to(plan.sent)
    across, down = 4910 / plan.sent.width, 300 / plan.sent.height
    # What is asked for is a little more than the canvas, and white there.
    wider = Image.new("RGB", (5140, 420), "white")
    wider.paste(whole, (10, 10))
    box = (
        110 - plan.asked.left * across,
        60 - plan.asked.top * down,
        5020 + plan.asked.right * across,
        360 + plan.asked.bottom * down,
    )
    made = wider.resize((times * asked.width, times * asked.height), Image.Resampling.LANCZOS, box=box)
    made.save(bench.directory / "made", "PNG")
    assert await bench.finish(plan)
    with Image.open(bench.directory / "result") as result:
        band = result.crop((0, 170, 90, 230)).convert("L").resize((1, 60), Image.Resampling.BOX)
        true = whole.crop((0, 170, 90, 230)).convert("L").resize((1, 60), Image.Resampling.BOX)

        assert mean(band, true) < 4
        assert same(result, original, offsets)


async def test_colours_that_are_off_are_matched_outside(bench: Bench) -> None:
    original = Image.new("RGB", (320, 240), (90, 140, 200))
    offsets = Offsets(left=64, right=64, top=64, bottom=64)
    (bench.directory / "original").write_bytes(encoded(original, "bmp"))
    prepared = await bench.images.prepare(bench.directory / "original", bench.directory / "copy")
    plan = bench.plan(ImageFormat.BMP, (320, 240), prepared, offsets=offsets)
    Image.new("RGB", (448, 368), (94, 137, 205)).save(bench.directory / "made", "PNG")
    assert await bench.finish(plan)

    with Image.open(bench.directory / "result") as result:
        assert max(ImageStat.Stat(result).stddev) < 1


async def test_transparency_comes_back_and_is_white_in_a_jpeg(bench: Bench) -> None:
    original = textured(240, 160, mode="RGBA").copy()
    original.paste((10, 20, 30, 0), (60, 60, 120, 120))
    data = encoded(original, "png")
    rules = ResultRules(pixels=Pixels.ORIGINAL)
    _, image = await bench.result(data, ImageFormat.PNG, (240, 160), rules=rules)
    assert same(image, original, AROUND)
    assert max(image.crop((0, 0, 10, 10)).getextrema()) == (255, 255), "the API's part is opaque"

    rules = ResultRules(pixels=Pixels.ORIGINAL, format=ResultFormat.JPEG)
    _, image = await bench.result(data, ImageFormat.PNG, (240, 160), rules=rules)
    assert min(image.getpixel((90 + AROUND.left, 90 + AROUND.top))) > 245  # type: ignore[arg-type]  # a pixel of three channels


async def test_without_the_originals_pixels_all_is_the_apis(bench: Bench) -> None:
    original = textured(4300, 80)
    rules = ResultRules(pixels=Pixels.API)
    _, image = await bench.result(encoded(original, "tiff"), ImageFormat.TIFF, original.size, rules=rules, shift=20)
    one, other = inside(image, original, AROUND)

    assert mean(one, other) > 10


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
async def test_metadata_alone_leaves_every_pixel_as_the_api_made_it(bench: Bench, name: str) -> None:
    exif = Image.Exif()
    exif[271] = "A camera"
    (bench.directory / "original").write_bytes(encoded(textured(240, 160), "jpeg", exif=exif, dpi=(300, 300)))
    made = encoded(textured(291, 213, seed=2), name)
    (bench.directory / "made").write_bytes(made)
    plan = bench.plan(ImageFormat.JPEG, (240, 160), made=ImageFormat(name))

    assert not plan.canvas
    assert await bench.finish(plan)
    with Image.open(bench.directory / "result") as result, Image.open(bench.directory / "made") as api:
        assert result.tobytes() == api.tobytes()
        assert result.getexif()[271] == "A camera"
    assert isinstance(await bench.images.inspect_result(bench.directory / "result"), Valid)


async def test_where_nothing_is_to_be_added_nothing_is_written(bench: Bench) -> None:
    (bench.directory / "original").write_bytes(encoded(textured(240, 160), "png"))
    (bench.directory / "made").write_bytes(encoded(textured(291, 213), "png"))

    assert not await bench.finish(bench.plan(ImageFormat.PNG, (240, 160)))
    assert sorted(path.name for path in bench.directory.iterdir()) == ["made", "original"]


@pytest.mark.parametrize("wanted", [ResultFormat.JPEG, ResultFormat.PNG, ResultFormat.WEBP, ResultFormat.TIFF])
async def test_finishing_again_gives_the_same_bytes(bench: Bench, wanted: ResultFormat) -> None:
    rules = ResultRules(format=wanted)
    plan, _ = await bench.result(encoded(textured(240, 160), "tiff"), ImageFormat.TIFF, (240, 160), rules=rules)
    first = (bench.directory / "result").read_bytes()
    async with PillowImages() as others:
        assert await Bench(others, bench.directory).finish(plan)

    assert (bench.directory / "result").read_bytes() == first


async def test_what_cannot_be_made_is_a_fault_and_leaves_nothing(bench: Bench) -> None:
    plan, _ = await bench.result(encoded(textured(240, 160), "tiff"), ImageFormat.TIFF, (240, 160))
    (bench.directory / "result").unlink()
    (bench.directory / "made").write_bytes((bench.directory / "made").read_bytes()[:-50])
    with pytest.raises(FileFault):
        await bench.finish(plan)

    assert sorted(path.name for path in bench.directory.iterdir()) == ["copy", "made", "original"]


async def test_a_side_that_webp_does_not_have_makes_a_png(bench: Bench) -> None:
    rules = ResultRules(format=ResultFormat.WEBP)
    source = encoded(textured(240, 160), "tiff")
    _, result = await bench.result(source, ImageFormat.TIFF, (240, 160), Offsets(right=16_200), rules)
    assert (result.format, result.size) == ("PNG", (16_440, 160))
