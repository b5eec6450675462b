"""What the disk refuses: every errno at every operation, and real file systems that fill up.

Always: one paid call an image, nothing lost, nothing partial, nothing in the error folder because of the disk, a line
that names the folder, and the work goes on by itself.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import Daemon, House, Line, names
from tests.support.failing import program
from tests.support.images import an_image
from tests.support.mounting import fill, mounted, needs_mounts, remount

FAST = "clock:10"
ERRNOS = ("ENOSPC", "EROFS", "EACCES", "EIO", "EXDEV", "ENAMETOOLONG")
OPERATIONS = (
    "make_directories",
    "sync_directory",
    "create",
    "fill",
    "give_name",
    "move",
    "link",
    "rename",
    "replace",
    "digest",
    "remove",
)


@pytest.fixture
def quick(house: House) -> House:
    """A house whose times are meant for a clock that runs ten times as fast."""
    rebuild(house, ["hot"])
    return house


def rebuild(house: House, folders: Iterable[str], keys: str = "offsets: {top: 10}", top: str = "") -> None:
    house.build(top=top, defaults="settle: 2s, settle_max: 20s", folders=dict.fromkeys(folders, keys))
    text = house.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", "poll_interval: 3s")
    house.config.write_text(text, encoding="utf-8")


# --- every errno at every operation ---

SAID = frozenset({"pause.started", "job.retrying"})

APART = 1 if os.environ.get("EXPANDD_STORM") == "1" else 3
"""Without EXPANDD_STORM=1 each operation meets two of the errnos, and each errno three or four of the operations.

