"""Proves that metadata goes from file to file whole, is read by others, and that no pixel changes for it."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from expandd.adapters.images.exif import MOST, PREFIX, normalised, resolution_of
from expandd.adapters.images.metadata import Metadata, fitted, gathered, photoshop_block, read, stripped
from expandd.adapters.images.metadata_adding import added
from expandd.domain.image import ImageFormat, Size
from tests.support.examples import EVERY_DAY, MORE, examples
from tests.support.images import an_image, chunk, converted, drawing, encoded

SIZE = Size(96, 80)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    b' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmp:Rating="4" tiff:Orientation="6"'
    b' photoshop:City="Genoa">%s</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
MAKER_NOTE = b"ACME\0"


def record(dataset: int, text: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, dataset, len(text)) + text


IPTC = record(0, b"\0\2") + record(25, b"lighthouse") + record(80, b"A. Photographer")


def an_exif(order: str = "<", *, orientation: int = 6, thumbnail: bool = True) -> bytes:
    """A block as cameras write it: a maker note that holds an absolute offset, and a thumbnail behind all else."""
    pack = struct.pack
    data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + pack(order + "I", 8))

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        if kind == 3:
            return pack(order + "HHIHxx", tag, kind, count, value)
        return pack(order + "HHII", tag, kind, count, value)

    at = {"make": 200, "x": 210, "exif": 220, "note": 300, "far": 340, "ifd1": 364, "thumbnail": 424}
    ifd0 = [
        entry(256, 4, 1, 4000),
        entry(271, 2, 7, at["make"]),
        entry(274, 3, 1, orientation),
        entry(282, 5, 1, at["x"]),
        entry(283, 5, 1, at["x"]),
        entry(296, 3, 1, 2),
        entry(34665, 4, 1, at["exif"]),
    ]
    exif = [entry(37500, 7, 20, at["note"]), entry(40962, 4, 1, 4000), entry(40963, 3, 1, 3000)]
    small = encoded(drawing(16, 16), "jpeg")
    ifd1 = [entry(513, 4, 1, at["thumbnail"]), entry(514, 4, 1, len(small))]

    def put(place: int, content: bytes) -> None:
        data.extend(bytes(max(0, place + len(content) - len(data))))
        data[place : place + len(content)] = content

    following = pack(order + "I", at["ifd1"] if thumbnail else 0)
    put(8, pack(order + "H", len(ifd0)) + b"".join(ifd0) + following)
    put(at["make"], b"Magica\0")
    put(at["x"], pack(order + "II", 300, 1))
    put(at["exif"], pack(order + "H", len(exif)) + b"".join(exif) + bytes(4))
    put(at["note"], MAKER_NOTE + pack(order + "I", at["far"]) + b"a note by ACME"[:11])
    put(at["far"], b"what the note points at")
    if thumbnail:
        put(at["ifd1"], pack(order + "H", len(ifd1)) + b"".join(ifd1) + bytes(4))
        put(at["thumbnail"], small)
    return bytes(data)


ALL = Metadata(
    exif=normalised(an_exif(), SIZE),
    xmp=XMP % b"",
    iptc=IPTC,
    icc=SRGB,
    dpi=(Fraction(300), Fraction(300)),
)
FORMATS = ("jpeg", "png", "webp")


def put_in(data: bytes, metadata: Metadata, image_format: ImageFormat) -> bytes:
    out = io.BytesIO()
    return out.getvalue() if added(io.BytesIO(data), image_format, metadata, out) else data


def found_in(data: bytes, image_format: ImageFormat) -> Metadata:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        return read(file, image_format)


def same_pixels(one: bytes, other: bytes) -> bool:
    with Image.open(io.BytesIO(one)) as before, Image.open(io.BytesIO(other)) as after:
        before.load()
        after.load()
        return (before.mode, before.size, before.tobytes()) == (after.mode, after.size, after.tobytes())


def complaints(facts: dict[str, Any]) -> list[str]:
    said = [str(value) for name, value in facts.items() if name.endswith("Warning")]
    return [text for text in said if text != "[minor] Unrecognized MakerNotes"]


Tool = Callable[[bytes, str], Any]


def require(program: str, package: str) -> None:
    if not shutil.which(program) and "EXPANDD_CI" not in os.environ:
        pytest.skip(f"{program} is not installed; the package {package} has it")


@pytest.fixture
def exiftool(tmp_path: Path) -> Tool:
    require("exiftool", "libimage-exiftool-perl")

    def run(data: bytes, extension: str) -> dict[str, Any]:
        path = tmp_path / f"read.{extension}"
        path.write_bytes(data)
        command = ["exiftool", "-json", "-G1", "-n", "-a", "-warning", "-all", str(path)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        facts: dict[str, Any] = json.loads(done.stdout)[0]
        return facts

    return run


@pytest.fixture
def identify(tmp_path: Path) -> Tool:
    require("identify", "imagemagick")

    def run(data: bytes, extension: str) -> str:
        path = tmp_path / f"read.{extension}"
        path.write_bytes(data)
        done = subprocess.run(["identify", "-verbose", str(path)], capture_output=True, check=True, timeout=60)
        return done.stdout.decode(errors="replace")

    return run


IMAGES = {
    "jpeg": ("jpeg", an_image("jpeg")),
    "progressive jpeg": ("jpeg", an_image("jpeg", progressive=True)),
    "png": ("png", an_image("png")),
    "png with a palette": ("png", an_image("png", mode="P")),
    "png with alpha": ("png", an_image("png", mode="RGBA")),
    "lossy webp": ("webp", an_image("webp")),
    "lossless webp": ("webp", an_image("webp", lossless=True)),
    "lossless webp with alpha": ("webp", encoded(drawing(96, 80).convert("RGBA").rotate(30), "webp", lossless=True)),
    "lossy webp with alpha": ("webp", encoded(drawing(96, 80).convert("RGBA").rotate(30), "webp")),
    "webp of odd length": ("webp", an_image("webp", 97, 81, seed=3, quality=71)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_all_metadata_goes_in_and_comes_out_and_no_pixel_changes(name: str) -> None:
    kind, data = IMAGES[name]
    image_format = ImageFormat(kind)
    result = put_in(data, ALL, image_format)
    expected = Metadata(ALL.exif, ALL.xmp, b"", ALL.icc, ALL.dpi) if kind == "webp" else ALL
    assert found_in(result, image_format) == expected
    assert same_pixels(data, result)
    assert not added(io.BytesIO(result), image_format, expected, io.BytesIO()), "a second time adds nothing"


@pytest.mark.parametrize("name", IMAGES)
def test_exiftool_reads_what_was_added(name: str, exiftool: Tool) -> None:
    kind, data = IMAGES[name]
    facts = exiftool(put_in(data, ALL, ImageFormat(kind)), kind)
    assert not complaints(facts)
    assert facts["IFD0:Make"] == "Magica"
    assert facts["IFD0:Orientation"] == 1
    assert (facts["ExifIFD:ExifImageWidth"], facts["ExifIFD:ExifImageHeight"]) == (96, 80)
    assert facts["XMP-xmp:Rating"] == 4
    assert facts["ICC-header:ColorSpaceData"] == "RGB "
    assert facts["IFD0:XResolution"] == 300
    if kind != "webp":
        assert facts["IPTC:Keywords"] == "lighthouse"
    if kind == "jpeg":
        assert (facts["JFIF:XResolution"], facts["JFIF:ResolutionUnit"]) == (300, 1)
    if kind == "png":
        assert (facts["PNG-pHYs:PixelsPerUnitX"], facts["PNG-pHYs:PixelUnits"]) == (11811, 1)


@pytest.mark.parametrize("name", IMAGES)
def test_imagemagick_reads_what_was_added(name: str, identify: Tool) -> None:
    kind, data = IMAGES[name]
    report = identify(put_in(data, ALL, ImageFormat(kind)), kind)
    assert f"Profile-icc: {len(SRGB)} bytes" in report
    # Its sixth version knows no EXIF and XMP in PNG, and takes any XMP in WEBP for damaged.
    expected = {
        "jpeg": ("Profile-xmp:", "exif:Make: Magica", "Keyword[2,25]: lighthouse", "Resolution: 300x300"),
        "png": ("Keyword[2,25]: lighthouse", "Resolution: 118.11x118.11"),
        "webp": (f"Profile-exif: {len(ALL.exif)} bytes",),
    }
    for fact in expected[kind]:
        assert fact in report


@pytest.mark.parametrize("kind", FORMATS)
def test_pillow_reads_what_was_added(kind: str) -> None:
    with Image.open(io.BytesIO(put_in(an_image(kind), ALL, ImageFormat(kind)))) as image:
        image.load()
        exif = image.getexif()
        assert image.info["icc_profile"] == SRGB
        assert image.info["xmp"] == ALL.xmp
        assert (exif[271].rstrip("\0"), exif[274]) == ("Magica", 1)
        if kind != "webp":
            assert [round(side) for side in image.info["dpi"]] == [300, 300]


def test_metadata_survives_the_way_through_all_formats() -> None:
    metadata, seen = ALL, []
    for kind in ("jpeg", "png", "jpeg", "webp", "png"):
        metadata = found_in(put_in(an_image(kind), metadata, ImageFormat(kind)), ImageFormat(kind))
        seen.append((metadata.exif, metadata.xmp, metadata.icc, metadata.dpi))
    assert seen == [(ALL.exif, ALL.xmp, ALL.icc, ALL.dpi)] * 5


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_written_when_there_is_nothing_to_add(kind: str) -> None:
    out = io.BytesIO()
    assert not added(io.BytesIO(an_image(kind)), ImageFormat(kind), Metadata(), out)
    assert out.getvalue() == b""


@pytest.mark.parametrize("kind", FORMATS)
def test_what_the_file_has_of_a_kind_stays(kind: str) -> None:
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(4)
    exif = Image.Exif()
    exif[305] = "the API"
    data = an_image(kind, icc_profile=own, exif=exif.tobytes())
    result = put_in(data, ALL, ImageFormat(kind))
    found = found_in(result, ImageFormat(kind))
    assert found.icc == own
    assert b"the API" in found.exif
    assert b"Magica" not in found.exif
    assert found.xmp == ALL.xmp
    assert same_pixels(data, result)


def test_the_resolution_that_an_encoder_wrote_gives_way_to_the_originals() -> None:
    for kind in ("jpeg", "png"):
        found = found_in(put_in(an_image(kind, dpi=(72, 72)), ALL, ImageFormat(kind)), ImageFormat(kind))
        assert found.dpi == ALL.dpi


def test_a_png_that_says_srgb_gets_no_profile_beside_it() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")
    result = put_in(an_image("png", pnginfo=info), ALL, ImageFormat.PNG)
    assert b"iCCP" not in result
    assert found_in(result, ImageFormat.PNG).exif == ALL.exif


@pytest.mark.parametrize(
    ("kind", "mode", "channels"),
    [("jpeg", "L", b"GRAY"), ("jpeg", "CMYK", b"CMYK"), ("jpeg", "RGB", b"RGB "), ("png", "LA", b"GRAY")],
)
def test_only_a_profile_of_the_images_channels_is_added(kind: str, mode: str, channels: bytes) -> None:
    data = encoded(converted(drawing(96, 80), mode), kind)
    for space in (b"GRAY", b"RGB ", b"CMYK", b"Lab "):
        icc = SRGB[:16] + space + SRGB[20:]
        result = put_in(data, Metadata(icc=icc), ImageFormat(kind))
        assert found_in(result, ImageFormat(kind)).icc == (icc if space == channels else b"")
        assert same_pixels(data, result)


def without_jfif(jpeg: bytes) -> bytes:
    assert jpeg[2:4] == b"\xff\xe0"
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6]) :]


@pytest.mark.parametrize("exif", [b"", an_exif(">"), an_exif("<")], ids=["none", "Motorola", "Intel"])
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_a_resolution_goes_into_the_exif_where_the_file_has_no_other_place(
    kind: str, exif: bytes, exiftool: Tool
) -> None:
    data = without_jfif(an_image(kind)) if kind == "jpeg" else an_image(kind)
    result = put_in(data, Metadata(exif=exif, dpi=(Fraction(240), Fraction(120))), ImageFormat(kind))
    assert found_in(result, ImageFormat(kind)).dpi == (Fraction(240), Fraction(120))
    facts = exiftool(result, kind)
    assert not complaints(facts)
    assert (facts["IFD0:XResolution"], facts["IFD0:YResolution"], facts["IFD0:ResolutionUnit"]) == (240, 120, 2)
    assert facts.get("IFD0:Make") == ("Magica" if exif else None)


def test_a_long_profile_goes_through_several_segments(exiftool: Tool) -> None:
    icc = struct.pack(">I", 200_000) + SRGB[4:] + random.Random(0).randbytes(200_000 - len(SRGB))
    result = put_in(an_image("jpeg"), Metadata(icc=icc), ImageFormat.JPEG)
    assert found_in(result, ImageFormat.JPEG).icc == icc
    with Image.open(io.BytesIO(result)) as image:
        assert image.info["icc_profile"] == icc


def test_a_long_xmp_packet_goes_into_an_extension_and_comes_back_whole(exiftool: Tool) -> None:
    xmp = XMP % (b"<photoshop:History>" + b"cropped and turned " * 12_000 + b"</photoshop:History>")
    result = put_in(an_image("jpeg"), Metadata(xmp=xmp), ImageFormat.JPEG)
    facts = exiftool(result, "jpg")
    assert facts["XMP-photoshop:City"] == "Genoa"
    assert len(facts["XMP-photoshop:History"]) > 200_000
    assert not complaints(facts)
    back = found_in(result, ImageFormat.JPEG).xmp
    assert b"HasExtendedXMP" not in back
    facts = exiftool(put_in(an_image("png"), Metadata(xmp=back), ImageFormat.PNG), "png")
    assert facts["XMP-photoshop:City"] == "Genoa"
    assert len(facts["XMP-photoshop:History"]) > 200_000


def test_an_exif_block_too_long_for_a_jpeg_loses_its_longest_values_alone(exiftool: Tool) -> None:
    exif = bytearray(an_exif())
    note = exif.index(struct.pack("<HHI", 37500, 7, 20))
    struct.pack_into("<HHII", exif, note, 37500, 7, 80_000, len(exif))
    long = bytes(exif) + b"x" * 80_000
    assert found_in(put_in(an_image("png"), Metadata(exif=long), ImageFormat.PNG), ImageFormat.PNG).exif == long
    facts = exiftool(put_in(an_image("jpeg"), Metadata(exif=long), ImageFormat.JPEG), "jpg")
    assert not complaints(facts)
    assert (facts["IFD0:Make"], facts["ExifIFD:ExifImageWidth"]) == ("Magica", 4000)


def test_stripping_leaves_what_the_pixels_need() -> None:
    assert stripped(ALL) == Metadata(icc=SRGB, dpi=ALL.dpi)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_normalised_in_place(order: str, exiftool: Tool) -> None:
    exif = an_exif(order)
    result = normalised(exif, Size(5000, 4500))
    assert result == result[:340] + b"what the note points at\0", "the thumbnail at the end is cut off"
    changed = {at for at, (old, new) in enumerate(zip(exif, result, strict=False)) if old != new}
    # Width and orientation in the first directory, its pointer to the thumbnail, and the two sides.
    fields = [range(10, 22), range(34, 46), range(94, 98), range(234, 258)]
    assert changed <= {at for span in fields for at in span}
    note = result.index(MAKER_NOTE)
    (far,) = struct.unpack_from(order + "I", result, note + len(MAKER_NOTE))
    assert result[far:].startswith(b"what the note points at")
    facts = exiftool(put_in(an_image("jpeg"), Metadata(exif=result), ImageFormat.JPEG), "jpg")
    assert (facts["IFD0:Orientation"], facts["IFD0:ImageWidth"]) == (1, 5000)
    assert (facts["ExifIFD:ExifImageWidth"], facts["ExifIFD:ExifImageHeight"]) == (5000, 4500)
    assert not [fact for fact in facts if "Thumbnail" in fact]


def test_a_thumbnail_before_other_values_is_blanked_where_it_lies() -> None:
    exif = an_exif() + b"after"
    pointer = exif.index(b"Magica\0")
    moved = exif.replace(struct.pack("<HHII", 271, 2, 7, pointer), struct.pack("<HHII", 271, 2, 5, len(exif) - 5))
    result = normalised(moved, SIZE)
    assert len(result) == len(moved)
    assert result.endswith(b"after")
    assert not any(result[364 : len(moved) - 5])


def test_a_block_whose_thumbnail_claims_the_photos_own_fields_keeps_them() -> None:
    exif = bytearray(an_exif())
    struct.pack_into("<I", exif, 364 + 2 + 8, 8)
    result = normalised(bytes(exif), SIZE)
    assert result[200:206] == b"Magica"
    assert b"what the note points at" in result


def test_exif_in_circles_and_with_endless_counts_ends() -> None:
    head = b"II*\0" + struct.pack("<I", 8)
    circle = head + struct.pack("<H", 3)
    circle += struct.pack("<HHII", 34665, 4, 1, 8) + struct.pack("<HHII", 34853, 4, 1, 8)
    circle += struct.pack("<HHII", 40965, 4, 1, 8) + struct.pack("<I", 8)
    assert normalised(circle, SIZE)
    endless = head + struct.pack("<H", 2)
    endless += struct.pack("<HHII", 271, 2, 2**32 - 1, 8) + struct.pack("<HHII", 34665, 4, 2**32 - 1, 2**32 - 1)
    assert normalised(endless + bytes(4), SIZE)
    assert found_in(endless + bytes(4), ImageFormat.TIFF).exif == b""
    assert found_in(circle, ImageFormat.TIFF) == Metadata()
    assert normalised(head + b"\xff\xff" + bytes(65535 * 12), SIZE) == b""
    assert normalised(an_exif() + bytes(MOST), SIZE) == b""


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"Exif\0\0", b"MM\0*\xff\xff\xff\xff", b"II+\0" + bytes(20), b"x" * 99]
)
def test_damaged_exif_is_none(data: bytes) -> None:
    assert normalised(data, SIZE) == b""
    assert gathered(exif=data) == Metadata()


def test_xmp_says_what_holds_for_the_upright_image() -> None:
    body = b"<exif:PixelXDimension>40</exif:PixelXDimension><tiff:ImageLength>30</tiff:ImageLength>"
    body += b"<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>"
    found = fitted(Metadata(xmp=XMP % body), Size(500, 400)).xmp
    expected = b"<exif:PixelXDimension>500</exif:PixelXDimension><tiff:ImageLength>400</tiff:ImageLength>"
    assert found == (XMP % expected).replace(b'tiff:Orientation="6"', b'tiff:Orientation="1"')


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
def test_a_tiff_gives_all_it_has(compression: str, big: bool, exiftool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    drawing(96, 80).save(path, "TIFF", compression=compression, big_tiff=big, icc_profile=SRGB, dpi=(300, 300))
    (tmp_path / "a.xmp").write_bytes(ALL.xmp)
    facts = ["-Make=Magica", "-Artist=A. Photographer", "-FocalLength=35", "-GPSLatitude=44.4", "-Keywords=lighthouse"]
    command = ["exiftool", "-q", *facts, f"-xmp<={tmp_path / 'a.xmp'}", str(path)]
    subprocess.run(command, check=True, timeout=60)
    data = path.read_bytes()
    found = found_in(data, ImageFormat.TIFF)
    assert (found.icc, found.dpi) == (SRGB, ALL.dpi)
    facts = exiftool(put_in(an_image("jpeg"), found, ImageFormat.JPEG), "jpg")
    assert not complaints(facts)
    assert (facts["IFD0:Make"], facts["IFD0:Artist"]) == ("Magica", "A. Photographer")
    assert facts["ExifIFD:FocalLength"] == 35
    assert facts["GPS:GPSLatitude"] == 44.4
    assert (facts["IPTC:Keywords"], facts["XMP-photoshop:City"]) == ("lighthouse", "Genoa")
    assert "IFD0:StripOffsets" not in facts


def test_a_bmp_gives_its_resolution() -> None:
    assert found_in(encoded(drawing(96, 80), "bmp", dpi=(300, 300)), ImageFormat.BMP).dpi == ALL.dpi


def test_an_avif_gives_all_it_has() -> None:
    data = encoded(drawing(96, 80), "avif", exif=PREFIX + ALL.exif, xmp=ALL.xmp, icc_profile=SRGB)
    found = found_in(data, ImageFormat.AVIF)
    assert (found.xmp, found.icc, found.dpi) == (ALL.xmp, SRGB, ALL.dpi)
    assert b"Magica\0" in found.exif


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def test_a_jp2_gives_all_it_has() -> None:
    resolution = box(b"res ", box(b"resc", struct.pack(">HHHHbb", 11811, 1, 11811, 1, 0, 0)))
    data = box(b"jP  ", b"\r\n\x87\n") + box(b"jp2h", box(b"colr", b"\2\0\0" + SRGB) + resolution)
    data += box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + ALL.xmp)
    data += box(b"uuid", b"JpgTiffExif->JP2" + ALL.exif) + box(b"jp2c", b"\xff\x4f")
    assert found_in(data, ImageFormat.JPEG2000) == Metadata(ALL.exif, ALL.xmp, b"", SRGB, ALL.dpi)


def test_boxes_of_a_jp2_are_counted_over_all_levels() -> None:
    header = box(b"jp2h", box(b"res ", box(b"free", b"") * 100) * 50)
    xmp = box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + ALL.xmp)

    assert found_in(header + xmp, ImageFormat.JPEG2000).xmp == b""
    assert found_in(xmp, ImageFormat.JPEG2000).xmp == ALL.xmp


def test_profiles_that_imagemagick_hides_in_texts_are_found(tmp_path: Path) -> None:
    require("convert", "imagemagick")
    (tmp_path / "a.jpg").write_bytes(put_in(an_image("jpeg"), ALL, ImageFormat.JPEG))
    command = ["convert", str(tmp_path / "a.jpg"), f"png:{tmp_path / 'a.png'}"]
    subprocess.run(command, check=True, timeout=60)
    found = found_in((tmp_path / "a.png").read_bytes(), ImageFormat.PNG)
    assert found.iptc == IPTC
    assert found.xmp == ALL.xmp
    assert b"Magica\0" in found.exif


def test_a_profile_in_a_text_is_found_with_rubbish_behind_it() -> None:
    text = b"\nxmp\n%8d\n%s\n}}\xd1\1" % (len(ALL.xmp), ALL.xmp.hex().encode())
    packed = chunk(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(text))
    data = an_image("png")

    assert found_in(data[:33] + packed + data[33:], ImageFormat.PNG).xmp == ALL.xmp


def test_profiles_packed_to_burst_are_left_out() -> None:
    bomb = zlib.compress(bytes(65 << 20))
    header = an_image("png")[: 8 + 25]
    data = header + chunk(b"iCCP", b"x\0\0" + bomb) + chunk(b"zTXt", b"Raw profile type xmp\0\0" + bomb)
    assert found_in(data + chunk(b"IDAT", b"") + chunk(b"IEND", b""), ImageFormat.PNG) == Metadata()


def test_a_jpeg_of_photoshops_resources_gives_its_records() -> None:
    block = b"8BIM\x03\xed\0\0" + struct.pack(">I", 3) + b"abc\0" + b"8BIM\x04\x0c\3abc" + struct.pack(">I", 0)
    body = b"Photoshop 3.0\0" + block + photoshop_block(IPTC)
    data = an_image("jpeg")
    data = data[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + data[2:]
    assert found_in(data, ImageFormat.JPEG).iptc == IPTC
    assert put_in(data, Metadata(iptc=record(80, b"another")), ImageFormat.JPEG) == data


WHOLE = {kind: put_in(an_image(kind), ALL, ImageFormat(kind)) for kind in FORMATS} | {
    "tiff": encoded(drawing(96, 80), "tiff", icc_profile=SRGB, exif=PREFIX + ALL.exif),
    "avif": encoded(drawing(96, 80), "avif", exif=PREFIX + ALL.exif, xmp=ALL.xmp, icc_profile=SRGB),
    "bmp": encoded(drawing(96, 80), "bmp"),
}


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=examples(EVERY_DAY), deadline=10_000)
@given(
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.integers(1, 4)), max_size=12),
    cut=st.floats(0, 1),
)
def test_damage_neither_raises_nor_hangs(kind: str, damage: list[tuple[float, int, int]], cut: float) -> None:
    data = bytearray(WHOLE[kind])
    for place, value, length in damage:
        # Three in four where the metadata is: at the beginning.
        at = int(place * min(len(data), 6000))
        data[at : at + length] = bytes((value,)) * len(data[at : at + length])
    hostile = bytes(data[: len(data) - int(cut**4 * len(data))])
    found = found_in(hostile, ImageFormat(kind))
    fitted(found, SIZE)
    for target in FORMATS:
        put_in(an_image(target), found, ImageFormat(target))
    if kind in FORMATS:
        put_in(hostile, ALL, ImageFormat(kind))


@settings(max_examples=examples(MORE), deadline=10_000)
@given(damage=st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=4)), min_size=1, max_size=10))
def test_damaged_exif_is_normalised_or_none(damage: list[tuple[int, bytes]]) -> None:
    exif = bytearray(an_exif())
    for at, content in damage:
        exif[at : at + len(content)] = content
    result = normalised(bytes(exif), SIZE)
    assert len(result) <= len(exif)
    if result:
        assert normalised(result, SIZE) == result
    resolution_of(bytes(exif))
