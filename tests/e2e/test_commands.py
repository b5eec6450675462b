"""What people order while the real program runs, and while it does not."""

from __future__ import annotations

import time

from expandd.simulator.server import Simulator
from tests.support.daemon import PATIENCE, House, names
from tests.support.images import an_image


def paid(server: Simulator) -> int:
    return server.counts().generates_accepted


def seen(house: House, words: str) -> str:
    """What `status` says once it says these words: the daemon tells what it does about once a second."""
    deadline = time.monotonic() + PATIENCE
    while words not in (said := house.call("status").stdout):
        assert time.monotonic() < deadline, said
    return said


def test_folder_commands_work_while_the_daemon_runs(house: House, server: Simulator) -> None:
    inbox = house.folder() / "inbox"
    with house.running() as daemon:
        outcome = house.call("pause", str(house.folder()))
        daemon.wait_for("pause.started", lambda line: line["reason"] == "paused")
        (inbox / "pic.png").write_bytes(an_image("png"))
        status = seen(house, "A person has paused this")
        resumed = house.call("resume", str(inbox))
        daemon.finished()
        (inbox / "bad.png").write_bytes(b"GIF89a no image of ours")
        daemon.wait_for("job.failed")
        (house.folder() / "error" / "bad.png").write_bytes(an_image("png", seed=2))
        retried = house.call("retry", "bad.png")
        daemon.finished(times=2)

    assert outcome.returncode == resumed.returncode == retried.returncode == 0
    assert "within seconds" in outcome.stdout
    assert f"in {inbox} since" in status
    assert names(house.folder() / "outbox") == ["bad.png", "pic.png"]
    assert names(house.folder() / "error") == []
    assert paid(server) == 2


def test_commands_given_while_stopped_are_carried_out_at_the_next_start(house: House, server: Simulator) -> None:
    (house.folder() / "inbox" / "a.png").write_bytes(an_image("png"))
    house.call("once")
    left, cancels = house.call("pause"), house.call("cancel", "--all", answer="n\n")
    pending = house.call("status").stdout
    (house.folder() / "inbox" / "b.png").write_bytes(an_image("png", seed=2))
    waits = house.call("once", "--patience", "1")
    house.call("resume")
    goes = house.call("once")

    assert "when expandd runs again" in left.stdout
    assert "pause everything. It is carried out when expandd runs again." in pending
    assert "Everything: 0 images that nothing is paid for go to the error folder." in cancels.stdout
    assert "Ordered" not in house.call("status").stdout
    assert (waits.returncode, goes.returncode) == (4, 0)
    assert paid(server) == 2


def test_a_redo_says_what_it_costs_and_pays_only_once_it_is_confirmed(house: House, server: Simulator) -> None:
    (house.folder() / "inbox" / "a.png").write_bytes(an_image("png"))
    house.call("once")
    asked = house.call("redo", "a.png")
    refused = house.call("redo", "a.png", answer="n\n")
    before = house.call("once"), paid(server)
    meant = house.call("redo", "a.png", "--yes")
    after = house.call("once"), paid(server)

    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert refused.returncode == 0
    assert "Nothing was ordered." in refused.stdout
    assert "1 image to expand once more and TO PAY FOR ONCE MORE" in asked.stdout
    assert (before[0].returncode, before[1]) == (0, 1)
    assert meant.returncode == 0
    assert (after[0].returncode, after[1]) == (0, 2)
    assert names(house.folder() / "outbox") == ["a-2.png", "a.png"]
    assert names(house.folder() / "done") == ["a.png"]


def test_what_is_held_as_a_burst_is_cancelled_or_released(house: House, server: Simulator) -> None:
    house.build(folders={"hot": "offsets: {top: 10}, burst: {files: 2, within: 10m}"})
    inbox = house.folder() / "inbox"
    for number in range(9):
        (inbox / f"{number}.png").write_bytes(an_image("png", seed=number))
    with house.running() as daemon:
        daemon.wait_for("pause.started", lambda line: line["reason"] == "burst")
        house.call("cancel", "8.png")
        daemon.wait_for("job.failed")
        house.call("release", str(house.folder()))
        daemon.finished(times=8)

    assert names(house.folder() / "error") == ["8.png"]
    assert len(names(house.folder() / "outbox")) == 8
    assert paid(server) == 8


def test_what_cannot_be_done_is_said_with_what_can(house: House) -> None:
    house.call("once")
    (house.folder() / "inbox" / "wait.png").write_bytes(an_image("png"))
    requests = ("retry nothing.png", "retry wait.png", "redo wait.png --yes", "release wait.png", "retry", "pause a b")
    answers = {words: house.call(*words.split()) for words in requests}

    assert {answer.returncode for answer in answers.values()} == {2}
    assert "Nothing is known of nothing.png" in answers["retry nothing.png"].stderr
    assert "waits in its inbox" in answers["retry wait.png"].stderr
    assert "no original" in answers["redo wait.png --yes"].stderr


def test_once_leaves_what_waits_for_a_person_and_does_all_the_rest(house: House, server: Simulator) -> None:
    house.build(
        folders={"a": "offsets: {left: 10}", "b": "offsets: {left: 10}, settle: 7s, settle_max: 60s"},
        defaults="settle: 200ms, settle_max: 2s",
    )
    (house.folder("a") / "inbox" / "first.png").write_bytes(an_image("png"))
    house.call("once")
    house.call("pause", str(house.folder("a")))
    nothing_waits = house.call("once")
    (house.folder("b") / "inbox" / "slow.png").write_bytes(an_image("png", seed=2))
    while_another_is_paused = house.call("once")
    house.call("resume")
    (house.folder("a") / "inbox" / "held.png").write_bytes(an_image("png", seed=3))
    house.call("pause", str(house.folder("a") / "inbox" / "held.png"))
    (house.folder("a") / "inbox" / "other.png").write_bytes(an_image("png", seed=4))
    by_name = house.call("once")

    assert (nothing_waits.returncode, while_another_is_paused.returncode, by_name.returncode) == (0, 0, 4)
    assert names(house.folder("b") / "outbox") == ["slow.png"]
    assert names(house.folder("a") / "outbox") == ["first.png", "other.png"]
    assert names(house.folder("a") / "inbox") == ["held.png"]


def test_no_verb_makes_a_store_where_none_is(house: House) -> None:
    (house.folder() / "inbox" / "a.png").write_bytes(an_image("png"))
    house.call("once")
    (house.state_dir / "journal.sqlite").unlink()
    outcome = house.call("pause")

    assert outcome.returncode == 2
    assert "is its disk" in outcome.stderr or "is not mounted" in outcome.stderr
    assert not (house.state_dir / "journal.sqlite").exists()


def test_status_names_each_file_in_error_once_and_none_that_came_through(house: House) -> None:
    inbox, error = house.folder() / "inbox", house.folder() / "error"
    for name in ("stays.png", "comes.png"):
        (inbox / name).write_bytes(b"GIF89a no image of ours")
    house.call("once")
    (error / "comes.png").write_bytes(an_image("png"))
    house.call("retry", "--all")
    house.call("once")
    said = house.call("status").stdout.splitlines()

    assert [line.split()[1] for line in said if line.startswith("error ")] == ["stays.png:"]
