"""Images that the API never takes, beside good ones: they end in the error folder unpaid and hold up nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import House, Line, names
from tests.support.images import an_image

GOOD = 6
FOLDERS = {"hot": "offsets: {top: 10, left: 25%}", "other": "offsets: {top: 10}"}


def drop(house: House, name: str, data: bytes, folder: str = "hot") -> bytes:
    (house.folder(folder) / "inbox" / name).write_bytes(data)
    return data


def drop_good(house: House) -> None:
    for number in range(GOOD):
        drop(house, f"good-{number}.png", an_image("png", seed=number), ("hot", "other")[number % 2])


def drop_bad(house: House, server: Simulator, *faults: str) -> list[str]:
    """Three images in the first folder, each met by the faults each time."""
    bad = [f"bad-{number}.png" for number in range(3)]
    for number, name in enumerate(bad):
        data = drop(house, name, an_image("png", seed=100 + number))
        for fault in faults:
            server.set_fault(f"{fault}:sha256={hashlib.sha256(data).hexdigest()}")
    return bad


def assert_good_done(house: House, server: Simulator, *late: str) -> None:
    for number, folder in enumerate(("hot", "other")):
        good = [*(f"good-{one}.png" for one in range(number, GOOD, 2)), *(late if folder == "other" else ())]
        assert names(house.folder(folder) / "outbox") == names(house.folder(folder) / "done") == good
    assert names(house.folder("other") / "error") == []
    counts = server.counts()
    assert counts.generates_accepted == GOOD + len(late)
    assert set(counts.generates_by_source.values()) == {1}


def is_about(name: str) -> Callable[[Line], bool]:
    return lambda line: bool(line["file"] == name)


def reasons(house: House) -> list[str]:
    error = house.folder() / "error"
    return [path.read_text(encoding="utf-8") for path in sorted(error.glob("*.error.json"))]


def test_images_that_are_too_large_for_a_proxy_end_at_once(house: House, server: Simulator) -> None:
    house.build(folders=FOLDERS)
    with house.running() as daemon:
        bad = drop_bad(house, server, "upload:413-html:always")
        drop_good(house)
        daemon.finished(times=GOOD)
        daemon.wait_for("job.failed", times=3)
        assert daemon.stop() == 0
        assert [line for line in daemon.lines if line["event"] == "pause.started"] == []

    assert_good_done(house, server)
    assert names(house.folder() / "error") == bad
    assert all("413" in text or "too large" in text for text in reasons(house)), reasons(house)
    assert server.counts().calls["upload"] == {"200": GOOD, "413": 3}


@pytest.mark.parametrize(
    "fault",
    [
        "upload:500:always",
        # The whole file is sent, and the answer comes when nobody waits for it any more.
        "upload:hang-after:always:seconds=20",
    ],
)
def test_images_that_fail_each_time_end_unpaid_and_hold_up_nobody(house: House, server: Simulator, fault: str) -> None:
    house.build(folders=FOLDERS)
    house.config.write_text(house.config.read_text("utf-8").replace("timeout: 5s", "timeout: 1s"), encoding="utf-8")
    with house.running() as daemon:
        bad = drop_bad(house, server, fault)
        drop_good(house)
        daemon.finished(times=GOOD)
        assert [line for line in daemon.lines if line["event"] == "pause.started"] == []
        # What passes after they have failed shows that the API takes others: without it each needs minutes.
        for name in bad:
            daemon.wait_for("job.retrying", is_about(name))
        drop(house, "late.png", an_image("png", seed=50), "other")
        daemon.finished(times=GOOD + 1)
        daemon.wait_for("job.failed", times=3, patience=90.0)
        assert daemon.stop() == 0

    assert_good_done(house, server, "late.png")
    assert names(house.folder() / "error") == bad
    assert all("not_taken_by_api" in text and "Nothing was paid" in text for text in reasons(house))


def test_images_whose_paid_call_fails_each_time_end_unpaid_and_hold_up_nobody(house: House, server: Simulator) -> None:
    house.build(folders=FOLDERS, api="unknown_wait: 1s")
    with house.running() as daemon:
        bad = drop_bad(house, server, "generate:500:always")
        drop_good(house)
        daemon.finished(times=GOOD)
        for name in bad:
            daemon.wait_for("job.unknown", is_about(name))
        drop(house, "late.png", an_image("png", seed=50), "other")
        daemon.finished(times=GOOD + 1)
        daemon.wait_for("job.failed", times=3, patience=90.0)
        assert daemon.stop() == 0

    assert_good_done(house, server, "late.png")
    assert names(house.folder() / "error") == bad
    assert all("not_taken_by_api" in text and "Nothing was paid" in text for text in reasons(house))


def test_an_outage_of_everything_with_a_restart_inside_sends_nobody_to_error(house: House, server: Simulator) -> None:
    house.build(folders=FOLDERS)
    calls = ("upload", "generate", "poll", "me", "history")
    for call in calls:
        server.set_fault(f"{call}:503:always")
    drop_good(house)
    with house.running() as daemon:
        daemon.wait_for("pause.started")
        daemon.kill()
    with house.running() as daemon:
        daemon.wait_for("pause.started")
        server.clear_faults()
        daemon.finished(times=GOOD)
        assert daemon.stop() == 0

    assert_good_done(house, server)
    assert names(house.folder() / "error") == []
