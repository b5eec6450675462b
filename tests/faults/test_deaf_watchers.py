"""The ways in which a watcher goes deaf without a word: each is noticed and healed by the running daemon.

All with `scan_interval: 1h`: what comes out has been noticed by the healing, not by the routine. The daemon's clock
runs ten times as fast, so that its tick of 5 s takes half a second.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import Daemon, House, Line, names
from tests.support.failing import QUEUE, program
from tests.support.images import an_image
from tests.support.mounting import mount, mounted, needs_mounts, unmount

FAST = "clock:10"
FOLDER_DEFAULTS = "settle: 2s, settle_max: 20s, scan_interval: 1h"


@pytest.fixture
def quick(house: House) -> House:
    """A house whose times are meant for a clock that runs ten times as fast."""
    rebuild(house)
    return house


def rebuild(house: House, folders: dict[str, str] | None = None, defaults: str = FOLDER_DEFAULTS) -> None:
    house.build(defaults=defaults, folders=folders)
    text = house.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", "poll_interval: 3s")
    house.config.write_text(text, encoding="utf-8")


def drop(inbox: Path, name: str, seed: int = 0) -> None:
    (inbox / name).write_bytes(an_image("png", seed=seed))


def renewed(daemon: Daemon, words: str) -> str:
    """The reason of the first renewed watch that has these words."""
    return str(daemon.wait_for("watch.renewed", lambda line: words in line["why"])["why"])


# --- the inbox is another one ---


def delete_and_make_again(hot: Path) -> None:
    shutil.rmtree(hot / "inbox")
    (hot / "inbox").mkdir()


def rename_aside_and_make_anew(hot: Path) -> None:
    (hot / "inbox").rename(hot / "aside")
    (hot / "inbox").mkdir()


def mount_over(hot: Path) -> None:
    mount(hot / "inbox")


def unmount_and_mount_another(hot: Path) -> None:
    unmount(hot / "inbox")
    mount(hot / "inbox")


@pytest.fixture
def unmounted_at_the_end(house: House) -> Iterator[None]:
    yield
    while (house.folder() / "inbox").is_mount():
        unmount(house.folder() / "inbox")


@needs_mounts
@pytest.mark.usefixtures("unmounted_at_the_end")
@pytest.mark.parametrize(
    "deafen", [delete_and_make_again, rename_aside_and_make_anew, mount_over, unmount_and_mount_another]
)
def test_an_inbox_that_becomes_another_directory_is_watched_again(
    quick: House, server: Simulator, deafen: Callable[[Path], None]
) -> None:
    hot = quick.folder()
    if deafen is unmount_and_mount_another:
        mount(hot / "inbox")
    with quick.running(program(quick.config, FAST)) as daemon:
        drop(hot / "inbox", "before.png", seed=1)
        daemon.finished()
        deafen(hot)
        drop(hot / "inbox", "at once.png", seed=2)
        renewed(daemon, "")
        drop(hot / "inbox", "later.png", seed=3)
        daemon.finished(times=3)
        assert daemon.stop() == 0

    assert names(hot / "outbox") == ["at once.png", "before.png", "later.png"]
    assert names(hot / "inbox") == []
    assert os.listdir(hot / "inbox" / ".expandd") == []
    assert_good_client(server, images=3)


def test_an_inbox_made_anew_is_locked_anew(quick: House) -> None:
    hot = quick.folder()
    with quick.running(program(quick.config, FAST)) as daemon:
        drop(hot / "inbox", "before.png")
        daemon.finished()
        delete_and_make_again(hot)
        # The new directory may get the old one's number: then only its watch has ended.
        renewed(daemon, "")
        quick.config.write_text(quick.config.read_text().replace(str(quick.state_dir), str(quick.root / "other")))
        second = quick.call("run")

        assert second.returncode == 75
        assert str(daemon.process.pid) in second.stderr


# --- events that never come ---


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may shorten the kernel's queue")
def test_what_an_overflowing_queue_lost_is_scanned_for(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    usual = QUEUE.read_text()
    images = [hot / f"{number}.png" for number in range(6)]
    for number, path in enumerate(images):
        path.write_bytes(an_image("png", seed=number))
    with quick.running(program(quick.config, FAST, "queue:16")) as daemon:
        drop(hot / "inbox", "before.png", seed=99)
        daemon.finished()
        storm = [threading.Thread(target=make_noise, args=(hot / "inbox", number)) for number in range(4)]
        for thread in storm:
            thread.start()
        for path in images:
            path.rename(hot / "inbox" / path.name)
        for thread in storm:
            thread.join()
        renewed(daemon, "lost events")
        daemon.finished(times=7)

    assert QUEUE.read_text() == usual
    assert len(names(hot / "outbox")) == 7
    assert_good_client(server, images=7)


def make_noise(inbox: Path, number: int) -> None:
    """Temporary files of a kind that is never picked up, made and removed."""
    for count in range(1500):
        path = inbox / f".{number}-{count}.tmp"
        path.touch()
        path.unlink()


def test_a_hint_that_raises_silences_nobody_for_long(quick: House, server: Simulator) -> None:
    rebuild(quick, {"one": "offsets: {top: 10}", "two": "offsets: {top: 10}"})
    with quick.running(program(quick.config, FAST, "raise:1")) as daemon:
        drop(quick.folder("one") / "inbox", "before.png", seed=0)
        daemon.finished()
        drop(quick.folder("one") / "inbox", "makes it raise.png", seed=1)
        renewed(daemon, "its watch had ended")
        drop(quick.folder("one") / "inbox", "a.png", seed=2)
        drop(quick.folder("two") / "inbox", "b.png", seed=3)
        daemon.finished(times=4)

    assert names(quick.folder("one") / "outbox") == ["a.png", "before.png", "makes it raise.png"]
    assert names(quick.folder("two") / "outbox") == ["b.png"]
    assert_good_client(server, images=4)


# --- no watches left ---


def in_own_namespace(limit: int, arguments: list[str]) -> list[str]:
    """A command line that runs `arguments` where the kernel grants only `limit` inotify watches."""
    script = f'echo {limit} > /proc/sys/user/max_inotify_watches && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", *arguments]


def grant(daemon: Daemon, limit: int) -> None:
    """Raise the limit inside the daemon's namespace."""
    script = f"echo {limit} > /proc/sys/user/max_inotify_watches"
    enter = ["nsenter", "--user", "--preserve-credentials", "--target", str(daemon.process.pid)]
    subprocess.run([*enter, "sh", "-c", script], check=True)


