"""The real program as one user for a day, a person as another, at the steps that need one to wait: late and lost ones.

Each attempt has a hot folder of its own, in inboxes that are not sticky. All of it is one daemon, with two restarts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.adapters.files.recovery_record import written
from expandd.domain.job import JobState
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.daemon import PARTS, Daemon, House, Line, command
from tests.support.forked import begun
from tests.support.images import an_image
from tests.support.jobs import a_job_in, a_snapshot
from tests.support.mounting import needs_mounts
from tests.trust.conftest import DAEMON, GROUP
from tests.trust.people import as_user, person

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users"),
    needs_mounts,
    pytest.mark.timeout(180),
]

LONG = 600.0
"""Seconds that a result takes: nobody waits for them, the clock of the API is moved."""

SWAP = 'mv "$inbox/.expandd" "$inbox/.aside"; mkdir "$inbox/.expandd"; ln -s "$state" "$inbox/.expandd/$job"'
BACK = 'mv "$inbox/.expandd" "$inbox/.lure"; mv "$inbox/.aside" "$inbox/.expandd"'

FORGED = """
mv "$inbox/.expandd" "$inbox/.aside"
mv "$outbox/sub" "$inbox/.expandd"
mv "$inbox/.expandd/deep" "$inbox/.expandd/forged"
cd "$inbox/.expandd/forged"
cat > first.png.json
mv first.png.json .job.json
mv first.png forged.png
"""
"""The daemon's own directory and report, out of its outbox, as a work folder with a record."""

LINKS = """
mkdir "$inbox/sub"
ln -s "$theirs/inbox" "$outbox/sub"
ln -s "$state" "$done/sub"
ln -s "$state" "$error/sub"
ln -s "$state/tokens.json" "$outbox/top.png.json"
ln -s "$state/journal.sqlite" "$error/pic.png.error.json"
"""

SETTLING = """
cat > "$inbox/.mine"
mkdir "$inbox/sub" "$inbox/lure"
ln -s "$theirs/inbox" "$inbox/aside"
cp "$inbox/.mine" "$inbox/sub/pic.png"
for turn in $(seq 100); do
    mv "$inbox/sub" "$inbox/lure/sub"; mv "$inbox/aside" "$inbox/sub"
    mv "$inbox/sub" "$inbox/aside"; mv "$inbox/lure/sub" "$inbox/sub"
done
mv "$inbox/sub" "$inbox/lure/sub"; mv "$inbox/aside" "$inbox/sub"
"""

NAMES = ("NUL.png", "CON.jpg", "-rf.png", "$(id).png", "%n%s.png", ";reboot.png", "new\nline.png")


