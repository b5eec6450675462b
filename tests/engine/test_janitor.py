from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.domain.job import Job, JobState
from expandd.domain.settings import HotFolder, Keep, Originals, Settings
from expandd.engine.janitor import Janitor
from tests.support.fakes import MemoryJobStore, MemorySpool
from tests.support.jobs import a_job_in
from tests.support.manual_clock import START, ManualClock, inline
from tests.support.workshop import hot_folder

S = JobState
DAY = 24 * 3600.0

OLD = a_job_in(S.DONE, "old", at=START - 30 * DAY, closed=True)
RECENT = a_job_in(S.DONE, "recent", at=START - 5 * DAY, closed=True)
HELD = a_job_in(S.UNKNOWN, "held", at=START - 300 * DAY, held=True)

Employ = Callable[..., MemoryJobStore]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def employ(clock: ManualClock, ground: Path) -> AsyncIterator[Employ]:
    """Sets a janitor to work on a job database of these jobs, and on these folders."""
    inline()
    async with AsyncExitStack() as stack:

        def begin(*jobs: Job, keep: Keep, folders: tuple[HotFolder, ...] = ()) -> MemoryJobStore:
            store = MemoryJobStore(*jobs)
            settings = Settings(state_dir=ground, folders=folders, keep=keep)
            janitor = Janitor(
                settings, store=store, spool=MemorySpool(ground), folders=LocalFolders(Disk()), clock=clock
            )
            task = asyncio.create_task(janitor.run())
            stack.callback(task.cancel)
            return store

        yield begin


async def test_jobs_that_were_over_long_ago_are_forgotten_and_open_ones_never(
    employ: Employ, clock: ManualClock
) -> None:
    store = employ(OLD, RECENT, HELD, keep=Keep(journal=10 * DAY))
    await clock.advance(2 * DAY)

    assert set(store.rows) == {"recent", "held"}


async def test_what_is_kept_for_ever_is_kept(employ: Employ, clock: ManualClock) -> None:
    store = employ(OLD, keep=Keep(journal=None))
    await clock.advance(400 * DAY)

    assert set(store.rows) == {"old"}


@pytest.mark.parametrize("jump", [400 * DAY, -400 * DAY, 3600.0])
async def test_nothing_is_forgotten_for_a_day_after_the_wall_clock_has_jumped(
    employ: Employ, clock: ManualClock, jump: float
) -> None:
    store = employ(OLD, keep=Keep(journal=10 * DAY))
    await clock.advance(0.9 * DAY)
    clock.step_wall(jump)
    await clock.advance(0.9 * DAY)

    assert set(store.rows) == {"old"}


async def test_a_clock_that_is_corrected_by_a_little_is_believed(employ: Employ, clock: ManualClock) -> None:
    store = employ(OLD, keep=Keep(journal=10 * DAY))
    for _ in range(30):
        await clock.advance(3600.0)
        clock.step_wall(0.5)

    assert store.rows == {}


async def test_a_store_that_is_away_is_tidied_another_time(employ: Employ, clock: ManualClock) -> None:
    store = employ(OLD, keep=Keep(journal=10 * DAY))
    store.away = True
    await clock.advance(2 * DAY)
    store.away = False
    await clock.advance(DAY)

    assert store.rows == {}


async def test_old_originals_are_removed_only_where_that_is_asked_for(
    employ: Employ, clock: ManualClock, ground: Path
) -> None:
    moved = hot_folder(ground / "moved")
    removed = replace(hot_folder(ground / "removed"), originals=Originals.DELETE)
    for folder in (moved, removed):
        (folder.done / "album").mkdir()
        (folder.done / "album" / "old.png").write_bytes(b"x")
    # A file's ctime is the machine's own, and cannot be set: the clock is moved instead.
    clock.step_wall(time.time() - START)
    employ(keep=Keep(journal=None, done=10 * DAY), folders=(moved, removed))
    await clock.advance(9 * DAY)
    early = (moved.done / "album" / "old.png").exists()
    await clock.advance(3 * DAY)

    assert early
    assert not (moved.done / "album" / "old.png").exists()
    assert (removed.done / "album" / "old.png").exists()


async def test_a_done_folder_that_is_away_is_tidied_another_time(
    employ: Employ, clock: ManualClock, ground: Path
) -> None:
    folder = hot_folder(ground / "hot")
    folder.done.rmdir()
    store = employ(OLD, keep=Keep(journal=10 * DAY, done=10 * DAY), folders=(folder,))
    await clock.advance(3 * DAY)

    assert store.rows == {}