@pytest.mark.usefixtures("own_namespace")
def test_without_watches_left_the_inbox_is_scanned_and_watched_later(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    quick.config.write_text(quick.config.read_text().replace("poll_interval: 3s", "poll_interval: 12s"))
    with quick.running(in_own_namespace(0, program(quick.config, "clock:40"))) as daemon:
        assert "max_user_watches" in renewed(daemon, "scanned instead")
        drop(hot / "inbox", "scanned.png", seed=1)
        daemon.finished()
        grant(daemon, 100)
        renewed(daemon, "can be watched again")
        drop(hot / "inbox", "seen.png", seed=2)
        daemon.finished(times=2)
        seen = daemon.wait_for("file.settled", lambda line: line["file"] == "seen.png")

    refused = [line for line in daemon.lines if "max_user_watches" in str(line.get("why"))]
    assert len(refused) == 1, "said once, however often it is tried again"
    assert seen["missed_by_events"] is False
    assert_good_client(server, images=2)


@pytest.mark.usefixtures("own_namespace")
def test_a_tree_with_more_folders_than_watches_is_scanned(quick: House, server: Simulator) -> None:
    rebuild(quick, {"hot": "offsets: {top: 10}, recursive: true"})
    hot = quick.folder()
    for number in range(20):
        (hot / "inbox" / f"album {number}").mkdir()
    with quick.running(in_own_namespace(8, program(quick.config, FAST))) as daemon:
        renewed(daemon, "scanned instead")
        for number in range(20):
            drop(hot / "inbox" / f"album {number}", "pic.png", seed=number)
        daemon.finished(times=20)

    assert_good_client(server, images=20)


# --- folders that are away ---


@needs_mounts
def test_an_unmounted_inbox_waits_and_nothing_is_inferred(quick: House, server: Simulator) -> None:
    rebuild(quick, {"away": "offsets: {top: 10}", "here": "offsets: {top: 10}"})
    away, here = quick.folder("away"), quick.folder("here")
    server.switch(generate_min=1.0, generate_max=1.0)
    with (
        stash(quick) as aside,
        mounted(away / "inbox"),
        quick.running(program(quick.config, FAST)) as daemon,
    ):
        drop(away / "inbox", "in work.png", seed=1)
        daemon.wait_for("job.accepted")
        drop(away / "inbox", "waits.png", seed=2)
        carry(away / "inbox", aside)
        daemon.wait_for("pause.started", lambda line: str(away / "inbox") in line["why"])
        drop(away / "inbox", "in the bare mount point.png", seed=3)
        drop(here / "inbox", "other.png", seed=4)
        daemon.wait_for("job.finished", lambda line: line["file"] == "other.png")
        assert os.listdir(away / "inbox") == ["in the bare mount point.png"]
        assert names(away / "done") == []

        carry(aside, away / "inbox")
        daemon.finished(times=3)
        assert not [line for line in daemon.lines if line["event"] == "job.returned"]

    assert names(away / "outbox") == names(away / "done") == ["in work.png", "waits.png"]
    assert os.listdir(away / "inbox") == ["in the bare mount point.png"]
    assert_good_client(server, images=3)


@needs_mounts
def test_a_restart_while_the_inbox_is_unmounted_withdraws_nothing(quick: House, server: Simulator) -> None:
    hot = quick.folder()
    server.set_fault("upload:503:always")
    with stash(quick) as aside, mounted(hot / "inbox"):
        with quick.running(program(quick.config, FAST)) as daemon:
            drop(hot / "inbox", "pic.png", seed=1)
            daemon.wait_for("job.retrying")
            daemon.kill()
        carry(hot / "inbox", aside)
        server.clear_faults()
        with quick.running(program(quick.config, FAST)) as daemon:
            daemon.wait_for("job.retrying", partial(says, "Another disk"))
            carry(aside, hot / "inbox")
            daemon.finished()
            assert not [line for line in daemon.lines if line["event"] == "job.returned"]

    assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=1)