What is made of an errno is decided in one place, adapters/files/folder_errors.py, whatever the operation.
"""


def test_every_operation_may_fail_in_every_way(quick: House, server: Simulator) -> None:
    """A hot folder for each pair of operation and errno, all in one daemon."""
    pairs = {
        f"{operation}-{name}": (operation, name)
        for row, operation in enumerate(OPERATIONS)
        for column, name in enumerate(ERRNOS)
        if (row + column) % APART == 0
    }
    rebuild(quick, pairs, top="workers: 16")
    text = quick.config.read_text()
    for name in ERRNOS:
        text = text.replace(f"/remove-{name},", f"/remove-{name}, originals: delete,")
    quick.config.write_text(text)
    dropped = {pair: an_image("png", 200, 160, seed=number) for number, pair in enumerate(pairs)}
    for pair, content in dropped.items():
        (quick.folder(pair) / "inbox" / "pic.png").write_bytes(content)
        (quick.folder(pair) / "inbox" / "notes.txt").write_text("no image")
    # The first two tries fail, of whatever step comes to the operation first.
    rules = [f"{operation}:{name}:1:2@{pair}" for pair, (operation, name) in pairs.items()]
    with quick.running(program(quick.config, FAST, *rules)) as daemon:
        daemon.finished(times=len(pairs))
        daemon.wait_for("job.failed", is_over, times=len(pairs))
        assert daemon.stop() == 0

    told = [f"{line['why']} {line.get('inbox', '')}" for line in daemon.lines if line["event"] in SAID]
    for pair, (operation, name) in pairs.items():
        assert_in_place(quick.folder(pair), None if operation == "remove" else dropped[pair])
        # A link to another disk becomes a copy without a word; all else is said, and which folder it concerns.
        if (operation, name) != ("link", "EXDEV"):
            assert any(str(quick.folder(pair)) in why for why in told), pair
    assert not [line for line in daemon.lines if line["event"] in {"bug.found", "not.json"}]
    assert os.listdir(quick.state_dir / "spool") == []
    assert_good_client(server, images=len(pairs))


def is_over(line: Line) -> bool:
    return "outcome" in line


def assert_in_place(hot: Path, content: bytes | None) -> None:
    """The result is whole in the outbox, the original in done, the text in error, and nothing else anywhere."""
    assert os.listdir(hot / "outbox") == ["pic.png"]
    assert is_whole((hot / "outbox" / "pic.png").read_bytes())
    assert [(hot / "done" / name).read_bytes() for name in os.listdir(hot / "done")] == ([content] if content else [])
    assert sorted(os.listdir(hot / "error")) == ["notes.txt", "notes.txt.error.json"]
    assert json.loads((hot / "error" / "notes.txt.error.json").read_text())["code"] == "unsupported_type"
    assert names(hot / "inbox") == []
    assert os.listdir(hot / "inbox" / ".expandd") == []


def is_whole(content: bytes) -> bool:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
    return True


def test_the_spool_may_fail_in_every_way(quick: House, server: Simulator) -> None:
    content = an_image("png", 200, 160)
    (quick.folder() / "inbox" / "pic.png").write_bytes(content)
    (quick.folder() / "inbox" / "notes.txt").write_text("no image")
    rules = [f"{operation}:{name}:1@spool" for operation in ("rename", "digest") for name in ERRNOS]
    # A dozen failures one after the other: the waits between them grow.
    quick.config.write_text(quick.config.read_text().replace("poll_interval: 3s", "poll_interval: 20s"))
    with quick.running(program(quick.config, "clock:60", *rules)) as daemon:
        daemon.wait_for("pause.started", lambda line: str(quick.state_dir) in line["why"])
        daemon.finished()
        daemon.wait_for("job.failed", is_over)

    assert_in_place(quick.folder(), content)
    assert not [line for line in daemon.lines if line["event"] in {"bug.found", "not.json"}]
    assert_good_client(server, images=1)


# --- real file systems that fill up ---


def room_again(ballast: Path) -> None:
    ballast.unlink()


def in_words(directory: Path, line: Line) -> bool:
    """Whether a line names the directory and asks for room there."""
    return str(directory) in line["why"] and "room" in line["why"].lower()


@needs_mounts
@pytest.mark.parametrize("part", ["outbox", "done"])
def test_nothing_is_bought_that_cannot_be_stored(quick: House, server: Simulator, part: str) -> None:
    hot = quick.folder()
    with mounted(hot / part):
        ballast = fill(hot / part)
        (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
        with quick.running(program(quick.config, FAST)) as daemon:
            daemon.wait_for("pause.started", partial(in_words, hot / part))
            assert server.counts().generates_by_image == {}
            room_again(ballast)
            daemon.finished()
        assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=1)


@needs_mounts
@pytest.mark.parametrize("part", ["outbox", "done"])
def test_what_was_paid_for_waits_for_room(quick: House, server: Simulator, part: str) -> None:
    hot = quick.folder()
    # Noise: the result must not fit into the few kB that a directory entry takes.
    content = an_image("png", 400, 300)
    server.switch(generate_min=0.5, generate_max=0.5)
    with mounted(hot / part), quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "pic.png").write_bytes(content)
        daemon.wait_for("job.accepted")
        ballast = fill(hot / part)
        daemon.wait_for("job.retrying", partial(in_words, hot / part), times=2)
        assert names(hot / part) == [ballast.name]
        room_again(ballast)
        daemon.finished()
        assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
        assert is_whole((hot / "outbox" / "pic.png").read_bytes())
        assert (hot / "done" / "pic.png").read_bytes() == content
    assert names(hot / "error") == []
    assert_good_client(server, images=1)


@needs_mounts
def test_an_outbox_that_becomes_read_only_is_waited_for(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    server.switch(generate_min=0.5, generate_max=0.5)
    with mounted(hot / "outbox"), quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.wait_for("job.accepted")
        remount(hot / "outbox", "ro")
        line = daemon.wait_for("pause.started", lambda line: str(hot / "outbox") in line["why"])
        remount(hot / "outbox", "rw")
        daemon.finished()
        assert names(hot / "outbox") == ["pic.png"]
    assert "mount options" in line["why"]
    assert_good_client(server, images=1)


@needs_mounts
def test_a_full_inbox_is_waited_for(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    # A claim needs a directory of its own, and this file system has no place for one more: it holds the root, the work
    # folder with the name of its lock, which takes of the same room, and four files.
    with mounted(hot / "inbox", options="nr_inodes=7"):
        with quick.running(program(quick.config, FAST)) as daemon:
            daemon.wait_for("engine.recovered")
            ballast = [hot / "inbox" / f".ballast{number}.tmp" for number in range(2)]
            for path in ballast:
                path.touch()
            (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
            (hot / "inbox" / "notes.txt").write_text("no image")
            daemon.wait_for("pause.started", partial(in_words, hot / "inbox"))
            for path in ballast:
                path.unlink()
            daemon.finished()
            daemon.wait_for("job.failed", is_over)
        assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
        assert names(hot / "error") == ["notes.txt"]
    assert_good_client(server, images=1)


@needs_mounts
def test_no_room_for_an_upright_copy_is_waited_for(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    with mounted(hot / "inbox", size="64k"), quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "turned.jpg").write_bytes(an_image("jpeg", 300, 200, orientation=6))
        ballast = fill(hot / "inbox")
        daemon.wait_for("job.retrying", lambda line: "room" in line["why"].lower() or "space" in line["why"])
        room_again(ballast)
        daemon.finished()
        assert names(hot / "outbox") == names(hot / "done") == ["turned.jpg"]
    assert names(hot / "error") == []
    assert_good_client(server, images=1)


@needs_mounts
def test_a_full_state_directory_stops_spending_and_says_so(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    quick.state_dir.mkdir()
    with mounted(quick.state_dir, size="64m"), quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.finished()
        ballast = fill(quick.state_dir)
        # Leaves the job database a little, the spool's floor not.
        os.truncate(ballast, ballast.stat().st_size - (4 << 20))
        (hot / "inbox" / "waits.png").write_bytes(an_image("png", seed=2))
        daemon.wait_for("pause.started", partial(in_words, quick.state_dir))
        assert sum(server.counts().generates_by_image.values()) == 1
        room_again(ballast)
        daemon.finished(times=2)
    assert names(hot / "outbox") == names(hot / "done") == ["pic.png", "waits.png"]
    assert_good_client(server, images=2)


@needs_mounts
def test_a_state_directory_that_fills_up_after_paying_keeps_the_result(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    quick.state_dir.mkdir()
    server.switch(generate_min=600.0, generate_max=600.0)
    with mounted(quick.state_dir, size="64m"), quick.running(program(quick.config, FAST)) as daemon:
        (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.wait_for("job.accepted")
        ballast = fill(quick.state_dir)
        server.clock.advance(600.0)
        # Not even the job database can be written: nothing moves, nothing is lost.
        shut = daemon.wait_for("pause.started", partial(in_words, quick.state_dir))
        assert shut["pause"] == "job database"
        assert names(hot / "outbox") == []
        room_again(ballast)
        daemon.wait_for("pause.ended", lambda line: line["pause"] == "job database")
        daemon.finished()
    assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=1)


@needs_mounts
def test_no_inodes_left_is_no_room(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    with mounted(hot / "outbox", options="nr_inodes=4"), quick.running(program(quick.config, FAST)) as daemon:
        for number in range(3):
            (hot / "outbox" / f".{number}").touch()
        (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.wait_for("pause.started", partial(in_words, hot / "outbox"))
        for number in range(3):
            (hot / "outbox" / f".{number}").unlink()
        daemon.finished()
        assert names(hot / "outbox") == ["pic.png"]
    assert_good_client(server, images=1)


@needs_mounts
def test_every_folder_may_be_a_disk_of_its_own(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    content = an_image("jpeg", 400, 300)
    with mounted(hot / "outbox"), mounted(hot / "done"), mounted(hot / "error"), mounted(hot / "inbox"):
        with quick.running(program(quick.config, FAST)) as daemon:
            (hot / "inbox" / "pic.png").write_bytes(content)
            (hot / "inbox" / "notes.txt").write_text("no image")
            daemon.finished()
            daemon.wait_for("job.failed", is_over)
            daemon_lines(daemon)
        assert names(hot / "outbox") == ["pic.jpg"]
        assert (hot / "done" / "pic.png").read_bytes() == content
        assert names(hot / "error") == ["notes.txt"]
        assert names(hot / "inbox") == []
    assert_good_client(server, images=1)


def daemon_lines(daemon: Daemon) -> None:
    """Nothing of this was worth a warning."""
    assert not [line for line in daemon.lines if line["event"] in {"pause.started", "bug.found"}]
