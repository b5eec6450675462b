"""What a move costs the budgets does not grow with the jobs that are open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from expandd.domain.commands import Hold, HoldKind
from expandd.domain.job import Job, JobState
from expandd.domain.settings import Budget, Settings
from expandd.domain.spending import Limits
from expandd.engine.control.holds import Holds, Pauses
from expandd.engine.flow.budgets import Budgets
from expandd.engine.jobs import Jobs
from tests.support.fakes import MemoryJobStore
from tests.support.jobs import a_job_in, a_snapshot
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder
from tests.support.workshop import hot_folder

S = JobState

FOLDERS = 50


class Walked(Jobs):
    """Open jobs that count how often anybody looks at all of them."""

    walks = 0

    def __iter__(self) -> Iterator[Job]:
        self.walks += 1
        return super().__iter__()

    def in_state(self, *states: JobState) -> tuple[Job, ...]:
        self.walks += 1
        return super().in_state(*states)


class House:
    """Fifty folders, each with a budget and so many files that wait to be paid for."""

    def __init__(self, base: Path, waiting: int) -> None:
        budget = Budget(day=10_000)
        self.hot = tuple(hot_folder(base / str(number), budget=budget) for number in range(FOLDERS))
        jobs = [
            a_job_in(S.UPLOADED, f"{folder:02d}-{number:03d}", folder=a_snapshot(base / str(folder)))
            for folder in range(FOLDERS)
            for number in range(waiting)
        ]
        clock, recorder = ManualClock(), Recorder()
        store = MemoryJobStore(*jobs)
        pauses = Pauses(clock, recorder)
        self.jobs = Walked(store, clock, recorder)
        self.commands = Holds(store, pauses)
        self.budgets = Budgets(
            Settings(state_dir=base, folders=self.hot, budget=Budget(day=100_000)),
            jobs=self.jobs,
            store=store,
            commands=self.commands,
            pauses=pauses,
            clock=clock,
        )


@pytest.mark.parametrize("waiting", [1, 64])
async def test_no_move_makes_the_budgets_walk_all_jobs_and_the_counts_are_right(tmp_path: Path, waiting: int) -> None:
    house = House(tmp_path, waiting)
    await house.jobs.load()
    await house.budgets.load()
    first = house.jobs.get("00-000")
    assert first is not None
    inbox = first.folder.inbox
    await house.commands.set_hold(Hold(kind=HoldKind.PAUSED, at=1.0, inbox=house.hot[1].inbox))
    house.jobs.walks = 0

    assert house.budgets.used(inbox).reserved == waiting
    assert house.budgets.used(None).reserved == waiting * (FOLDERS - 1)
    assert house.budgets.within(first)
    intent = await house.jobs.submit(first, Limits(caps=house.budgets.caps(first)))
    assert isinstance(intent, Job)
    house.budgets.update_pauses(inbox)
    assert (house.budgets.used(inbox).today, house.budgets.used(None).today) == (1, 1)
    assert house.budgets.used(inbox).reserved == waiting - 1
    await house.jobs.move(intent, S.UPLOADED)
    house.budgets.update_pauses(inbox)

    assert (house.budgets.used(inbox).today, house.budgets.used(None).this_month) == (0, 0)
    assert house.budgets.used(inbox).reserved == waiting
    assert house.jobs.walks == 0