def in_each(house: House, parts: Sequence[str]) -> dict[str, Path]:
    """A hot folder for each part, to be troubled in that part; in each an image is being expanded."""
    rebuild(house, dict.fromkeys(parts, "offsets: {top: 10}"))
    return {part: house.folder(part) for part in parts}


@needs_mounts
def test_unmounted_storage_gets_nothing_in_its_mount_point(quick: House, server: Simulator) -> None:
    folders = in_each(quick, ("outbox", "done", "error"))
    server.switch(generate_min=0.5, generate_max=0.5)
    with ExitStack() as stack:
        aside = {part: stack.enter_context(stash(quick, part)) for part in folders}
        for part, hot in folders.items():
            stack.enter_context(mounted(hot / part))
        daemon = stack.enter_context(quick.running(program(quick.config, FAST)))
        for number, hot in enumerate(folders.values()):
            drop(hot / "inbox", "warm.png", seed=100 + number)
            (hot / "inbox" / "notes.txt").write_text("no image")
        daemon.finished(times=3)
        daemon.wait_for("job.failed", is_over, times=3)
        for number, hot in enumerate(folders.values()):
            drop(hot / "inbox", "pic.png", seed=number)
        daemon.wait_for("job.accepted", times=6)
        for part, hot in folders.items():
            carry(hot / part, aside[part])
            (hot / "inbox" / "more notes.txt").write_text("no image")
        for part, hot in folders.items():
            daemon.wait_for("pause.started", partial(says, f"Nothing is mounted at {hot / part}"))
            assert os.listdir(hot / part) == []
            carry(aside[part], hot / part)
        daemon.finished(times=6)
        daemon.wait_for("job.failed", is_over, times=6)

        for hot in folders.values():
            assert names(hot / "outbox") == names(hot / "done") == ["pic.png", "warm.png"]
            assert names(hot / "error") == ["more notes.txt", "notes.txt"]
    assert_good_client(server, images=6)


def is_over(line: Line) -> bool:
    return "outcome" in line


def says(words: str, line: Line) -> bool:
    return words in line["why"]


def of_pause(pause: str, line: Line) -> bool:
    return pause in line["pause"]


def test_removed_folders_are_waited_for(quick: House, server: Simulator) -> None:
    folders = in_each(quick, ("inbox", "outbox", "done"))
    server.switch(generate_min=0.5, generate_max=0.5)
    with quick.running(program(quick.config, FAST)) as daemon:
        for number, hot in enumerate(folders.values()):
            drop(hot / "inbox", "pic.png", seed=number)
        daemon.wait_for("job.accepted", times=3)
        for part, hot in folders.items():
            (hot / part).rename(hot / "aside")
        for part, hot in folders.items():
            daemon.wait_for("pause.started", partial(says, str(hot / part)))
            assert not (hot / part).exists(), "a root is never made: it may be a mount point"
            (hot / "aside").rename(hot / part)
        daemon.finished(times=3)

    for hot in folders.values():
        assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=3)


def bound_by_permissions(arguments: list[str]) -> list[str]:
    """A command line that runs `arguments` so that permissions bind it, as they bind everybody but root."""
    if os.geteuid() != 0:
        return arguments
    powers = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}", *arguments]


