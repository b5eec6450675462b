"""POST /edit/generate."""

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from expandd.simulator.switches import GenerateAnswer, Spread
from tests.simulator.desk import OFFSETS, Desk, an_image, opened


def test_an_accepted_generate_answers_status_task_and_image(desk: Desk) -> None:
    id_image = desk.upload()
    answer = desk.generate(id_image).json()
    assert answer.keys() == {"status", "id_task", "id_image"}
    assert answer["id_image"] == id_image


@pytest.mark.parametrize(
    ("switch", "body"),
    [
        (GenerateAnswer.EMPTY_OBJECT, b"{}"),
        (GenerateAnswer.EMPTY_BODY, b""),
        (GenerateAnswer.NULLS, b'{"status":null,"id_task":null,"id_image":null}'),
        (GenerateAnswer.LIST, b"[]"),
        (GenerateAnswer.TEXT, b'"processing"'),
        (GenerateAnswer.NUMBER, b"0"),
    ],
)
def test_the_answer_may_say_nothing(make_desk: Callable[..., Desk], switch: GenerateAnswer, body: bytes) -> None:
    desk = make_desk(generate_answer=switch)
    answer = desk.generate(desk.upload())
    assert (answer.status_code, answer.content) == (200, body)
    assert desk.server.counts().generates_accepted == 1


def test_the_worked_example_gives_885_by_700(desk: Desk) -> None:
    link = desk.link(an_image(900, 600), top=100, bottom=0, left=-25, right=10)
    assert opened(desk.plain.get(link).content).size == (885, 700)


@pytest.mark.parametrize("field", ["id_image", *OFFSETS])
def test_each_of_the_five_fields_is_required(desk: Desk, field: str) -> None:
    fields: dict[str, Any] = {"id_image": desk.upload(), **OFFSETS}
    del fields[field]
    answer = desk.api.post("/edit/generate", json=fields)
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"json": {field: ["Missing data for required field."]}}


@pytest.mark.parametrize("value", ["10", 10.0, 10.5, True, [10]])
def test_an_offset_that_is_no_integer_is_refused(desk: Desk, value: object) -> None:
    answer = desk.generate(desk.upload(), left=value)
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"json": {"left": ["Not a valid integer."]}}


def test_a_null_is_refused_and_counted(desk: Desk) -> None:
    answer = desk.generate(desk.upload(), bottom=None)
    assert answer.json()["errors"] == {"json": {"bottom": ["Field may not be null."]}}
    assert desk.server.counts().null_fields == 1


def test_an_unknown_field_is_refused_and_counted(desk: Desk) -> None:
    answer = desk.generate(desk.upload(), image_id="x", prompt=None)
    assert answer.status_code == 400
    assert answer.json()["errors"]["json"] == {"image_id": ["Unknown field."], "prompt": ["Unknown field."]}
    assert desk.server.counts().unknown_fields == 2


