"""How real programs put a file into a folder, event by event: each ends as one job with the whole content.

The daemon's clock runs ten times as fast, and no scan but the first helps.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import House, names
from tests.support.failing import program
from tests.support.images import an_image

FAST = "clock:10"


@pytest.fixture
def quick(house: House) -> House:
    """A house whose times are meant for a clock that runs ten times as fast."""
    house.build(defaults="settle: 2s, settle_max: 60s, scan_interval: 1h", folders={"hot": "offsets: {top: 10}"})
    text = house.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", "poll_interval: 3s")
    house.config.write_text(text, encoding="utf-8")
    return house


def test_finder_over_samba_makes_an_empty_file_first_and_fills_it_later(quick: House, server: Simulator) -> None:
    inbox, content = quick.folder() / "inbox", an_image("jpeg", 400, 300)
    with quick.running(program(quick.config, FAST)) as daemon:
        daemon.wait_for("engine.recovered")
        (inbox / "IMG_1.jpg").touch()
        (inbox / "._IMG_1.jpg").write_bytes(b"\0\x05\x16\x07" + bytes(4092))
        os.setxattr(inbox / "IMG_1.jpg", "user.DOSATTRIB", b"0x20")
        daemon.wait_for("file.unfinished", lambda line: line["file"] == "IMG_1.jpg")
        with (inbox / "IMG_1.jpg").open("r+b") as file:
            file.write(content[:1000])
        with (inbox / "IMG_1.jpg").open("ab") as file:
            file.write(content[1000:])
        daemon.finished()

    assert (quick.folder() / "done" / "IMG_1.jpg").read_bytes() == content
    assert names(inbox) == ["._IMG_1.jpg"]
    assert_good_client(server, images=1)


def test_editors_that_save_in_other_ways_end_as_one_file_each(quick: House, server: Simulator) -> None:
    inbox = quick.folder() / "inbox"
    content = {name: an_image("png", seed=number) for number, name in enumerate(("gedit", "office", "mac", "rsync"))}
    with quick.running(program(quick.config, FAST)) as daemon:
        daemon.wait_for("engine.recovered")
        # gedit and GIMP: a hidden copy beside it, renamed over the old one.
        (inbox / "gedit.png").write_bytes(an_image("png", seed=90))
        (inbox / ".goutputstream-X1").write_bytes(content["gedit"])
        (inbox / ".goutputstream-X1").rename(inbox / "gedit.png")
        # Office and Photoshop: the old one becomes a temporary file, the new one gets the name, the old one goes.
        (inbox / "office.png").write_bytes(an_image("png", seed=91))
        (inbox / "office.png").rename(inbox / "~office.tmp")
        (inbox / "office.png").write_bytes(content["office"])
        (inbox / "~office.tmp").unlink()
        # macOS: a directory of its own, out of which the new file is moved.
        (inbox / ".sb-1234").mkdir()
        (inbox / ".sb-1234" / "mac.png").write_bytes(content["mac"])
        (inbox / ".sb-1234" / "mac.png").rename(inbox / "mac.png")
        (inbox / ".sb-1234").rmdir()
        # rsync: a hidden name with a random ending, renamed when complete, with the times of the source.
        (inbox / ".rsync.png.aB3xYz").write_bytes(content["rsync"])
        os.utime(inbox / ".rsync.png.aB3xYz", (0, 0))
        (inbox / ".rsync.png.aB3xYz").rename(inbox / "rsync.png")
        daemon.finished(times=4)
        assert daemon.stop() == 0

    for name, expected in content.items():
        assert (quick.folder() / "done" / f"{name}.png").read_bytes() == expected
    assert names(inbox) == []
    assert_good_client(server, images=4)


def test_what_comes_while_the_daemon_starts_is_picked_up_once(quick: House, server: Simulator) -> None:
    quick.config.write_text("workers: 16\n" + quick.config.read_text())
    inbox, over = quick.folder() / "inbox", threading.Event()
    dropped: list[str] = []

    def write() -> None:
        while not over.wait(0.02) and len(dropped) < 24:
            name = f"pic{len(dropped):02}.png"
            (quick.root / name).write_bytes(an_image("png", seed=len(dropped)))
            (quick.root / name).rename(inbox / name)
            dropped.append(name)

    writer = threading.Thread(target=write)
    writer.start()
    with quick.running(program(quick.config, FAST)) as daemon:
        daemon.wait_for("file.settled")
        over.set()
        writer.join()
        daemon.finished(times=len(dropped))

    assert names(quick.folder() / "outbox") == names(quick.folder() / "done") == dropped
    assert_good_client(server, images=len(dropped))


@pytest.mark.parametrize("seconds", [10_413_792_000, -2_177_452_800])
def test_a_file_of_any_date_is_taken_like_any_other(quick: House, server: Simulator, seconds: int) -> None:
    """The years 2300 and 1901."""
    inbox = quick.folder() / "inbox"
    content = an_image("png")
    (quick.root / "pic.png").write_bytes(content)
    os.utime(quick.root / "pic.png", (seconds, seconds))
    (quick.root / "pic.png").rename(inbox / "pic.png")
    with quick.running(program(quick.config, FAST)) as daemon:
        daemon.finished()
        assert quick.call("why", "pic.png").returncode == 0
        assert daemon.stop() == 0

    assert (quick.folder() / "done" / "pic.png").read_bytes() == content
    assert_good_client(server, images=1)


@contextmanager
def immovable(path: Path) -> Iterator[None]:
    """A file that not even root can rename or remove."""
    subprocess.run(["chattr", "+i", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)


def may_be_immovable(directory: Path) -> bool:
    path = directory / "tried"
    path.touch()
    tried = subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False)
    subprocess.run(["chattr", "-i", str(path)], capture_output=True, check=False)
    return tried.returncode == 0


def test_a_file_that_cannot_be_moved_is_not_paid_and_holds_up_nobody(quick: House, server: Simulator) -> None:
    if not may_be_immovable(quick.root):
        pytest.skip("this file system, or this user, cannot make a file immutable")
    inbox = quick.folder() / "inbox"
    (inbox / "stuck.png").write_bytes(an_image("png", seed=1))
    with ExitStack() as held:
        held.enter_context(immovable(inbox / "stuck.png"))
        with quick.running(program(quick.config, FAST)) as daemon:
            daemon.wait_for("job.retrying", lambda line: line["file"] == "stuck.png" and "permitted" in line["why"])
            (inbox / "other.png").write_bytes(an_image("png", seed=2))
            daemon.wait_for("job.finished", lambda line: line["file"] == "other.png")
            assert sum(server.counts().generates_by_image.values()) == 1
            held.close()
            daemon.finished(times=2)

    assert names(quick.folder() / "done") == ["other.png", "stuck.png"]
    assert_good_client(server, images=2)