def test_folders_that_may_not_be_entered_are_waited_for(quick: House, server: Simulator) -> None:
    folders = in_each(quick, ("inbox", "outbox", "done"))
    server.switch(generate_min=0.5, generate_max=0.5)
    with quick.running(bound_by_permissions(program(quick.config, FAST))) as daemon:
        for number, hot in enumerate(folders.values()):
            drop(hot / "inbox", "pic.png", seed=number)
        daemon.wait_for("job.accepted", times=3)
        for part, hot in folders.items():
            (hot / part).chmod(0)
        for part, hot in folders.items():
            line = daemon.wait_for("pause.started", partial(says, str(hot / part)))
            assert "ermission" in line["why"]
            (hot / part).chmod(0o755)
        daemon.finished(times=3)

    for hot in folders.values():
        assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=3)


def test_a_stale_handle_is_a_folder_that_is_away(quick: House, server: Simulator) -> None:
    methods = ("scan", "stat", "claim", "identity", "directory_identity", "inbox_state", "publish")
    folders = in_each(quick, methods)
    for number, hot in enumerate(folders.values()):
        drop(hot / "inbox", "pic.png", seed=number)
    rules = [f"folders.{method}:ESTALE:1:3@{method}" for method in methods]
    with quick.running(program(quick.config, FAST, *rules)) as daemon:
        for hot in folders.values():
            shut = daemon.wait_for("pause.started", partial(of_pause, str(hot)))
            assert "tale file handle" in shut["why"]
            daemon.wait_for("pause.ended", partial(of_pause, shut["pause"]))
        daemon.finished(times=len(methods))

    for hot in folders.values():
        assert names(hot / "outbox") == names(hot / "done") == ["pic.png"]
    assert_good_client(server, images=len(methods))


# --- require_mount ---


@needs_mounts
def test_a_folder_that_requires_a_mount_waits_for_it(quick: House, server: Simulator) -> None:
    share = quick.root / "share"
    share.mkdir()
    rebuild(quick, {"share/hot": f"offsets: {{top: 10}}, require_mount: {share}", "here": "offsets: {top: 10}"})
    shutil.rmtree(share / "hot")
    with quick.running(program(quick.config, FAST)) as daemon:
        daemon.wait_for("pause.started", lambda line: f"Nothing is mounted at {share}" in line["why"])
        drop(quick.folder("here") / "inbox", "other.png", seed=1)
        daemon.finished()
        assert os.listdir(share) == []
        with mounted(share):
            for part in ("inbox", "outbox", "done", "error"):
                (share / "hot" / part).mkdir(parents=True)
            drop(share / "hot" / "inbox", "pic.png", seed=2)
            daemon.finished(times=2)
            assert names(share / "hot" / "outbox") == names(share / "hot" / "done") == ["pic.png"]
            assert daemon.stop() == 0

    assert os.listdir(share) == []
    assert_good_client(server, images=2)


@needs_mounts
def test_a_required_mount_that_goes_before_a_delivery_delays_it(quick: House, server: Simulator) -> None:
    share = quick.folder() / "outbox"
    rebuild(quick, {"hot": f"offsets: {{top: 10}}, require_mount: {share}"})
    server.switch(generate_min=0.5, generate_max=0.5)
    with stash(quick) as aside, mounted(share):
        with quick.running(program(quick.config, FAST)) as daemon:
            drop(quick.folder() / "inbox", "pic.png", seed=1)
            daemon.wait_for("job.accepted")
            daemon.kill()
        carry(share, aside)
        # Another process, which has never seen it mounted.
        with quick.running(program(quick.config, FAST)) as daemon:
            daemon.wait_for("pause.started", lambda line: f"Nothing is mounted at {share}" in line["why"])
            daemon.wait_for("job.retrying", lambda line: f"Nothing is mounted at {share}" in line["why"])
            assert os.listdir(share) == []
            carry(aside, share)
            daemon.finished()
        assert names(share) == ["pic.png"]
    assert_good_client(server, images=1)


def stash(house: House, name: str = "") -> _Stash:
    return _Stash(house.root / f"elsewhere {name}")


class _Stash:
    """A place to which a mounted file system can be carried, and from which it comes back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> Path:
        self._directory.mkdir()
        return self._directory

    def __exit__(self, *_: object) -> None:
        if self._directory.is_mount():
            unmount(self._directory)


def carry(source: Path, target: Path) -> None:
    """The file system mounted at `source` disappears from there and is mounted at `target`."""
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True)
    unmount(source)
