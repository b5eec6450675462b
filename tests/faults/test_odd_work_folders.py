"""Work folders that somebody removes, renames or puts odd things into, against the real program."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.faults.test_deaf_watchers import FAST, drop, rebuild
from tests.support.daemon import House, names
from tests.support.failing import program
from tests.support.mounting import needs_mounts, unmount


@pytest.fixture
def quick(house: House) -> House:
    rebuild(house)
    return house


def test_paid_images_of_a_replaced_inbox_are_delivered_once(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    server.switch(generate_min=1.0, generate_max=1.0)
    with quick.running(program(quick.config, FAST)) as daemon:
        drop(hot / "inbox", "pic.png")
        daemon.wait_for("job.accepted")
        shutil.rmtree(hot / "inbox")
        (hot / "inbox").mkdir()
        daemon.finished()
        told = [line for line in daemon.lines if line["event"] == "job.original_lost"]
        why = quick.call("why", "pic.png").stdout
        status = json.loads(quick.call("status", "--json").stdout)

    assert [(line["file"], line["level"]) for line in told] == [("pic.png", "warning")]
    assert names(hot / "outbox") == ["pic.png"]
    assert "The original is lost" in why
    assert "as its folder says" not in why
    assert [job["file"] for job in status["original_lost"]] == ["pic.png"]
    assert status["open"] == []
    assert_good_client(server, images=1)


def test_a_file_that_waits_for_credits_survives_its_inbox_being_swapped_and_back(
    quick: House, server: Simulator
) -> None:
    hot = quick.folder()
    server.set_fault("generate:402:always")
    with quick.running(program(quick.config, FAST)) as daemon:
        drop(hot / "inbox", "pic.png")
        daemon.wait_for("pause.started", lambda line: line["reason"] == "no_credits")
        (hot / "inbox").rename(hot / "aside")
        (hot / "inbox").mkdir()
        daemon.wait_for("job.returned")
        shutil.rmtree(hot / "inbox")
        (hot / "aside").rename(hot / "inbox")
        server.clear_faults()
        daemon.finished()
        assert daemon.stop() == 0
    with quick.running(program(quick.config, FAST)) as daemon:
        assert daemon.stop() == 0

    assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=1)


@needs_mounts
def test_files_of_a_subfolder_on_another_disk_wait_alone(quick: House, server: Simulator) -> None:
    rebuild(quick, {"hot": "offsets: {top: 10}, recursive: true"})
    hot = quick.folder("hot")
    sub, source = hot / "inbox" / "sub", quick.root / "source"
    sub.mkdir(exist_ok=True)
    source.mkdir()
    subprocess.run(["mount", "--bind", source, sub], check=True)
    try:
        with quick.running(program(quick.config, FAST)) as daemon:
            for number in range(3):
                drop(sub, f"far-{number}.png", seed=number)
            daemon.wait_for("job.retrying", times=3)
            drop(hot / "inbox", "near.png", seed=9)
            daemon.wait_for("job.finished", lambda line: line["file"] == "near.png")
            why = quick.call("why", "sub/far-0.png").stdout
            assert daemon.stop() == 0
        shut = [line for line in daemon.lines if line["event"] == "pause.started"]
        once = quick.call("once", "--patience", "2")
    finally:
        unmount(sub)

    assert shut == []
    assert "another disk" in why
    assert once.returncode == 4
    assert sorted(path.name for path in source.iterdir()) == ["far-0.png", "far-1.png", "far-2.png"]
    assert_good_client(server, images=1)
