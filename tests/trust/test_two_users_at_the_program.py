"""The real program as one user, and those who may drop files as another, in an installation as loose as old ones are.

The inboxes are not sticky here, so that the dropper may rename the work folder: the daemon must hold by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from expandd.adapters.files.inbox_locks import ATTRIBUTE, NAME
from expandd.adapters.files.roots import WORK
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.daemon import Daemon, House, Line, command
from tests.support.images import an_image
from tests.support.mounting import needs_mounts
from tests.trust.conftest import DAEMON, DROPPER, GROUP, SECRET, dropper, exchange, made
from tests.trust.people import as_user

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users"),
    needs_mounts,
]

LOOSE, STICKY = 0o2770, 0o3770
OFFSETS = "offsets: {top: 10}, recursive: true"

SPY = """
import os, sys, time
bases, found = sys.argv[1:], set()
print("looking", flush=True)
while True:
    for base in bases:
        for root, folders, names in os.walk(base, followlinks=True):
            for name in names:
                try:
                    text = open(os.open(os.path.join(root, name), os.O_RDONLY | os.O_NONBLOCK), "rb").read(1 << 16)
                except OSError:
                    continue
                if (b"not yours" in text or b"access_token" in text) and root not in found:
                    found.add(root)
                    print(os.path.join(root, name), flush=True)
    time.sleep(0.25)
"""
"""Reads whatever can be read, again and again, and says where it found what it should not: a lure lies for seconds."""


@dataclass(frozen=True, slots=True)
class Site:
    """An installation: the dropper's folder `hot`, another customer's `good`, and the state directory."""

    house: House
    server: Simulator

    @property
    def hot(self) -> Path:
        return self.house.folder("hot")

    @property
    def good(self) -> Path:
        return self.house.folder("good")

    @property
    def work(self) -> Path:
        return self.hot / "inbox" / ".expandd"

    def daemon(self) -> contextlib.AbstractContextManager[Daemon]:
        run = [*command(), "run", "--verbose", "--config", str(self.house.config)]
        return self.house.running([*as_user(DAEMON), *run])

    def drop(self, name: str, content: bytes, mode: int = 0o660) -> None:
        path = self.hot / "inbox" / name
        with dropper():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)

    def drop_good(self, name: str, seed: int) -> None:
        """What the other customer drops; it must be delivered whatever the dropper does."""
        spare = self.house.root / "spare"
        spare.write_bytes(an_image("png", 80, 64, seed=seed))
        os.chown(spare, DAEMON, DAEMON)
        spare.rename(self.good / "inbox" / name)

    def outside(self) -> dict[str, bytes]:
        """What nobody has any business with, besides what the daemon itself goes on writing."""
        kept = [self.house.state_dir / "secret", self.good / "done" / "old.png", self.house.config]
        return {str(path): path.read_bytes() for path in kept}

    def paid(self) -> dict[str, int]:
        return dict(self.server.counts().generates_by_source)


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    mode = getattr(request, "param", LOOSE)
    base = Path(tempfile.mkdtemp(prefix="expandd-two-users-"))
    base.chmod(0o755)
    try:
        with Simulator(Switches(poll_limit=0.1, generate_min=0.4, generate_max=0.5, pro=True)) as server:
            site = Site(House(base, server.api_url), server)
            site.house.config.write_text(
                f"state_dir: {site.house.state_dir}\n"
                f'api: {{base_url: "{server.api_url}", poll_interval: 100ms, timeout: 5s}}\n'
                f"defaults: {{settle: 100ms, settle_max: 1s}}\nfolders:\n"
                f"  - {{root: {site.hot}, {OFFSETS}}}\n  - {{root: {site.good}, {OFFSETS}}}\n",
                encoding="utf-8",
            )
            made(site.house.state_dir, DAEMON, 0o700)
            for hot, group in ((site.hot, GROUP), (site.good, DAEMON)):
                hot.mkdir()
                for part in ("inbox", "outbox", "done", "error"):
                    made(hot / part, group, mode if part == "inbox" else LOOSE)
            for path in (site.house.state_dir / "secret", site.good / "done" / "old.png"):
                path.write_bytes(SECRET)
                path.chmod(0o600)
                os.chown(path, DAEMON, DAEMON)
            yield site
    finally:
        shutil.rmtree(base)


@contextlib.contextmanager
def spying(site: Site) -> Iterator[None]:
    """Somebody reads all that can be read meanwhile, and may find nothing."""
    user = ["setpriv", f"--reuid={DROPPER}", f"--regid={GROUP}", "--clear-groups", "--bounding-set=-all"]
    spy = subprocess.Popen(
        [*user, "--inh-caps=-all", "/usr/bin/python3", "-c", SPY, str(site.house.root)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert spy.stdout is not None
    try:
        assert spy.stdout.readline() == "looking\n"
        yield
    finally:
        spy.kill()
        found, _ = spy.communicate()
    assert found == ""


def is_about(name: str) -> Callable[[Line], bool]:
    return lambda line: name in str(line.get("file"))


# --- while a job is on its way ---


def to_state_dir(site: Site, lure: Path, job: str) -> None:
    """The job's directory: a link to the state directory."""
    lure.mkdir()
    (lure / job).symlink_to(site.house.state_dir)