def test_extra_fields_are_taken_and_seen_when_the_switch_names_them(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(extra_fields=("flag_watermark",))
    id_image = desk.upload()
    assert desk.generate(id_image, flag_watermark=0).status_code == 200
    assert desk.generate(id_image, flag_other=0).status_code == 400
    assert desk.server.counts().generate_extras == [{"flag_watermark": 0}]


@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b""])
def test_a_body_that_is_no_json_object_is_refused(desk: Desk, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = desk.api.post("/edit/generate", content=body, headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (400, "Validation Error")


def test_json_without_its_content_type_counts_as_no_fields(desk: Desk) -> None:
    answer = desk.api.post("/edit/generate", data={"id_image": desk.upload(), **OFFSETS})
    assert len(answer.json()["errors"]["json"]) == 5


def test_an_unknown_image_id_is_405_in_the_vendors_words(desk: Desk) -> None:
    answer = desk.generate("67762577")
    assert answer.status_code == 405
    assert answer.json() == {
        "code": 405,
        "message": "Method Not Allowed",
        "description": "The image id is not valid or expired for the user.",
    }


def test_a_result_without_a_pixel_is_refused_and_one_pixel_is_not(desk: Desk) -> None:
    id_image = desk.upload(an_image(80, 70))
    empty = {"top": 0, "bottom": 0, "left": -80, "right": 0}
    assert desk.generate(id_image, **empty).status_code == 400
    assert desk.generate(id_image, **empty | {"left": -79, "top": -69}).status_code == 200
    assert desk.server.counts().generates_accepted == 1


@pytest.mark.parametrize("limit", [{"max_result_side": 199}, {"max_result_pixels": 200 * 70 - 1}])
def test_a_result_too_large_is_refused(make_desk: Callable[..., Desk], limit: dict[str, int]) -> None:
    desk = make_desk(**limit)
    offsets = {"top": 0, "bottom": 0, "left": 0}
    id_image = desk.upload(an_image(80, 70))
    assert desk.generate(id_image, **offsets, right=120).status_code == 400
    assert desk.generate(id_image, **offsets, right=119).status_code == 200


def test_each_accepted_generate_costs_its_price_and_a_refused_one_nothing(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(credits=Decimal(1), price=Decimal("0.25"))
    id_image = desk.upload()
    assert desk.generate(id_image).status_code == 200
    assert desk.generate("nobody").status_code == 405
    assert desk.generate(id_image, top=None).status_code == 400
    assert desk.server.credits == Decimal("0.75")


@pytest.mark.parametrize("status", [402, 403])
def test_without_credits_generate_is_refused_and_goes_on_once_there_are_some(
    make_desk: Callable[..., Desk], status: int
) -> None:
    desk = make_desk(credits=Decimal(0), no_credits_status=status)
    id_image = desk.upload()
    assert desk.generate(id_image).status_code == status
    desk.server.set_credits(1)
    assert desk.generate(id_image).status_code == 200
    assert desk.generate(id_image).status_code == status
    assert desk.server.counts().generates_refused == 2


def test_the_path_is_a_switch_and_the_documented_one_is_then_unknown(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(generate_path="/expand/generate")
    id_image = desk.upload()
    wrong = desk.generate(id_image)
    assert wrong.status_code == 404
    assert "requested URL" in wrong.json()["description"]
    fields = {"id_image": id_image, **OFFSETS}
    assert desk.api.post("/expand/generate", json=fields).status_code == 200
    assert desk.server.counts().calls["unknown"] == {"404": 1}


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
def test_a_wrong_verb_is_405_in_the_frameworks_words_not_the_vendors(desk: Desk, verb: str) -> None:
    answer = desk.api.request(verb, "/edit/generate")
    assert answer.status_code == 405
    assert answer.json()["message"] == "Method Not Allowed"
    assert "requested URL" in answer.json()["description"]


def test_a_path_outside_the_api_prefix_is_unknown(desk: Desk) -> None:
    answer = desk.plain.post(f"{desk.server.url}/edit/generate", json={})
    assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


def test_generating_takes_its_time_on_the_servers_clock(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(generate_min=50.0, generate_max=50.0)
    desk.accepted()
    desk.server.clock.advance(40)
    assert desk.listed() == []
    desk.server.clock.advance(10)
    assert len(desk.listed()) == 1


def test_a_range_of_generating_times_is_drawn_from_the_seed(make_desk: Callable[..., Desk]) -> None:
    def times(seed: int) -> list[float]:
        desk = make_desk(generate_min=10.0, generate_max=500.0, seed=seed)
        start = desk.server.clock.now()
        id_image = desk.upload()
        for _ in range(4):
            desk.generate(id_image)
        desk.server.clock.advance(505)
        return [one["timestamp"] - start for one in desk.listed()]

    first = times(1)
    assert times(1) == pytest.approx(first, abs=5)
    assert times(2) != pytest.approx(first, abs=5)
    assert 10 <= min(first) < max(first) - 10 <= 500


def test_a_long_tail_has_most_times_near_the_least(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(generate_min=10.0, generate_max=110.0, generate_spread=Spread.LONG_TAIL)
    id_image = desk.upload()
    for _ in range(40):
        desk.generate(id_image)
    times = sorted(desk.server.counts().generation_seconds)
    assert len(times) == 40
    assert 10 <= times[0] < times[19] < 25
    assert 60 < times[-1] <= 110


def test_the_counts_tell_when_an_upload_began(desk: Desk) -> None:
    before = time.monotonic()
    desk.upload()
    [seen] = desk.server.counts().uploads
    assert before <= seen.began <= time.monotonic()


def test_the_counts_tell_what_was_paid_twice(desk: Desk) -> None:
    same, other = an_image(seed=1), an_image(seed=2)
    desk.accepted(same)
    desk.accepted(other)
    assert desk.server.counts().paid_twice == []
    second = desk.accepted(same)
    counts = desk.server.counts()
    assert counts.generates_accepted == 3
    assert counts.generates_by_image[second] == 1
    assert counts.paid_twice == [counts.uploads[0].sha256]


def test_the_high_water_mark_counts_accepted_and_not_yet_finished(desk: Desk) -> None:
    for _ in range(3):
        desk.accepted()
    desk.server.clock.advance(2)
    desk.accepted()
    assert desk.server.counts().in_flight_max == 3
