"""POST /expand/target."""

import hashlib
import struct
import zlib
from collections.abc import Callable

import pytest

from expandd.simulator.switches import UploadId
from tests.simulator.desk import Desk, an_image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_each_format_is_taken_by_content_whatever_the_name_says(desk: Desk, kind: str) -> None:
    answer = desk.send(an_image(kind=kind), name="anything.txt")
    assert answer.status_code == 200
    assert list(answer.json()) == ["id_image"]


def test_each_upload_gets_an_id_of_its_own_even_for_the_same_image(desk: Desk) -> None:
    assert desk.upload() != desk.upload()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP"])
def test_another_format_is_refused_with_the_vendors_error_shape(desk: Desk, kind: str) -> None:
    answer = desk.send(an_image(kind=kind))
    assert answer.status_code == 400
    assert answer.json().keys() == {"code", "message", "description"}
    assert answer.json()["code"] == 400


@pytest.mark.parametrize("size", [(63, 64), (64, 63), (4097, 64), (64, 4097)])
def test_a_side_out_of_range_is_refused_and_the_size_named(desk: Desk, size: tuple[int, int]) -> None:
    answer = desk.send(an_image(*size))
    assert answer.status_code == 400
    assert f"{size[0]}x{size[1]}" in answer.json()["description"]


@pytest.mark.parametrize("size", [(64, 64), (4096, 64), (64, 4096)])
def test_the_smallest_and_the_largest_side_are_taken(desk: Desk, size: tuple[int, int]) -> None:
    assert desk.send(an_image(*size)).status_code == 200


@pytest.mark.parametrize("side", [10000, 30000])
def test_a_bomb_of_a_png_is_refused_not_decoded(desk: Desk, side: int) -> None:
    # The header of a real PNG, made to claim a size that Pillow warns of, or refuses.
    data = bytearray(an_image())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    answer = desk.send(bytes(data))
    assert answer.status_code == 400


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_file_cut_short_is_refused(desk: Desk, kind: str) -> None:
    whole = an_image(200, 200, kind)
    assert desk.send(whole[: len(whole) // 2]).status_code == 400


def test_an_empty_file_is_refused_and_seen(desk: Desk) -> None:
    assert desk.send(b"").status_code == 400
    (seen,) = desk.server.counts().uploads
    assert (seen.size, seen.id_image) == (0, None)


def test_a_file_over_the_byte_limit_is_refused_with_413(make_desk: Callable[..., Desk]) -> None:
    data = an_image()
    desk = make_desk(max_file_bytes=len(data))
    assert desk.send(data).status_code == 200
    assert desk.send(data + b"\0").status_code == 413


def test_the_status_for_a_bad_image_is_a_switch(make_desk: Callable[..., Desk]) -> None:
    assert make_desk(bad_image_status=415).send(b"no image").status_code == 415


@pytest.mark.parametrize(
    ("switch", "keys"),
    [
        (UploadId.ID_IMAGE, ["id_image"]),
        (UploadId.IMAGE_ID, ["image_id"]),
        (UploadId.BOTH, ["id_image", "image_id"]),
        (UploadId.NEITHER, []),
    ],
)
def test_the_key_of_the_id_is_a_switch(make_desk: Callable[..., Desk], switch: UploadId, keys: list[str]) -> None:
    assert list(make_desk(upload_id=switch).send().json()) == keys


def test_the_part_must_be_called_file_and_the_wrong_name_is_seen(desk: Desk) -> None:
    answer = desk.send(part="image")
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"files": {"image": ["Unknown field."]}}
    assert desk.server.counts().uploads[0].part == "image"
    assert desk.server.counts().unknown_fields == 1


def test_a_second_part_is_refused(desk: Desk) -> None:
    files = {"file": ("a.png", an_image())}
    assert desk.api.post("/expand/target", files=files, data={"options": "{}"}).status_code == 400


def test_a_part_without_a_file_name_is_no_file(desk: Desk) -> None:
    answer = desk.api.post("/expand/target", files={"file": (None, an_image())})
    assert answer.status_code == 400
    assert "file" in answer.json()["errors"]["files"]


def test_a_body_that_is_no_multipart_is_refused(desk: Desk) -> None:
    assert desk.api.post("/expand/target", content=an_image()).status_code == 400
    broken = {"Content-Type": "multipart/form-data"}
    assert desk.api.post("/expand/target", content=b"x", headers=broken).status_code == 400


def test_without_a_token_the_upload_is_refused_with_401(desk: Desk) -> None:
    answer = desk.plain.post(f"{desk.server.api_url}/expand/target", files={"file": ("a.png", an_image())})
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")


def test_the_counts_tell_what_arrived(desk: Desk) -> None:
    data = an_image(seed=9)
    id_image = desk.upload(data)
    (seen,) = desk.server.counts().uploads
    assert (seen.sha256, seen.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (seen.part, seen.filename, seen.id_image) == ("file", "pic.png", id_image)


def test_a_source_is_gone_after_exactly_24_hours(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(source_life=24 * 3600.0)
    id_image = desk.upload()
    desk.server.clock.advance(24 * 3600 - 60)
    assert desk.generate(id_image).status_code == 200
    desk.server.clock.advance(60)
    assert desk.generate(id_image).status_code == 405


def test_the_oldest_sources_make_room_when_memory_is_bounded(make_desk: Callable[..., Desk]) -> None:
    data = an_image()
    desk = make_desk(keep_bytes=2 * len(data))
    first, second, third = (desk.upload(data) for _ in range(3))
    assert desk.generate(first).status_code == 405
    assert desk.generate(second).status_code == 200
    assert desk.generate(third).status_code == 200