@dataclass(slots=True)
class Day:
    """The daemon of this day, what it was given, and its log."""

    house: House
    server: Simulator
    images: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    daemon: Daemon | None = None

    def image(self, name: str) -> bytes:
        """An image of its own for each name."""
        return self.images.setdefault(name, an_image("png", 64, 64, seed=len(self.images) + 1))

    def person(self, folder: str, script: str, content: bytes = b"") -> None:
        root, house = self.house.folder(folder), self.house
        places = {part: root / part for part in PARTS}
        hidden = {"state": house.state_dir, "theirs": house.folder("theirs")}
        person(script, content, **places, **hidden, job=Path(self.jobs.get(folder, "")))

    def drop(self, folder: str, name: str) -> None:
        self.person(folder, f"cat > \"$inbox/\"'{name}'", self.image(f"{folder}/{name}"))

    def wait(self, event: str, folder: str, name: str = "") -> Line:
        assert self.daemon is not None
        inbox = str(self.house.folder(folder) / "inbox")
        return self.daemon.wait_for(event, lambda line: line.get("inbox") == inbox and name in str(line.get("file")))

    def start(self) -> None:
        line = [*as_user(DAEMON), *command(), "run", "--verbose", "--config", str(self.house.config)]
        self.daemon = Daemon(begun(line, {**os.environ, **self.house.environ}))
        self.daemon.wait_for("expandd.started")

    def stop(self) -> None:
        assert self.daemon is not None
        assert self.daemon.stop() == 0
        self.daemon.end()
        self.lines.extend(self.daemon.lines)

    def end(self) -> None:
        """As by a power cut."""
        assert self.daemon is not None
        self.daemon.end()
        self.lines.extend(self.daemon.lines)

    def verb(self, *arguments: str) -> str:
        line = [*as_user(DAEMON), *command(), arguments[0], "--config", str(self.house.config), *arguments[1:]]
        done = subprocess.run(
            line, env={**os.environ, **self.house.environ}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def quick(self) -> None:
        """All results that were waited for are there, and later ones take no time."""
        self.server.switch(generate_min=0.05, generate_max=0.1)
        self.server.clock.advance(LONG)

    def files(self, folder: str, part: str) -> dict[str, bytes]:
        """What people see in a part of a hot folder, and nothing behind a link."""
        root = self.house.folder(folder) / part
        found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        seen = {str(path.relative_to(root)): path for path in found}
        return {name: seen[name].read_bytes() for name in sorted(seen) if "/." not in f"/{name}"}


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    base = Path(tempfile.mkdtemp(prefix="expandd-day-"))
    switches = Switches(poll_limit=0.05, generate_min=0.05, generate_max=0.1, pro=True, credits=Decimal(500))
    try:
        base.chmod(0o755)
        with Simulator(switches) as server:
            day = prepared(base, server)
            try:
                morning(day)
                noon(day)
                night(day)
                yield day
            finally:
                if day.daemon is not None:
                    day.daemon.end()
    finally:
        shutil.rmtree(base)


def prepared(base: Path, server: Simulator) -> Day:
    house = House(base, server.api_url)
    chosen = "offsets: {top: 10}, recursive: true, sidecar: true"
    folders = ("downloaded", "delivered", "links", "settling", "odd", "forged", "rebuilt", "good", "theirs")
    house.build(folders=dict.fromkeys(folders, chosen), top="workers: 16")
    for name in folders:
        for part in PARTS:
            os.chown(house.folder(name) / part, DAEMON, DAEMON if name == "theirs" else GROUP)
            (house.folder(name) / part).chmod(0o2770)
    house.state_dir.mkdir(mode=0o700)
    os.chown(house.state_dir, DAEMON, DAEMON)
    day = Day(house, server)
    for relative in ("inbox/PAUSE", "inbox/pic.png", "outbox/old.png", "done/old.png"):
        path = house.folder("theirs") / relative
        path.write_bytes(day.image(f"theirs/{relative}"))
        path.chmod(0o660)
        os.chown(path, DAEMON, DAEMON)
    return day


def morning(day: Day) -> None:
    """What needs no waiting, and then images that wait for their results."""
    day.start()
    day.drop("good", "first.png")
    day.person("links", LINKS)
    for name in ("top.png", "sub/good.png"):
        day.drop("links", name)
    day.person("links", 'echo no image > "$inbox/sub/bad.png"; echo no image > "$inbox/pic.png"')
    day.person("settling", SETTLING, day.image("settling"))
    for name in NAMES:
        day.drop("odd", name)
    day.person("forged", 'mkdir -p "$inbox/sub/deep"')
    day.drop("forged", "sub/deep/first.png")
    for folder, name in (("good", "first.png"), ("forged", "first.png"), ("settling", "pic.png"), ("links", "good")):
        day.wait("job.finished", folder, name)
    day.wait("job.failed", "links", "bad.png")
    day.server.switch(generate_min=LONG, generate_max=LONG)
    for folder in ("downloaded", "delivered"):
        day.drop(folder, "tokens.json")
        day.jobs[folder] = str(day.wait("job.accepted", folder)["job"])


def noon(day: Day) -> None:
    """The person waits for late steps, forges a record, and has a command carried out behind a link."""
    assert day.daemon is not None
    doors = [day.house.folder("downloaded") / "outbox", day.house.folder("delivered") / "done"]
    for door in doors:
        door.chmod(0o500)
    day.quick()
    for folder in ("downloaded", "delivered"):
        day.wait(f"job.{folder}", folder)
        day.person(folder, SWAP)
    for door in doors:
        door.chmod(0o2770)
    victim = day.wait("job.finished", "good", "first.png")
    record = a_job_in(
        JobState.ACCEPTED,
        "forged",
        folder=a_snapshot(day.house.folder("forged")),
        relative=Path("forged.png"),
        image_id=str(victim["image_id"]),
    )
    day.person("forged", FORGED, written(record))
    day.drop("good", "second.png")
    day.wait("job.finished", "good", "second.png")
    failed = str(day.wait("job.failed", "links", "bad.png")["job"])
    day.stop()
    day.verb("retry", failed)
    day.person("links", 'mv "$error/sub-2" "$error/aside"; ln -s "$theirs/inbox" "$error/sub-2"')
    day.start()
    for folder in ("downloaded", "delivered"):
        day.person(folder, BACK)
    for folder in ("downloaded", "delivered"):
        day.wait("job.finished", folder)


def night(day: Day) -> None:
    """The database is lost while an image is paid for, and its work folder is swapped for a link."""
    day.server.switch(generate_min=LONG, generate_max=LONG)
    day.drop("rebuilt", "tokens.json")
    day.jobs["rebuilt"] = str(day.wait("job.accepted", "rebuilt")["job"])
    day.end()
    for path in day.house.state_dir.glob("journal.sqlite*"):
        path.unlink()
    day.person("rebuilt", SWAP)
    day.verb("rebuild")
    day.person("rebuilt", BACK)
    day.quick()
    day.start()
    day.wait("job.finished", "rebuilt")
    day.stop()


def test_a_swap_late_in_a_job_costs_nothing_and_the_job_goes_on(day: Day) -> None:
    for folder in ("downloaded", "delivered", "rebuilt"):
        assert day.files(folder, "done") == {"tokens.json": day.image(f"{folder}/tokens.json")}
        assert list(day.files(folder, "outbox")) == ["tokens.png", "tokens.png.json"]


def test_links_among_people_s_folders_are_gone_round(day: Day) -> None:
    assert list(day.files("links", "outbox")) == [
        *("sub-2/good.png", "sub-2/good.png.json", "top.png", "top.png-2.json"),
    ]
    assert list(day.files("links", "done")) == ["sub-2/good.png", "top.png"]


def test_a_command_brings_back_nothing_from_behind_a_link(day: Day) -> None:
    assert b"no image" in day.files("links", "error")["aside/bad.png"]


def test_a_subfolder_that_is_swapped_while_it_settles_shows_its_own_file_alone(day: Day) -> None:
    assert set(day.files("settling", "done").values()) == {day.image("settling")}


def test_odd_names_are_names(day: Day) -> None:
    assert set(day.files("odd", "done")) == set(NAMES)


def test_a_forged_record_fetches_nobody_s_result(day: Day) -> None:
    theirs = day.files("good", "outbox")["first.png"]

    assert theirs not in day.files("forged", "outbox").values()
    assert not any(line.get("job") == "forged" and line["event"].startswith("job.") for line in day.lines)
    assert any("others may have written it" in str(line.get("why")) for line in day.lines)


def test_nothing_of_anybody_else_has_changed(day: Day) -> None:
    theirs = day.house.folder("theirs")
    for relative in ("inbox/PAUSE", "inbox/pic.png", "outbox/old.png", "done/old.png"):
        assert (theirs / relative).read_bytes() == day.image(f"theirs/{relative}")
        assert (theirs / relative).stat().st_nlink == 1
    for path in day.house.state_dir.rglob("*"):
        assert path.lstat().st_uid == DAEMON
        assert not path.lstat().st_mode & 0o077
    assert {"first.png", "second.png"} <= set(day.files("good", "outbox"))


def test_each_image_was_paid_once(day: Day) -> None:
    paid = day.server.counts().generates_by_source

    assert set(paid.values()) == {1}
    assert hashlib.sha256(day.image("theirs/inbox/pic.png")).hexdigest() not in paid
