"""A job database that is lost or broken, and payments nobody can prove: nothing is paid on a guess."""

from __future__ import annotations

import shutil

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import GenerateAnswer, HistoryAnswer
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import House, names
from tests.support.images import an_image


def lose_store(house: House, *, broken: bool) -> None:
    for ending in ("-wal", "-shm"):
        (house.state_dir / f"journal.sqlite{ending}").unlink(missing_ok=True)
    path = house.state_dir / "journal.sqlite"
    if broken:
        path.write_bytes(b"no journal" * 1000)
    else:
        path.unlink()


@pytest.mark.parametrize("broken", [False, True])
def test_without_its_store_nothing_is_paid_and_rebuild_goes_on(
    house: House, server: Simulator, *, broken: bool
) -> None:
    server.switch(generate_min=1.0, generate_max=1.0)
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.accepted")
        daemon.kill()
    lose_store(house, broken=broken)
    refused = house.call("run")
    rebuilt = house.call("rebuild")
    outcome = house.call("once")

    assert refused.returncode == 1
    assert "`expandd rebuild`" in refused.stderr
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert outcome.returncode == 0, outcome.stderr
    assert names(house.folder() / "outbox") == names(house.folder() / "done") == ["pic.png"]
    assert_good_client(server, images=1)


def test_without_a_store_what_was_never_paid_for_is_picked_up_anew(house: House, server: Simulator) -> None:
    server.set_fault("upload:hang:always")
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.claimed")
        daemon.kill()
    lose_store(house, broken=False)
    server.clear_faults()
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    assert_good_client(server, images=1)


def test_rebuild_leaves_a_whole_store_alone(house: House) -> None:
    house.call("once")
    before = (house.state_dir / "journal.sqlite").stat().st_ino

    assert "nothing to rebuild" in house.call("rebuild").stdout
    assert (house.state_dir / "journal.sqlite").stat().st_ino == before


@pytest.mark.parametrize(("word", "place", "paid"), [("--paid", "error", 0), ("--not-paid", "done", 1)])
def test_a_person_decides_what_nobody_can_find_out(
    house: House, server: Simulator, word: str, place: str, paid: int
) -> None:
    house.build(api="unknown_wait: 500ms")
    server.switch(history=HistoryAnswer.UNKNOWN)
    server.set_fault("generate:reset")
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.held")
        nothing = house.call("resolve", word, "other.png")
        outcome = house.call("resolve", word, "pic.png")
        daemon.wait_for("job.finished" if paid else "job.failed")

    assert nothing.returncode == 2
    assert "pic.png" in nothing.stderr
    assert outcome.returncode == 0, outcome.stderr
    assert names(house.folder() / place) == ["pic.png"]
    assert sum(server.counts().generates_by_image.values()) == paid


def test_a_state_directory_from_a_backup_pays_for_nothing_a_second_time(house: House, server: Simulator) -> None:
    backup = house.root / "backup"
    server.switch(generate_min=2.0, generate_max=2.0)
    server.set_fault("upload:hang:1")
    house.build(api="unknown_wait: 4s")
    for name in ("a.png", "b.png", "c.png"):
        (house.folder() / "inbox" / name).write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.claimed", times=3)
        shutil.copytree(house.state_dir, backup, ignore=shutil.ignore_patterns("*.new"))
        daemon.wait_for("job.accepted", times=2)
        daemon.kill()
    shutil.rmtree(house.state_dir)
    backup.rename(house.state_dir)
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    assert names(house.folder() / "outbox") == names(house.folder() / "done") == ["a.png", "b.png", "c.png"]
    assert server.counts().generates_accepted == 3


def test_slow_generation_with_an_empty_answer_is_paid_once(house: House, server: Simulator) -> None:
    server.switch(generate_answer=GenerateAnswer.EMPTY_BODY, generate_min=4.0, generate_max=4.0)
    house.build(api="unknown_wait: 1s")
    for name in ("a.png", "b.png", "c.png"):
        (house.folder() / "inbox" / name).write_bytes(an_image("png"))
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    assert names(house.folder() / "outbox") == ["a.png", "b.png", "c.png"]
    assert server.counts().generates_accepted == 3
