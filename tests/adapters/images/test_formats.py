"""Proves that every other format is told, and that nothing cut off, endless or raw passes for an image."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.adapters.images.formats.common import Structure
from expandd.adapters.images.structure import structure_of
from expandd.domain.errors import FaultCode
from expandd.domain.image import ImageFormat, Incomplete, Invalid, Size
from tests.support.format_files import PAGE, Tags, bmp, box, codestream, heif, tiff
from tests.support.images import an_image, animated, drawing, encoded

TWO = {"save_all": True, "append_images": [drawing(70, 70)]}

ONE = {
    **{f"tiff, {name}": an_image("tiff", compression=name) for name in (None, "tiff_lzw", "tiff_deflate", "jpeg")},
    "tiff, big": an_image("tiff", big_tiff=True),
    **{f"tiff, {order}": tiff(PAGE, order=order) for order in "<>"},
    **{f"tiff, big, {order}": tiff(PAGE, order=order, big=True) for order in "<>"},
    "bmp": an_image("bmp"),
    "bmp, palette": an_image("bmp", mode="P"),
    **{f"bmp, header of {header}": bmp(header=header) for header in (12, 40, 52, 56, 64, 108, 124)},
    "bmp, topmost row first": bmp(height=-80),
    "bmp that does not say its length": bmp(length=0),
    "bmp that says too much": bmp(length=1 << 30),
    "gif": an_image("gif"),
    "avif": an_image("avif"),
    "avif by hand": heif(b"avif", b"av01"),
    "heic": heif(),
    "heic of tiles": heif(kind=b"grid"),
    "heic with a trailer of a phone": heif(behind=b"\0\0\0\1\0\0\0\0trailer"),
    "heic with zeros behind": heif(behind=bytes(50)),
    "jpeg 2000": an_image("jpeg2000"),
    "jpeg 2000, tiles": an_image("jpeg2000", tile_size=(32, 32)),
    "jpeg 2000, codestream": an_image("jpeg2000", no_jp2=True),
    "jpeg 2000 of parts": codestream(96, 80, parts=(20, 30, 0)),
}
SEVERAL = {
    "tiff, pages": encoded(drawing(96, 80), "tiff", **TWO),
    "tiff, lzw pages": encoded(drawing(96, 80), "tiff", compression="tiff_lzw", **TWO),
    "tiff, big, pages": tiff(PAGE, PAGE, PAGE, big=True),
    "gif, frames": animated("gif"),
    "avif, frames": animated("avif"),
    "heic, film": heif(behind=box(b"moov")),
}
FORMATS = {"tiff": "TIFF", "bmp": "BMP", "gif": "GIF", "avif": "AVIF", "heic": "HEIC", "jpeg": "JPEG2000"}


def format_of(name: str) -> ImageFormat:
    return ImageFormat[FORMATS[name.partition(" ")[0].strip(",")]]


def unfinished(data: bytes) -> bool:
    found = structure_of(data)
    return isinstance(found, Incomplete) and found.fault.code is FaultCode.NOT_WHOLE


@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
def test_a_whole_file_shows_its_format_its_size_and_whether_more_images_follow(name: str) -> None:
    data = (ONE | SEVERAL)[name]
    assert structure_of(data) == Structure(format_of(name), Size(96, 80), several=name in SEVERAL)


# What lies behind the pixels of these takes nothing from them.
PADDED = {"heic with a trailer of a phone", "heic with zeros behind", "tiff, pages", "tiff, lzw pages", "heic, film"}


@pytest.mark.parametrize("name", [name for name in ONE | SEVERAL if name not in PADDED])
def test_a_file_that_ends_anywhere_before_its_end_is_unfinished(name: str) -> None:
    data = (ONE | SEVERAL)[name]
    step = max(1, len(data) // 3000)
    cuts = {*range(1, len(data), step), *range(1, min(400, len(data))), len(data) - 1}
    assert [cut for cut in cuts if not unfinished(data[:cut])] == []


@pytest.mark.parametrize("name", [name for name in ONE | SEVERAL if "palette" not in name and "hand" not in name])
def test_a_reserved_file_of_which_little_has_arrived_is_unfinished(name: str) -> None:
    data = (ONE | SEVERAL)[name]
    for cut in range(1, len(data) // 4, max(1, len(data) // 800)):
        found = structure_of(data[:cut].ljust(len(data) + 4096, b"\0"))
        assert isinstance(found, Incomplete), cut


class TestTiff:
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("big", [False, True])
    def test_pages_that_name_each_other_in_a_circle_end_where_they_began(self, order: str, big: bool) -> None:
        whole = tiff(PAGE, PAGE, order=order, big=big)
        first = struct.unpack_from(order + ("Q" if big else "I"), whole, 8 if big else 4)[0]
        circle = tiff(PAGE, PAGE, order=order, big=big, following=(0, first))
        assert structure_of(circle) == Structure(ImageFormat.TIFF, Size(96, 80), several=True)
        assert not structure_of(tiff(PAGE, order=order, big=big, following=(first,))).several  # type: ignore[union-attr]  # a TIFF has a structure

    def test_a_small_preview_or_a_mask_that_follows_is_no_page(self) -> None:
        for kind in (1, 4):
            found = structure_of(tiff(PAGE, {**PAGE, 254: kind}))
            assert found == Structure(ImageFormat.TIFF, Size(96, 80))

    def test_a_preview_that_comes_first_is_not_taken_for_the_image(self) -> None:
        found = structure_of(tiff({**PAGE, 254: 1}, PAGE))
        assert isinstance(found, Invalid)
        assert "preview" in found.fault.message

    @pytest.mark.parametrize(
        "page",
        [
            {**PAGE, 273: 1 << 31, 279: 10},
            {**PAGE, 273: 8, 279: (1 << 32) - 1},
            {**PAGE, 273: 8, 279: 0},
            {**PAGE, 273: 0, 279: 10},
            {**PAGE, 273: (8, 8), 279: 10},
            {**PAGE, 324: (8, 1 << 30), 325: (8, 8), 322: 64, 323: 64},
            {**PAGE, 256: 0},
            {256: 96, 257: 80, 273: b"text that is no number"},
        ],
    )
    def test_pieces_that_are_not_in_the_file_are_missing(self, page: Tags) -> None:
        assert unfinished(tiff(page))

    @pytest.mark.parametrize(
        ("page", "name"),
        [
            ({**PAGE, 50706: 0x0401}, "a camera raw file (DNG)"),
            ({**PAGE, 262: 32803, 271: b"PENTAX Corporation\0"}, "a camera raw file (Pentax PEF)"),
            ({**PAGE, 262: 34892}, "a camera raw file"),
            ({**PAGE, 259: 32767, 271: b"SONY\0\0\0\0"}, "a camera raw file (Sony ARW)"),
        ],
    )
    def test_the_pixels_of_a_sensor_are_said_to_be_a_camera_raw_file(self, page: Tags, name: str) -> None:
        found = structure_of(tiff(page))
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.UNSUPPORTED_TYPE
        assert f"This is {name};" in found.fault.message

    def test_they_are_seen_below_a_preview_too(self) -> None:
        raw = {**PAGE, 262: 32803}
        sensor = struct.unpack_from("<I", tiff(raw), 4)[0]
        # Both begin alike, so that the second directory of the longer one is where the shorter one's lies.
        both = tiff(raw, {**PAGE, 254: 1, 271: b"NIKON CORPORATION\0", 330: sensor})
        (second,) = struct.unpack_from("<I", both, both.index(struct.pack("<HHII", 278, 4, 1, 80)) + 24)
        found = structure_of(both[:4] + struct.pack("<I", second) + both[8:])
        assert isinstance(found, Invalid)
        assert "(Nikon NEF)" in found.fault.message

    @pytest.mark.parametrize("behind", [b"CR\2\0", b"IIII"])
    def test_what_makers_write_behind_the_header_is_known(self, behind: bytes) -> None:
        found = structure_of(b"II*\0\x10\0\0\0" + behind + bytes(60))
        assert isinstance(found, Invalid)
        assert "camera raw" in found.fault.message

    def test_directories_without_end_are_refused_within_seconds(self) -> None:
        size = 4 << 20
        many = b"".join(struct.pack("<HI", 0, 8 + 6 * number) for number in range(1, size // 6))
        entries = struct.pack("<HHII", 900, 1, 1, 0) * 60_000
        overlapping = b"".join(struct.pack("<H", 60_000) + entries[:720_000] for _ in range(5))
        started = time.monotonic()
        assert not isinstance(structure_of(b"II*\0\x08\0\0\0" + many), Structure)
        found = structure_of(b"II*\0\x08\0\0\0" + overlapping)
        assert isinstance(found, Invalid)
        assert "directories or pieces without end" in found.fault.message
        assert time.monotonic() - started < 10

    def test_millions_of_pieces_are_refused(self) -> None:
        pieces = 1_200_000
        found = structure_of(tiff({**PAGE, 273: (8,) * pieces, 279: (8,) * pieces}))
        assert isinstance(found, Invalid)


class TestHeif:
    @pytest.mark.parametrize(
        ("brand", "image_format"),
        [(b"heic", ImageFormat.HEIC), (b"heix", ImageFormat.HEIC), (b"avif", ImageFormat.AVIF)],
    )
    def test_the_brands_tell_the_format_also_where_a_general_one_comes_first(
        self, brand: bytes, image_format: ImageFormat
    ) -> None:
        data = heif(brand, b"grid")
        for first in (brand, b"mif1", b"msf1"):
            assert structure_of(data[:8] + first + data[12:]) == Structure(image_format, Size(96, 80))

    @pytest.mark.parametrize("length", [201, 1 << 31, (1 << 32) - 1])
    def test_an_item_that_is_not_in_the_file_is_missing(self, length: int) -> None:
        assert unfinished(heif(length=length))

    @pytest.mark.parametrize(("brand", "kind"), [(b"heic", b"hvc1"), (b"avif", b"av01")])
    def test_an_item_that_was_never_written_is_missing(self, brand: bytes, kind: bytes) -> None:
        assert unfinished(heif(brand, kind, content=b"\0\0\0\x20" + bytes(range(1, 30)) + bytes(4000)))

    def test_parts_that_lie_on_one_another_are_refused(self) -> None:
        data = heif(extents=3, content=bytes(range(1, 250)) * 40)
        found = structure_of(data)
        assert isinstance(found, Invalid)
        assert "lists without end" in found.fault.message

    def test_a_list_that_announces_more_than_it_has_is_cut_off(self) -> None:
        assert unfinished(heif(extents=3000))

    def test_a_sequence_without_a_still_image_is_said(self) -> None:
        found = structure_of(box(b"ftyp", b"hevc", bytes(4), b"hevc") + box(b"moov") + box(b"mdat", bytes(9)))
        assert isinstance(found, Invalid)
        assert "sequence" in found.fault.message

    def test_an_item_of_another_coding_is_said(self) -> None:
        found = structure_of(heif(b"mif1", b"unci"))
        assert isinstance(found, Invalid)
        assert "(unci)" in found.fault.message


class TestBmp:
    def test_a_kind_that_no_decoder_reads_is_said(self) -> None:
        found = structure_of(bmp(packing=4))
        assert isinstance(found, Invalid)
        assert "packing 4" in found.fault.message

    def test_rows_beyond_the_end_are_missing_and_nothing_is_allocated(self) -> None:
        assert unfinished(bmp()[:18] + struct.pack("<2i", (1 << 31) - 1, 1 - (1 << 31)) + bmp()[26:])


class TestGif:
    def test_an_image_that_is_larger_than_its_screen_counts(self) -> None:
        data = an_image("gif")
        assert structure_of(data[:6] + struct.pack("<2H", 10, 0) + data[10:]) == structure_of(data)

    def test_blocks_without_end_are_refused(self) -> None:
        data = an_image("gif")
        found = structure_of(data[:-1] + (b"!\xfe" + b"\1x" * 200 + b"\0") * 4000 + data[-1:])
        assert isinstance(found, Invalid)
        assert "blocks without end" in found.fault.message


class TestJpeg2000:
    def test_parts_without_end_are_refused(self) -> None:
        found = structure_of(codestream(96, 80, parts=(14,) * 20_000))
        assert isinstance(found, Invalid)
        assert "parts without end" in found.fault.message

    @pytest.mark.parametrize("parts", [(1,), (13,), ((1 << 32) - 1,)])
    def test_a_part_that_leads_nowhere_is_cut_off(self, parts: tuple[int, ...]) -> None:
        data = codestream(96, 80)
        at = data.index(b"\xff\x90") + 6
        assert unfinished(data[:at] + struct.pack(">I", parts[0]) + data[at + 4 :])

    def test_a_film_is_said(self) -> None:
        data = an_image("jpeg2000")
        found = structure_of(data.replace(b"ftypjp2 ", b"ftypmjp2"))
        assert isinstance(found, Invalid)
        assert "film" in found.fault.message

    def test_more_codestreams_than_one_are_several_images(self) -> None:
        data = an_image("jpeg2000")
        more = data + box(b"jp2c", codestream(10, 10))
        assert structure_of(more) == Structure(ImageFormat.JPEG2000, Size(96, 80), several=True)


@pytest.mark.parametrize(
    "start", [b"I", b"II*", b"MM\0+", b"\0\0\0\x18", b"\0\0\0\x18ft", b"\0\0\0\x18ftyphe", b"BM", b"GIF8", b"\xff\x4f"]
)
def test_the_first_bytes_of_a_format_with_nothing_or_zeros_behind_are_unfinished(start: bytes) -> None:
    assert unfinished(start)
    assert unfinished(start + bytes(5000))


@given(
    st.sampled_from([*ONE.values(), *SEVERAL.values()]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=8),
    st.booleans(),
)
def test_whatever_is_damaged_there_is_a_finding_at_once(
    data: bytes, damage: list[tuple[float, bytes]], head: bool
) -> None:
    damaged = bytearray(data)
    for place, new in damage:
        at = int(place * min(len(data), 300 if head else len(data)))
        damaged[at : at + len(new)] = new
    assert isinstance(structure_of(bytes(damaged)), Structure | Incomplete | Invalid)
