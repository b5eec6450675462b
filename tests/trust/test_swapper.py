"""Somebody swaps directories for links as fast as the machine can, beside another customer's jobs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.scan import Looking
from expandd.domain.errors import FolderAway
from expandd.domain.job import Job, Source
from tests.support.jobs import a_job
from tests.trust.conftest import DAEMON, DROPPER, GROUP, SECRET, Yard, dropper, exchange, user

JOBS = 400 if os.environ.get("EXPANDD_STORM") == "1" else 40
RESULT = b"a result"


async def test_good_jobs_are_delivered_and_nothing_else_is_touched(yard: Yard) -> None:
    folders = yard.folders()
    vaulted = yard.state / "vaulted"
    with user(DAEMON):
        vaulted.write_bytes(RESULT)
    prepared(yard)
    state = {path: path.read_bytes() for path in yard.state.iterdir()}
    with swapper(yard) as swaps:
        for number in range(JOBS):
            bad = dropped(yard, yard.mine, f"sub/{number}.png", DROPPER)
            good = dropped(yard, yard.theirs, f"{number}.png", DAEMON)
            with user(DAEMON):
                if bad is not None:
                    with contextlib.suppress(FolderAway, FileNotFoundError):
                        await whole_way(folders, bad, vaulted)
                assert good is not None
                assert await whole_way(folders, good, vaulted)
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


async def whole_way(folders: LocalFolders, job: Job, vaulted: Path) -> bool:
    """From the claim to the end, as the engine goes it; whether it got there."""
    place = job.place
    await folders.occupy(place.inbox)
    if await folders.claim(job) is None:
        return False
    await folders.digest(job.work_file)
    await folders.mark(job)
    target = await folders.free_name(place.outbox, job.relative, frozenset())
    delivered = await folders.publish(vaulted, target, hashlib.sha256(RESULT).hexdigest())
    resting = await folders.free_name(place.done, job.relative, frozenset())
    away = await folders.put_away(job, resting)
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
    identity = Looking(yard.folders()._disk.roots).identity_of(path)  # noqa: SLF001, as the engine sees it
    if identity is None:
        return None
    name = f"{hot.name}-{relative.replace('/', '-')}"
    return a_job(id=name, place=yard.place(hot), relative=Path(relative), source=Source(identity=identity))


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
def swapper(yard: Yard) -> Iterator[Callable[[], int]]:
    """Another user's process, which swaps; what is yielded tells how often it has."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(DROPPER)
            _swap_for_ever(yard, writing)
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


def _swap_for_ever(yard: Yard, told: int) -> None:
    os.set_blocking(told, False)
    swaps = [(yard.mine / root / "sub", yard.mine / root / "lure") for root in ("inbox", "done", "outbox", "error")]
    swaps.append((yard.mine / "inbox" / ".expandd", yard.mine / "inbox" / "own"))
    while True:
        one, other = random.choice(swaps)
        if exchange(one, other):
            with contextlib.suppress(BlockingIOError):
                os.write(told, b".")
