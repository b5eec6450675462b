"""The control door, as somebody uses it on a server in another process."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from expandd.simulator.switches import Foreign, Naming, Switches, UploadId, with_json, with_texts
from tests.simulator.desk import Desk


def test_faults_can_be_added_listed_and_cleared(desk: Desk) -> None:
    door = f"{desk.server.url}/simulator/faults"
    desk.control("faults", {"endpoint": "me", "kind": "500", "times": 2})
    assert [fault["kind"] for fault in desk.plain.get(door).json()] == ["500"]
    assert desk.api.get("/me").status_code == 500
    desk.plain.delete(door)
    assert desk.plain.get(door).json() == []
    assert desk.api.get("/me").status_code == 200


def test_several_faults_can_be_added_at_once_as_text_or_objects(desk: Desk) -> None:
    full = {"endpoint": "me", "kind": "429", "retry_after": "5", "skip": 0, "after": False}
    more = {"seconds": 1, "probability": 1.0, "times": None}
    assert desk.control("faults", ["me:503", full | more]).status_code == 200
    assert desk.api.get("/me").status_code == 503
    assert desk.api.get("/me").headers["retry-after"] == "5"


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        "me",
        {"kind": "500"},
        {"endpoint": "me", "kind": "500", "times": "2"},
        {"endpoint": "me", "kind": "500", "colour": 1},
        ["me:500", "me:501"],
    ],
)
def test_a_fault_that_cannot_be_read_is_400_and_none_is_set(desk: Desk, value: Any) -> None:
    assert desk.control("faults", value).status_code == 400
    assert desk.plain.get(f"{desk.server.url}/simulator/faults").json() == []


def test_switches_can_be_read_and_changed_while_the_server_runs(desk: Desk) -> None:
    changes = {"upload_id": "image_id", "poll_limit": 1, "extra_fields": ["seed"]}
    assert desk.control("switches", changes).json()["upload_id"] == "image_id"
    assert list(desk.send().json()) == ["image_id"]
    read = desk.plain.get(f"{desk.server.url}/simulator/switches").json()
    assert (read["poll_limit"], read["extra_fields"], read["price"]) == (1.0, ["seed"], "1")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"colour": 1},
        {"upload_id": "nothing"},
        {"poll_limit": "3"},
        {"bare_list": 1},
        {"price": "much"},
        {"foreign": ["nobody"]},
        {"generate_path": "x"},
        {"generate_min": 9.0},
    ],
)
def test_a_switch_that_cannot_be_read_is_400_and_nothing_changes(desk: Desk, value: Any) -> None:
    assert desk.control("switches", value).status_code == 400
    assert desk.server.switches == Switches(poll_limit=0.0)


def test_all_switches_survive_the_way_through_json() -> None:
    switches = Switches(
        price=Decimal("0.25"), naming=Naming.ADDRESS, foreign=tuple(Foreign), extra_fields=("a",), access_token=None
    )
    assert with_json(Switches(), switches.as_json()) == switches


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("poll_limit=0.5", {"poll_limit": 0.5}),
        ("upload_id=image_id", {"upload_id": UploadId.IMAGE_ID}),
        ("pro=true", {"pro": True}),
        ("price=0.25", {"price": Decimal("0.25")}),
        ("password=12345", {"password": "12345"}),
        ("access_token=null", {"access_token": None}),
        ('foreign=["finished","no-id"]', {"foreign": (Foreign.FINISHED, Foreign.NO_ID)}),
    ],
)
def test_a_switch_can_be_written_as_text(text: str, changes: dict[str, Any]) -> None:
    assert with_texts(Switches(), [text]) == Switches(**changes)


@pytest.mark.parametrize("text", ["", "colour=red", "poll_limit", "poll_limit=soon", "pro=1"])
def test_a_text_that_is_no_switch_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="switch"):
        with_texts(Switches(), [text])


def test_the_clock_can_be_advanced_but_not_turned_back(desk: Desk) -> None:
    before = desk.server.clock.now()
    assert desk.control("clock", {"advance": 1000}).json()["now"] >= before + 1000
    assert desk.control("clock", {"advance": -1}).status_code == 400
    assert desk.control("clock", {}).status_code == 400
    assert desk.plain.get(f"{desk.server.url}/simulator/clock").json()["now"] >= before + 1000


def test_access_tokens_can_be_expired_and_all_tokens_revoked(desk: Desk) -> None:
    start = ("simulator-access", "simulator-refresh")
    desk.control("expire-tokens")
    assert desk.me(start[0]) == 401
    pair = desk.refresh(*start).json()
    desk.control("revoke-tokens")
    assert desk.me(pair["access_token"]) == 401
    assert desk.refresh(pair["access_token"], pair["refresh_token"]).status_code == 401


def test_credits_can_be_set(desk: Desk) -> None:
    assert desk.control("credits", {"credits": "2.5"}).json() == {"credits": "2.5"}
    assert desk.api.get("/me").json()["credits"] == "2.5"
    assert desk.control("credits", {"credits": "much"}).status_code == 400


def test_the_counts_over_http_are_those_in_the_process(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(foreign=(Foreign.FINISHED,))
    desk.poll()
    desk.poll(limit=3)
    desk.plain.get(desk.link())
    desk.delete(desk.listed()[0]["id"])
    counts = desk.server.counts()
    read = desk.plain.get(f"{desk.server.url}/simulator/counts").json()
    assert read == counts.as_json()
    assert read["calls"]["poll"] == {"200": 3, "400": 1}
    assert (read["generates_accepted"], read["deletes_foreign"], read["unknown_fields"]) == (1, 1, 1)
    assert (counts.total("poll"), counts.total("history")) == (4, 0)


def test_the_control_door_itself_is_not_counted(desk: Desk) -> None:
    desk.control("clock", {"advance": 1})
    desk.control("nothing")
    assert desk.server.counts().calls == {}


@pytest.mark.parametrize("path", ["nothing", "", "faults/1"])
def test_an_unknown_door_is_404(desk: Desk, path: str) -> None:
    assert desk.control(path).status_code == 404


def test_a_body_that_is_no_json_is_400(desk: Desk) -> None:
    assert desk.plain.post(f"{desk.server.url}/simulator/faults", content=b"{").status_code == 400


def test_a_copy_of_the_counts_does_not_change_any_more(desk: Desk) -> None:
    before = desk.server.counts()
    desk.api.get("/me")
    assert before.calls == {}
    assert desk.server.counts().calls == {"me": {"200": 1}}


def test_switches_that_fit_only_together_may_come_in_any_order() -> None:
    assert with_texts(Switches(), ["generate_min=40", "generate_max=80"]).generate_min == 40.0
