"""Proves that a file's own end is found, and that nothing unfinished or foreign passes for an image."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.adapters.images.foreign_types import HEAD, foreign
from expandd.adapters.images.formats.common import Structure
from expandd.adapters.images.structure import structure_of
from expandd.domain.errors import FaultCode
from expandd.domain.image import ImageFormat, Incomplete, Invalid, Size
from tests.support.images import an_image, animated, chunk, drawing, encoded, png_claiming

FORMATS = ("jpeg", "png", "webp")


def code_of(data: bytes) -> FaultCode | None:
    found = structure_of(data)
    return None if isinstance(found, Structure) else found.fault.code


def unfinished(data: bytes) -> bool:
    found = structure_of(data)
    return isinstance(found, Incomplete) and found.fault.code in {FaultCode.NOT_WHOLE, FaultCode.EMPTY}


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (96, 80), (64, 4096), (701, 303)])
def test_a_whole_file_shows_its_format_and_its_size(name: str, size: tuple[int, int]) -> None:
    assert structure_of(an_image(name, *size)) == Structure(ImageFormat(name), Size(*size))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_every_kind_of_webp_shows_its_size(mode: str, lossless: bool) -> None:
    data = an_image("webp", 321, 123, mode=mode, lossless=lossless)
    assert structure_of(data) == Structure(ImageFormat.WEBP, Size(321, 123))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_ends_anywhere_before_its_end_is_unfinished(name: str) -> None:
    data = an_image(name, orientation=6)
    assert all(unfinished(data[:cut]) for cut in range(len(data)))


RESERVED = {name: an_image(name, 400, 300) for name in FORMATS} | {
    f"animated {name}": animated(name, 400, 300) for name in ("png", "webp")
}


@pytest.mark.parametrize("data", RESERVED.values(), ids=RESERVED)
def test_a_reserved_file_with_a_tail_of_zeros_is_unfinished(data: bytes) -> None:
    arrived = len(data) // 4
    assert unfinished(data[:arrived].ljust(max(len(data), 4096 + arrived), b"\0"))


def test_a_webp_of_its_full_length_with_a_tail_of_zeros_is_unfinished() -> None:
    data = an_image("webp", 400, 300, lossless=False, quality=100)
    assert unfinished(data[: len(data) - 1100] + bytes(1100))


@pytest.mark.parametrize("colour", ["black", "white", "grey", "blue"])
@pytest.mark.parametrize("side", [64, 1000])
def test_a_webp_of_one_colour_ends_in_zeros_and_is_whole(colour: str, side: int) -> None:
    flat = drawing(8, 8)
    flat.paste(colour, (0, 0, 8, 8))
    data = encoded(flat.resize((side, side)), "webp")
    assert structure_of(data) == Structure(ImageFormat.WEBP, Size(side, side))


@pytest.mark.parametrize("length", [1, 15, 16, 5000])
def test_a_file_of_zeros_is_unfinished(length: int) -> None:
    assert unfinished(bytes(length))


def test_an_empty_file_is_called_empty() -> None:
    assert code_of(b"") is FaultCode.EMPTY


@pytest.mark.parametrize("name", FORMATS)
def test_what_follows_the_end_does_not_matter(name: str) -> None:
    data = an_image(name)
    assert structure_of(data + b"appended by a camera") == structure_of(data)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image() -> None:
    thumbnail = an_image("jpeg", 64, 64)
    data = with_segment(an_image("jpeg", 200, 100), 0xE1, b"Exif\0\0" + thumbnail)
    assert structure_of(data) == Structure(ImageFormat.JPEG, Size(200, 100))
    assert all(unfinished(data[:cut]) for cut in range(len(data)))


@pytest.mark.parametrize("save", [{"progressive": True}, {"restart_marker_blocks": 1}, {"optimize": True}])
def test_scans_and_restarts_of_a_jpeg_are_walked(save: dict[str, Any]) -> None:
    data = an_image("jpeg", 200, 100, **save)
    assert structure_of(data) == Structure(ImageFormat.JPEG, Size(200, 100))
    assert all(unfinished(data[:cut]) for cut in range(len(data)))


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    data = an_image("jpeg")
    assert structure_of(data[:-2] + b"\xff\xff\xff\xd9") == structure_of(data)


def test_an_end_without_a_scan_is_no_end() -> None:
    assert unfinished(b"\xff\xd8\xff\xe0\0\x04ab\xff\xd9")


def test_a_hole_in_a_png_is_found_by_its_sums() -> None:
    data = an_image("png", 300, 300)
    assert unfinished(data[:200] + bytes(40) + data[240:])


def test_a_wrong_sum_in_a_chunk_that_decoders_ignore_is_forgiven() -> None:
    data = an_image("png")
    text = chunk(b"tEXt", b"a\0b")[:-1] + b"?"
    assert isinstance(structure_of(data[:33] + text + data[33:]), Structure)


def test_a_png_without_pixels_is_unfinished() -> None:
    data = an_image("png")
    assert unfinished(data[:33] + chunk(b"IEND", b""))


def test_what_a_header_claims_is_reported_and_not_allocated() -> None:
    assert structure_of(png_claiming(60_000, 60_000)) == Structure(ImageFormat.PNG, Size(60_000, 60_000))


EXPORT = "Export it as JPEG, PNG or TIFF and drop that."
UNPACK = "Unpack it, and drop the images that are in it."
INSTEAD = "Drop an image instead."
TAKEN = "JPEG, PNG, WEBP, HEIC, AVIF, TIFF, BMP, GIF and JPEG 2000"
FOREIGN = [
    (b"II*\0\x10\0\0\0CR\x02\0" + bytes(60), "a camera raw file (Canon CR2)", EXPORT),
    (b"FUJIFILMCCD-RAW 0201", "a camera raw file (Fujifilm RAF)", EXPORT),
    (an_image("ico"), "an icon file (ICO)", EXPORT),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "a camera raw file (Canon CR3)", EXPORT),
    (b"\0\0\0\x18ftypisom\0\0\2\0", "an MP4 video", INSTEAD),
    (b"\0\0\0\x14ftypqt  \0\0\2\0", "a QuickTime video", INSTEAD),
    (b"\x1a\x45\xdf\xa3\x01\0\0\0", "a Matroska or WebM video", INSTEAD),
    (b"RIFF\x24\0\0\0AVI LIST", "an AVI video", INSTEAD),
    (b"RIFF\x24\0\0\0WAVEfmt ", "a sound file", INSTEAD),
    (an_image("pdf"), "a PDF document", EXPORT),
    (b"8BPS\0\1" + bytes(20), "a Photoshop document", EXPORT),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript or EPS document", EXPORT),
    (b"\xff\x0a\xfa\x7f", "a JPEG XL image", EXPORT),
    (b"PK\x03\x04\x14\0", "a ZIP archive or an Office document", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\x1f\x8b\x08\0", "a gzip archive", UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", INSTEAD),
    (b"\0\x05\x16\x07\0\x02", "a helper file that macOS wrote beside an image", INSTEAD),
    (b"\x7fELF\2\1\1", "a program", INSTEAD),
    (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing", EXPORT),
    (b'<?xml version="1.0"?>\n<!-- x -->\n<svg>', "an SVG drawing", EXPORT),
    (b'<?xml version="1.0"?><note/>', "an XML document", INSTEAD),
    (b"\n<!DOCTYPE html><title>503</title>", "a web page", INSTEAD),
    (b"BMW, Audi, Opel: the price list", "a text file", INSTEAD),
    ("Grüße, нет, 写真".encode(), "a text file", INSTEAD),
    ("Grüße".encode("utf-16"), "a text file", INSTEAD),
    (("x" + "ü" * HEAD).encode(), "a text file", INSTEAD),
    (b"\x01\x02\x03\xfe\xff\xfa", "a file of an unknown type", INSTEAD),
    (b"\xff\xd8\1\2", "a file of an unknown type", INSTEAD),
]


@pytest.mark.parametrize(("data", "name", "what_to_do"), FOREIGN, ids=[row[1] for row in FOREIGN])
def test_another_type_is_named_and_the_sentence_says_what_to_do(data: bytes, name: str, what_to_do: str) -> None:
    found = structure_of(data)
    assert isinstance(found, Invalid)
    assert found.fault.code is FaultCode.UNSUPPORTED_TYPE
    assert found.fault.message == f"This is {name}; only {TAKEN} images can be expanded."
    assert found.fault.what_to_do == what_to_do


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    assert structure_of(data) is not None
    assert foreign(data).message


@given(
    st.sampled_from([an_image(name, orientation=3) for name in FORMATS]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6)), max_size=6),
)
def test_a_damaged_image_gets_an_answer(data: bytes, damage: list[tuple[float, bytes]]) -> None:
    damaged = bytearray(data)
    for place, new in damage:
        at = int(place * len(data))
        damaged[at : at + len(new)] = new
    assert structure_of(bytes(damaged)) is not None
