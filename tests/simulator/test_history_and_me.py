"""POST /history and GET /me."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from expandd.simulator.switches import HistoryAnswer, HistoryShape
from tests.simulator.desk import Desk, opened


def test_history_leads_to_the_result_after_the_notification_is_gone(desk: Desk) -> None:
    id_image = desk.accepted()
    desk.server.clock.advance(700)
    assert desk.listed() == []
    answer = desk.history(id_image).json()
    assert answer.keys() == {"history", "info_list"}
    (link,) = answer["history"]
    assert opened(desk.plain.get(link["l"]).content).size == (95, 80)


def test_history_of_a_known_image_shows_nothing_before_its_job_has_finished(desk: Desk) -> None:
    id_image = desk.upload()
    assert desk.history(id_image).json() == {"history": [], "info_list": []}
    desk.generate(id_image)
    assert desk.history(id_image).json()["history"] == []
    desk.server.clock.advance(2)
    assert len(desk.history(id_image).json()["history"]) == 1


def test_history_never_shows_a_job_that_failed(desk: Desk) -> None:
    desk.server.set_fault("generate:job-fails")
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    assert desk.history(id_image).json()["history"] == []


def test_history_shows_a_result_nobody_was_told_of(desk: Desk) -> None:
    desk.server.set_fault("generate:notification-lost")
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    assert desk.listed() == []
    assert len(desk.history(id_image).json()["history"]) == 1


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (HistoryShape.OBJECTS, lambda item: item["l"].startswith("http")),
        (HistoryShape.STRINGS, lambda item: item.startswith("http")),
        (HistoryShape.NESTED, lambda item: item[0]["l"].startswith("http")),
    ],
)
def test_the_shape_of_a_history_link_is_a_switch(
    make_desk: Callable[..., Desk], shape: HistoryShape, fits: Callable[[Any], bool]
) -> None:
    desk = make_desk(history_shape=shape)
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    (item,) = desk.history(id_image).json()["history"]
    assert fits(item)


def test_history_of_an_unknown_or_expired_image_is_405(desk: Desk) -> None:
    assert desk.history("nobody").status_code == 405
    id_image = desk.accepted()
    desk.server.clock.advance(24 * 3600)
    answer = desk.history(id_image)
    assert answer.status_code == 405
    assert "not valid or expired" in answer.json()["description"]


@pytest.mark.parametrize(("switch", "status"), [(HistoryAnswer.UNKNOWN, 405), (HistoryAnswer.EMPTY, 200)])
def test_history_may_know_nothing_even_of_a_finished_job(
    make_desk: Callable[..., Desk], switch: HistoryAnswer, status: int
) -> None:
    desk = make_desk(history=switch)
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    answer = desk.history(id_image)
    assert (answer.status_code, answer.json().get("history", [])) == (status, [])


def test_history_needs_the_right_app(desk: Desk) -> None:
    id_image = desk.upload()
    assert desk.history(id_image, app="superid").status_code == 405
    assert desk.api.post("/history", json={"id_image": id_image}).status_code == 400


def test_me_gives_the_credits_as_a_string(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(credits=Decimal(10), price=Decimal("0.25"))
    desk.accepted()
    me = desk.api.get("/me").json()
    assert me["credits"] == "9.75"
    assert me["email"] == "simulator@example.com"


def test_me_without_a_token_is_401(desk: Desk) -> None:
    answer = desk.plain.get(f"{desk.server.api_url}/me")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("said", "written"),
    [("1e30", "1e+30"), ('"1e30"', '"1e30"'), ("NaN", "NaN"), ("null", "null"), ('["7"]', '["7"]'), ("much", '"much"')],
)
def test_me_may_say_something_odd_of_the_credits(make_desk: Callable[..., Desk], said: str, written: str) -> None:
    desk = make_desk(credits_said=said)
    assert f'"credits": {written},' in desk.api.get("/me").text
