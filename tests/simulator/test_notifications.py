"""POST /notification_by_name_json and DELETE /notification/delete_json."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from expandd.simulator.switches import Duplicates, Foreign, Naming, Order
from tests.simulator.desk import Desk


def test_a_finished_job_is_announced_with_id_name_time_and_link(desk: Desk) -> None:
    before = desk.server.clock.now()
    id_image = desk.accepted()
    desk.server.clock.advance(5)
    (found,) = desk.listed(name_list="expand_generate,error")
    assert found.keys() == {"id", "name", "timestamp", "data"}
    assert (type(found["id"]), found["name"]) == (int, "expand_generate")
    assert before + 2 <= found["timestamp"] < before + 5
    assert found["data"]["id_image"] == found["data"]["address"] == id_image
    assert found["data"]["links"][0]["l"].startswith(desk.server.link_url)


@pytest.mark.parametrize(
    ("naming", "keys"),
    [
        (Naming.BOTH, {"id_image", "address", "links"}),
        (Naming.ID_IMAGE, {"id_image", "links"}),
        (Naming.ADDRESS, {"address", "links"}),
    ],
)
def test_which_key_names_the_image_is_a_switch(make_desk: Callable[..., Desk], naming: Naming, keys: set[str]) -> None:
    assert make_desk(naming=naming).finished()["data"].keys() == keys


def test_the_whole_data_may_be_null(make_desk: Callable[..., Desk]) -> None:
    assert make_desk(naming=Naming.NEITHER).finished()["data"] is None


def test_a_bare_list_is_a_switch(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(bare_list=True)
    desk.accepted()
    desk.server.clock.advance(2)
    (found,) = desk.poll().json()
    assert found["name"] == "expand_generate"


def test_the_name_list_filters_and_spaces_after_commas_do_not_matter(desk: Desk) -> None:
    desk.server.set_fault("generate:job-fails")
    desk.accepted()
    desk.accepted()
    desk.server.clock.advance(2)
    assert [one["name"] for one in desk.listed(name_list="error")] == ["error"]
    assert [one["name"] for one in desk.listed(name_list="expand_generate")] == ["expand_generate"]
    assert len(desk.listed(name_list="progress, error, expand_generate")) == 2
    assert len(desk.listed()) == 2
    assert desk.listed(name_list="") == []


def test_a_name_list_given_as_a_list_is_refused_and_counted(desk: Desk) -> None:
    answer = desk.poll(name_list=["expand_generate"])
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"json": {"name_list": ["Not a valid string."]}}
    assert desk.server.counts().name_list_not_text == 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"id_image": None}, "Field may not be null."),
        ({"id_task": 7}, "Not a valid string."),
        ({"limit": 3}, "Unknown field."),
    ],
)
def test_a_filter_that_is_no_string_is_refused(desk: Desk, fields: dict[str, Any], error: str) -> None:
    answer = desk.poll(**fields)
    assert (answer.status_code, *answer.json()["errors"]["json"].values()) == (400, [error])


def test_the_image_filter_finds_an_error_that_names_no_image(desk: Desk) -> None:
    desk.server.set_fault("generate:job-fails")
    failed, fine = desk.accepted(), desk.accepted()
    desk.server.clock.advance(2)
    (error,) = desk.listed(name_list="error", id_image=failed)
    assert error["data"].keys() == {"tasks", "msg"}
    assert desk.listed(name_list="error", id_image=fine) == []
    assert [one["name"] for one in desk.listed(id_image=fine)] == ["expand_generate"]


@pytest.mark.parametrize(
    ("naming", "keys"),
    [(Naming.BOTH, {"id_image", "address"}), (Naming.ADDRESS, {"address"}), (Naming.NEITHER, set())],
)
def test_an_error_may_name_its_image(make_desk: Callable[..., Desk], naming: Naming, keys: set[str]) -> None:
    desk = make_desk(error_has_id=True, naming=naming)
    desk.server.set_fault("generate:job-fails")
    found = desk.finished()
    assert found["name"] == "error"
    assert found["data"].keys() == {"tasks", "msg"} | keys


def test_the_task_filter_tells_two_jobs_of_one_image_apart(desk: Desk) -> None:
    id_image = desk.upload()
    tasks = [desk.generate(id_image).json()["id_task"] for _ in range(2)]
    desk.server.clock.advance(2)
    links = [desk.listed(id_task=task)[0]["data"]["links"][0]["l"] for task in tasks]
    assert all(task in link for task, link in zip(tasks, links, strict=True))
    assert len(desk.listed(id_image=id_image)) == 2


def test_a_notification_lives_exactly_600_seconds_read_or_not(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(generate_min=0.0, generate_max=0.0)
    desk.accepted()
    desk.server.clock.advance(590)
    assert len(desk.listed()) == 1
    assert len(desk.listed()) == 1
    desk.server.clock.advance(10)
    assert desk.listed() == []


def test_a_job_that_finished_over_600_seconds_ago_was_never_seen(desk: Desk) -> None:
    desk.accepted()
    desk.server.clock.advance(700)
    assert desk.listed() == []


def test_a_notification_may_be_listed_twice_under_one_id(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(duplicates=Duplicates.SAME_ID)
    desk.accepted()
    desk.server.clock.advance(2)
    first, second = desk.listed()
    assert first == second
    desk.delete(first["id"])
    assert desk.listed() == []


def test_a_notification_may_be_made_twice_under_two_ids(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(duplicates=Duplicates.NEW_ID)
    desk.accepted()
    desk.server.clock.advance(2)
    first, second = desk.listed()
    assert first["id"] != second["id"]
    assert first["data"] == second["data"]
    desk.delete(first["id"])
    assert desk.listed() == [second]


def test_the_order_is_a_switch(desk: Desk) -> None:
    for _ in range(8):
        desk.accepted()
    desk.server.clock.advance(2)
    oldest_first = [one["id"] for one in desk.listed()]
    assert oldest_first == sorted(oldest_first)
    desk.server.switch(order=Order.NEWEST_FIRST)
    assert [one["id"] for one in desk.listed()] == oldest_first[::-1]
    desk.server.switch(order=Order.SHUFFLED)
    shuffled = [one["id"] for one in desk.listed()]
    assert shuffled not in (oldest_first, oldest_first[::-1])
    assert sorted(shuffled) == oldest_first


def test_foreign_notifications_of_every_shape_stand_before_ours(
    make_desk: Callable[..., Desk],
) -> None:
    desk = make_desk(foreign=tuple(Foreign))
    assert len(desk.listed()) == len(Foreign)
    id_image = desk.accepted()
    desk.server.clock.advance(2)
    *foreign, ours = desk.listed()
    assert ours["data"]["id_image"] == id_image
    assert len(foreign) == len(Foreign)
    assert len({repr(one) for one in foreign}) == len(Foreign)
    assert [one["name"] for one in desk.listed(id_image=id_image)] == ["expand_generate"]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (Foreign.FINISHED, lambda one: one["data"]["links"][0]["l"].startswith("https://")),
        (Foreign.FAILED, lambda one: one["name"] == "error" and "id_image" not in one["data"]),
        (Foreign.PROGRESS, lambda one: one["name"] == "progress"),
        (Foreign.DATA_NULL, lambda one: one["data"] is None),
        (Foreign.DATA_LIST, lambda one: isinstance(one["data"], list)),
        (Foreign.NO_DATA, lambda one: "data" not in one),
        (Foreign.NO_LINKS, lambda one: "links" not in one["data"]),
        (Foreign.EMPTY_LINKS, lambda one: one["data"]["links"] == []),
        (Foreign.LINK_IS_TEXT, lambda one: isinstance(one["data"]["links"], str)),
        (Foreign.NO_ID, lambda one: "id" not in one),
        (Foreign.NOT_AN_OBJECT, lambda one: isinstance(one, str)),
    ],
)
def test_each_foreign_kind_has_its_shape(
    make_desk: Callable[..., Desk], kind: Foreign, shape: Callable[[Any], bool]
) -> None:
    (one,) = make_desk(foreign=(kind,)).listed()
    assert shape(one)


def test_a_foreign_notification_expires_and_the_next_one_comes(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(foreign=(Foreign.FINISHED,))
    (first,) = desk.listed()
    desk.server.clock.advance(600)
    (second,) = desk.listed()
    assert first["id"] != second["id"]


def test_a_deleted_foreign_notification_stays_away_and_is_counted(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(foreign=(Foreign.FINISHED,))
    (foreign,) = desk.listed()
    desk.delete(foreign["id"])
    assert desk.listed() == []
    counts = desk.server.counts()
    assert (counts.deletes_foreign, counts.deletes_before_download) == (1, 0)


def test_a_deleted_notification_is_gone_and_deleting_it_again_is_404(desk: Desk) -> None:
    number = desk.finished()["id"]
    assert desk.delete(number).status_code == 200
    assert desk.listed() == []
    assert desk.delete(number).status_code == 404


@pytest.mark.parametrize("value", ["5", None, True, 5.0])
def test_a_delete_needs_an_integer_id(desk: Desk, value: object) -> None:
    assert desk.delete(value).status_code == 400


def test_the_counts_tell_a_delete_before_the_download_from_one_after(desk: Desk) -> None:
    early = desk.finished()
    desk.delete(early["id"])
    assert desk.server.counts().deletes_before_download == 1
    late = desk.finished()
    desk.plain.get(late["data"]["links"][0]["l"])
    desk.delete(late["id"])
    counts = desk.server.counts()
    assert [seen.downloaded for seen in counts.deletes] == [False, True]
    assert counts.deletes_before_download == 1


def test_the_download_of_one_job_does_not_stand_for_another_of_the_same_image(desk: Desk) -> None:
    id_image = desk.accepted()
    desk.generate(id_image)
    desk.server.clock.advance(2)
    first, second = desk.listed()
    desk.plain.get(first["data"]["links"][0]["l"])
    desk.delete(second["id"])
    assert desk.server.counts().deletes_before_download == 1


def test_deleting_an_error_is_no_delete_before_the_download(desk: Desk) -> None:
    desk.server.set_fault("generate:job-fails")
    desk.delete(desk.finished()["id"])
    assert desk.server.counts().deletes_before_download == 0


def test_a_poll_sooner_than_the_limit_is_429_and_its_gap_is_kept(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=3.0)
    assert desk.poll().status_code == 200
    assert desk.poll().status_code == 429
    counts = desk.server.counts()
    assert counts.polls_too_close == 1
    assert counts.poll_gap_min is not None
    assert 0 < counts.poll_gap_min < 3


def test_the_poll_limit_is_about_real_time_not_simulator_time(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=3.0)
    desk.poll()
    desk.server.clock.advance(60)
    assert desk.poll().status_code == 429


def test_a_poll_that_waited_long_enough_is_answered(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=0.05)
    assert desk.poll().status_code == 200
    # The limit is about real time, so only real time helps.
    time.sleep(0.06)
    assert desk.poll().status_code == 200
    assert desk.server.counts().polls_too_close == 0
    # The gap is measured from the last poll, not from the first.
    assert desk.poll().status_code == 429


def test_a_refused_poll_counts_as_the_previous_one(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=3.0)
    assert [desk.poll().status_code for _ in range(3)] == [200, 429, 429]
    assert len(desk.server.counts().poll_gaps) == 2


def test_a_poll_refused_for_its_token_does_not_count_against_the_limit(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(poll_limit=3.0)
    address = f"{desk.server.api_url}/notification_by_name_json"
    assert desk.plain.post(address, json={}).status_code == 401
    assert desk.poll().status_code == 200