def to_the_parent(site: Site, lure: Path, job: str) -> None:
    """The work folder: a link to the directory in which the state directory lies; `job` is not used."""
    assert job
    lure.symlink_to(site.house.root)


def to_another_outbox(site: Site, lure: Path, job: str) -> None:
    lure.mkdir()
    (lure / job).symlink_to(site.good / "outbox")


def part_to_the_store(site: Site, lure: Path, job: str) -> None:
    (lure / job).mkdir(parents=True)
    (lure / job / f".expandd-{job}.part").symlink_to(site.house.state_dir / "journal.sqlite")
    (lure / job / ".job.json").symlink_to(site.house.state_dir / "tokens.json")


Swap = Callable[[Site, Path, str], None]
"""Makes what is put in the place of the work folder."""

LONG = 100.0
"""Seconds for a folder that was swapped to be tried again, beside other tests and a spy that never rests."""

MORE_STATES = ["uploaded", "accepted", "downloaded"] if os.environ.get("EXPANDD_STORM") == "1" else []

SWAPS = [to_state_dir, to_the_parent, to_another_outbox, part_to_the_store]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("state", ["claimed", *MORE_STATES])
def test_swaps_of_the_work_folder_reach_nothing_and_hold_up_nobody(site: Site, state: str) -> None:
    """Each swap at this step of a job, then a restart while the last one lies there."""
    before = site.outside()
    with spying(site):
        with site.daemon() as daemon:
            for number, swap in enumerate(SWAPS):
                name = f"{number}-tokens.json.png"
                if swap is SWAPS[-1]:
                    # It must not be over before the daemon is killed.
                    site.server.switch(generate_min=3.0, generate_max=3.0)
                site.drop(name, an_image("png", 64, 64, seed=number))
                job = daemon.wait_for(f"job.{state}", is_about(name), patience=LONG)["job"]
                swap_in(site, swap, job)
                site.drop_good(f"good-{number}.png", 50 + number)
                daemon.wait_for("job.finished", is_about(f"good-{number}.png"), patience=LONG)
                if swap is not SWAPS[-1]:
                    swap_out(site, swap)
                    daemon.wait_for("job.finished", is_about(name), patience=LONG)
            daemon.kill()
        with site.daemon() as daemon:
            site.drop_good("after.png", 60)
            daemon.wait_for("job.finished", is_about("after.png"), patience=LONG)
            swap_out(site, SWAPS[-1])
            daemon.wait_for("job.finished", is_about(f"{len(SWAPS) - 1}-tokens.json.png"), patience=LONG)
            assert daemon.stop() == 0

    names = [f"{number}-tokens.json.png" for number in range(len(SWAPS))]
    assert site.outside() == before
    assert sorted(os.listdir(site.hot / "done")) == sorted(os.listdir(site.hot / "outbox")) == names
    good = sorted(["after.png", *(f"good-{number}.png" for number in range(len(SWAPS)))])
    assert sorted(os.listdir(site.good / "outbox")) == good
    assert set(site.paid().values()) == {1}
    assert len(site.paid()) == 2 * len(SWAPS) + 1


def swap_in(site: Site, swap: Swap, job: str) -> None:
    lure = site.hot / "inbox" / ".lure"
    with dropper():
        swap(site, lure, job)
        # In one instant: the daemon makes a work folder where there is none.
        assert exchange(lure, site.work)
        lure.rename(lure.with_name(".aside"))


def swap_out(site: Site, swap: Swap) -> None:
    aside = site.hot / "inbox" / ".aside"
    with dropper():
        assert exchange(aside, site.work)
        aside.rename(aside.with_name(f".lure-{swap.__name__}"))


# --- what lies there, and is dropped ---


def test_links_and_odd_files_lead_nowhere(site: Site) -> None:
    """Subfolders of error and outbox that are links, odd kinds of file, a subfolder swapped while its file settles."""
    with dropper():
        for part, hidden in (("error", site.house.state_dir), ("outbox", site.good / "inbox"), ("done", site.good)):
            (site.hot / part / "sub").symlink_to(hidden)
        inbox = site.hot / "inbox"
        os.mkfifo(inbox / "fifo.png")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(inbox / "socket.png"))
        (inbox / "link.png").symlink_to(site.house.state_dir / "secret")
        for theirs in (site.house.state_dir / "tokens.json", site.good / "done" / "old.png"):
            with pytest.raises(PermissionError):
                os.link(theirs, inbox / "hard.png")
    before = site.outside()
    with spying(site), site.daemon() as daemon:
        site.drop("sub/good.png", an_image("png", 64, 64, seed=1))
        site.drop("sub/bad.png", b"no image at all, but text")
        with dropper(), (site.hot / "inbox" / "sparse.png").open("wb") as sparse:
            sparse.truncate(200 << 30)
        daemon.wait_for("job.finished", is_about("sub/good.png"))
        daemon.wait_for("job.failed", is_about("sub/bad.png"))
        daemon.wait_for("job.failed", is_about("sparse.png"))
        with dropper():
            (site.hot / "inbox" / "late").mkdir()
            (site.hot / "inbox" / "late" / "old.png").write_bytes(an_image("png", 64, 64, seed=2))
            (site.hot / "inbox" / "late").rename(site.hot / "inbox" / ".late")
            (site.hot / "inbox" / "late").symlink_to(site.good / "done")
        site.drop_good("good.png", 50)
        daemon.wait_for("job.finished", lambda line: str(site.good) in str(line))
        assert daemon.stop() == 0

    assert site.outside() == before
    assert sorted(os.listdir(site.hot / "outbox")) == ["sub", "sub-2"]
    assert os.listdir(site.hot / "outbox" / "sub-2") == ["good.png"]
    assert sorted(os.listdir(site.hot / "error" / "sub-2")) == ["bad.png", "bad.png.error.json"]
    assert os.listdir(site.hot / "done" / "sub-2") == ["good.png"]
    assert sorted(os.listdir(site.good / "done")) == ["good.png", "old.png"]
    assert set(site.paid().values()) == {1}
    assert len(site.paid()) == 2


