"""A share that hangs, as a dead network server makes it: each call on it waits, and nobody else may wait with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import PARTS, Daemon, House, Line, names, started
from tests.support.hanging_share import Share, hanging_share, needs_fuse
from tests.support.images import an_image
from tests.support.mounting import needs_mounts

pytestmark = [needs_mounts, needs_fuse]

FILES = 6
SOON = 20.0
"""Seconds in which the folder beside a hanging share must have done its files, on a slow machine; one alone takes 3."""


@pytest.fixture
def share(house: House) -> Iterator[Share]:
    """Of two folders one lies on a share."""
    keys = {"good": "offsets: {top: 10}", "bad": "offsets: {top: 10}"}
    house.build(top="workers: 4\nstop_timeout: 3s", folders=keys)
    behind = house.root / "behind"
    for part in PARTS:
        (behind / part).mkdir(parents=True)
    with hanging_share(house.folder("bad"), behind) as share:
        yield share


def drop(directory: Path, files: int = FILES, first: int = 0) -> None:
    for number in range(first, first + files):
        (directory / f"{number}.png").write_bytes(an_image("png", 200, 160, seed=number))


def of(house: House, folder: str) -> int:
    return len(names(house.folder(folder) / "outbox"))


def is_in(folder: Path) -> Callable[[Line], bool]:
    return lambda line: str(line.get("inbox", "")).startswith(str(folder))


def wait_for_good(house: House, daemon: Daemon, files: int = FILES) -> float:
    """Seconds until the folder beside has done so many."""
    began = time.monotonic()
    daemon.wait_for("job.finished", is_in(house.folder("good")), times=files)
    return time.monotonic() - began


def assert_all_is_delivered(
    house: House, daemon: Daemon, share: Share, server: Simulator, files: int, *, before: int = 0
) -> None:
    """All `files` of the share, of which an earlier daemon had finished some `before`."""
    share.answer()
    daemon.wait_for("job.finished", is_in(house.folder("bad")), times=files - before)
    assert len(names(share.behind / "outbox")) == files
    assert len(names(share.behind / "done")) == files
    assert names(share.behind / "inbox") == []
    assert server.counts().calls["generate"] == {"200": FILES + files}


@pytest.mark.storm
@pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="takes long; set EXPANDD_STORM=1")
def test_a_share_that_hangs_before_the_claim_holds_up_no_other_folder(
    house: House, share: Share, server: Simulator
) -> None:
    with started(house).running() as daemon:
        share.hang()
        drop(share.behind / "inbox")
        drop(house.folder("good") / "inbox")
        seconds = wait_for_good(house, daemon)
        status = house.call("status", seconds=15.0)
        why = house.call("why", "0.png", seconds=15.0)
        assert_all_is_delivered(house, daemon, share, server, FILES)
        assert daemon.stop() == 0

    assert seconds < SOON
    assert "no answer" in status.stdout or "not answer" in status.stdout
    assert why.returncode == 0
    assert any(line["event"] == "pause.started" and "does not answer" in line["why"] for line in daemon.lines)


def test_a_share_that_hangs_while_the_result_is_waited_for_and_at_its_delivery(
    house: House, share: Share, server: Simulator
) -> None:
    with started(house).running() as daemon:
        drop(share.behind / "inbox")
        daemon.wait_for("job.accepted", is_in(house.folder("bad")), times=4)
        share.hang()
        drop(house.folder("good") / "inbox")
        seconds = wait_for_good(house, daemon)
        assert_all_is_delivered(house, daemon, share, server, FILES)
        assert daemon.stop() == 0

    assert seconds < SOON


def test_a_stop_and_a_start_while_a_share_hangs_take_no_longer_than_they_may(
    house: House, share: Share, server: Simulator
) -> None:
    # No result comes before the share hangs: a payment under way at the stop would be unknown afterwards, and watched.
    server.switch(generate_min=3.0, generate_max=3.0)
    with started(house).running() as daemon:
        drop(share.behind / "inbox")
        daemon.wait_for("job.accepted", is_in(house.folder("bad")), times=4)
        share.hang()
        began = time.monotonic()
        assert daemon.stop() == 0
        stopped = time.monotonic() - began
    finished = sum(line["event"] == "job.finished" for line in daemon.lines)
    server.switch(generate_min=0.1, generate_max=0.2)
    with started(house).running() as daemon:
        drop(house.folder("good") / "inbox")
        seconds = wait_for_good(house, daemon)
        assert_all_is_delivered(house, daemon, share, server, FILES, before=finished)
        assert daemon.stop() == 0

    assert stopped < SOON
    assert seconds < SOON


def test_a_reload_that_adds_a_hanging_share_holds_up_nobody(house: House, share: Share, server: Simulator) -> None:
    both = house.config.read_text("utf-8")
    house.build(top="workers: 4\nstop_timeout: 3s", folders={"good": "offsets: {top: 10}"})
    with started(house).running() as daemon:
        share.hang()
        drop(share.behind / "inbox")
        house.config.write_text(both, encoding="utf-8")
        daemon.process.send_signal(signal.SIGHUP)
        drop(house.folder("good") / "inbox")
        wait_for_good(house, daemon)
        daemon.wait_for("reload.done")
        assert_all_is_delivered(house, daemon, share, server, FILES)
        assert daemon.stop() == 0


@pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="takes long; set EXPANDD_STORM=1")
def test_two_hanging_shares_hold_up_nothing_else(house: House, share: Share, server: Simulator) -> None:
    keys = dict.fromkeys(("good", "bad", "worse"), "offsets: {top: 10}")
    house.build(top="workers: 4\nstop_timeout: 3s", folders=keys)
    behind = house.root / "behind-worse"
    for part in PARTS:
        (behind / part).mkdir(parents=True)
    with hanging_share(house.folder("worse"), behind) as other:
        with started(house).running() as daemon:
            shares = (share, other)
            for one in shares:
                drop(one.behind / "inbox")
            daemon.wait_for("job.accepted", times=4)
            for one in shares:
                one.hang()
            drop(house.folder("good") / "inbox")
            seconds = wait_for_good(house, daemon)
            status = house.call("status", seconds=SOON)
            began = time.monotonic()
            assert daemon.stop() == 0
            stopped = time.monotonic() - began
        finished = sum(line["event"] == "job.finished" for line in daemon.lines)
        for one in shares:
            one.answer()
        with started(house).running() as daemon:
            daemon.wait_for("job.finished", times=3 * FILES - finished)
            assert daemon.stop() == 0

    assert status.returncode == 0, status.stderr
    assert seconds < SOON
    assert stopped < SOON
    assert [len(names(one.behind / "outbox")) for one in shares] == [FILES, FILES]
    assert [names(one.behind / "inbox") + names(one.behind / "error") for one in shares] == [[], []]
    assert server.counts().calls["generate"] == {"200": 3 * FILES}
