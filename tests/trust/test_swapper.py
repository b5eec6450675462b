"""Somebody swaps directories for links as fast as the machine can, beside another customer's jobs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.scan import Scanner
from expandd.domain.errors import FolderAway
from expandd.domain.job import Job, Source
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.daemon import House, command
from tests.support.images import an_image
from tests.support.jobs import a_job
from tests.trust.conftest import DAEMON, DROPPER, GROUP, SECRET, Yard, dropper, exchange, user
from tests.trust.people import as_user

JOBS = 400 if os.environ.get("EXPANDD_STORM") == "1" else 40
RESULT = b"a result"
GOOD = 100


async def test_good_jobs_are_delivered_and_nothing_else_is_touched(yard: Yard) -> None:
    folders = yard.folders()
    downloaded = yard.state / "downloaded"
    with user(DAEMON):
        downloaded.write_bytes(RESULT)
    prepared(yard)
    state = {path: path.read_bytes() for path in yard.state.iterdir()}
    with swapper(yard) as swaps:
        for number in range(JOBS):
            bad = dropped(yard, yard.mine, f"sub/{number}.png", DROPPER)
            good = dropped(yard, yard.theirs, f"{number}.png", DAEMON)
            with user(DAEMON):
                if bad is not None:
                    with contextlib.suppress(FolderAway, FileNotFoundError):
                        await whole_way(folders, bad, downloaded)
                assert good is not None
                assert await whole_way(folders, good, downloaded)
        seen = swaps()

    names = {f"{number}.png" for number in range(JOBS)}
    assert seen > JOBS
    assert {path: path.read_bytes() for path in yard.state.iterdir()} == state
    assert set(os.listdir(yard.theirs / "inbox")) == {".expandd", "tokens.json"}
    assert os.listdir(yard.theirs / "inbox" / ".expandd") == []
    assert (yard.theirs / "inbox" / "tokens.json").read_bytes() == SECRET
    assert set(os.listdir(yard.theirs / "done")) == names | {"old.png"}
    assert set(os.listdir(yard.theirs / "outbox")) == names
    assert {(yard.theirs / "outbox" / name).read_bytes() for name in names} == {RESULT}


@pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="takes long; set EXPANDD_STORM=1")
@pytest.mark.timeout(600)
def test_the_program_delivers_good_images_beside_a_swapper(yard: Yard) -> None:
    """A hundred images of one customer, while another swaps what is theirs; then the swaps end, and theirs too."""
    hidden = yard.state / "secret"
    (yard.state / "tokens.json").rename(hidden)
    (yard.theirs / "inbox" / "tokens.json").unlink()
    wanted = {f"{number}.png": an_image("png", 64, 64, seed=number) for number in range(GOOD)}
    with Simulator(
        Switches(poll_limit=0.05, generate_min=0.05, generate_max=0.2, pro=True, credits=Decimal(500))
    ) as server:
        house = House(yard.base, server.api_url)
        keys = "offsets: {top: 10}, recursive: true"
        house.build(folders={"mine": keys, "theirs": keys}, top="workers: 8")
        prepared(yard)
        with house.running([*as_user(DAEMON), *command(), "run", "--verbose", "--config", str(house.config)]) as daemon:
            with swapper(yard, longest=0.05) as swaps:
                for number, (name, content) in enumerate(wanted.items()):
                    place(yard.theirs / "inbox" / name, content, DAEMON)
                    place(yard.mine / "inbox" / "sub" / name, an_image("png", 64, 64, seed=GOOD + number), DROPPER)
                daemon.wait_for(
                    "job.finished", lambda line: line["inbox"] == str(yard.theirs / "inbox"), GOOD, patience=400.0
                )
                seen = swaps()
            assert daemon.stop() == 0
        paid = server.counts().generates_by_source
        print(f"{seen} swaps beside {GOOD} good images, {len(paid)} paid for in all")

    assert seen > GOOD
    assert hidden.read_bytes() == SECRET
    assert set(paid.values()) == {1}
    assert set(os.listdir(yard.theirs / "outbox")) == set(wanted)
    assert {name: (yard.theirs / "done" / name).read_bytes() for name in wanted} == wanted
    assert set(os.listdir(yard.theirs / "done")) == {*wanted, "old.png"}
    assert set(os.listdir(yard.theirs / "inbox")) == {".expandd"}
    assert {path.lstat().st_uid for path in yard.state.rglob("*")} == {DAEMON}


def place(path: Path, content: bytes, whose: int) -> None:
    """A file that somebody drops, unless its directory is just now swapped for a link that leads nowhere."""
    with user(whose), contextlib.suppress(OSError):
        path.write_bytes(content)


async def whole_way(folders: LocalFolders, job: Job, downloaded: Path) -> bool:
    """From the claim to the end, as the engine goes it; whether it got there."""
    folder = job.folder
    await folders.inbox_state(folder.inbox)
    if await folders.claim(job) is None:
        return False
    await folders.digest(job.work_file)
    await folders.write_record(job)
    target = await folders.free_name(folder.outbox, job.relative, frozenset())
    delivered = await folders.publish(downloaded, target, hashlib.sha256(RESULT).hexdigest())
    archived_to = await folders.free_name(folder.done, job.relative, frozenset())
    away = await folders.archive(job, archived_to)
    await folders.tidy(job)
    return delivered and away


def dropped(yard: Yard, hot: Path, relative: str, whose: int) -> Job | None:
    """A new file and its job; None where it was swapped away already."""
    path = hot / "inbox" / relative
    with user(whose):
        try:
            path.write_bytes(relative.encode())
        except OSError:
            return None
    identity = Scanner(yard.folders()._disk.roots).identity_of(path)  # noqa: SLF001, as the engine sees it
    if identity is None:
        return None
    name = f"{hot.name}-{relative.replace('/', '-')}"
    return a_job(id=name, folder=yard.place(hot), relative=Path(relative), source=Source(identity=identity))


def prepared(yard: Yard) -> None:
    """What is swapped, and what for."""
    with dropper():
        for root, hidden in (
            ("inbox", yard.theirs / "inbox"),
            ("done", yard.state),
            ("outbox", yard.theirs / "inbox"),
            ("error", yard.state),
        ):
            (yard.mine / root / "sub").mkdir()
            (yard.mine / root / "lure").symlink_to(hidden)
        (yard.mine / "inbox" / "own").mkdir()


@contextmanager
def swapper(yard: Yard, longest: float = 0.0) -> Iterator[Callable[[], int]]:
    """Another user's process, which swaps, with pauses of up to `longest` seconds; how often, tells what is yielded."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(DROPPER)
            _swap_for_ever(yard, writing, longest)
        finally:
            os._exit(1)
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        yield lambda: len(os.read(reading, 1 << 20))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)


def _swap_for_ever(yard: Yard, told: int, longest: float) -> None:
    os.set_blocking(told, False)
    swaps = [(yard.mine / root / "sub", yard.mine / root / "lure") for root in ("inbox", "done", "outbox", "error")]
    swaps.append((yard.mine / "inbox" / ".expandd", yard.mine / "inbox" / "own"))
    while True:
        if longest:
            time.sleep(random.uniform(0.0, longest))
        one, other = random.choice(swaps)
        if exchange(one, other):
            with contextlib.suppress(BlockingIOError):
                os.write(told, b".")