def test_a_subfolder_of_somebodys_own_stops_its_own_files_alone(site: Site) -> None:
    with site.daemon() as daemon:
        with dropper():
            sub = site.hot / "inbox" / "sub"
            sub.mkdir()
            (sub / "pic.png").write_bytes(an_image("png", 64, 64, seed=1))
            sub.chmod(0o755)
        site.drop("free.png", an_image("png", 64, 64, seed=2))
        daemon.wait_for("job.finished", is_about("free.png"))
        with dropper():
            sub.chmod(0o2775)
        daemon.wait_for("job.finished", is_about("sub/pic.png"))
        assert daemon.stop() == 0

    assert set(site.paid().values()) == {1}
    assert len(site.paid()) == 2


RECORDS = {"0a": '{"id": "0a", "state": "accepted"}', "0b": "[" * 60_000, "0c": "7" * (1 << 22)}
"""Forged, deep and long, by the name of the job's directory."""


def test_a_record_that_the_dropper_wrote_is_none(site: Site) -> None:
    """An older installation left its work folder open to the group, and somebody has put records into it."""
    images = {job: an_image("png", 64, 64, seed=number) for number, job in enumerate(RECORDS)}
    for directory in (site.work, *(site.work / job for job in RECORDS)):
        made(directory, DAEMON, 0o770)
        os.chown(directory, DAEMON, GROUP)
    with dropper():
        for job, text in RECORDS.items():
            (site.work / job / f"{job}.png").write_bytes(images[job])
            (site.work / job / ".job.json").write_text(text, encoding="utf-8")
    with site.daemon() as daemon:
        for job in RECORDS:
            daemon.wait_for("job.finished", is_about(f"{job}.png"))
        assert daemon.stop() == 0

    assert sorted(os.listdir(site.hot / "outbox")) == [f"{job}.png" for job in RECORDS]
    assert site.paid() == {hashlib.sha256(data).hexdigest(): 1 for data in images.values()}


@pytest.mark.parametrize("site", [STICKY], indirect=True)
def test_in_a_sticky_inbox_nobody_moves_the_work_folder(site: Site) -> None:
    with site.daemon() as daemon:
        site.drop("pic.png", an_image("png", 64, 64))
        job = daemon.wait_for("job.uploaded")["job"]
        with dropper():
            for act in (
                lambda: site.work.rename(site.hot / "inbox" / "mine"),
                lambda: (site.work / job).rename(site.hot / "inbox" / "mine"),
                (site.work / job / "pic.png").read_bytes,
                lambda: os.listdir(site.work),
            ):
                with pytest.raises(PermissionError):
                    act()
        daemon.finished()
        assert daemon.stop() == 0


def test_a_name_of_the_kernels_that_somebody_took_keeps_nobody_from_starting(site: Site) -> None:
    """The inbox's lock: seen in the kernel's list after a first run, and taken before the second."""
    with site.daemon() as daemon:
        taken = [name_of_lock(folder / "inbox") for folder in (site.hot, site.good)]
        assert set(taken) <= names_of_the_kernel()
        daemon.kill()
    with contextlib.ExitStack() as stack:
        with dropper():
            for name in taken:
                held = stack.enter_context(socket.socket(socket.AF_UNIX))
                held.bind(f"\0{name}")
                held.listen(1)
        with site.daemon() as daemon:
            site.drop("pic.png", an_image("png", 64, 64))
            daemon.finished()
            assert daemon.stop() == 0


def name_of_lock(inbox: Path) -> str:
    """What only the daemon's user can read where it is written down; the dropper sees it in the kernel's list."""
    with contextlib.suppress(OSError):
        return os.getxattr(inbox / WORK, ATTRIBUTE).decode().splitlines()[0]
    return (inbox / WORK / NAME).read_text("ascii").splitlines()[0]


def names_of_the_kernel() -> set[str]:
    lines = Path("/proc/net/unix").read_text(encoding="ascii", errors="replace").splitlines()
    return {line.rpartition("@")[2] for line in lines if "@" in line}
