from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from expandd.domain.errors import DatabaseAway, StaleJob
from expandd.domain.events import BugFound
from expandd.domain.job import JobState
from expandd.engine.flow.scheduler import Advance, Progress, ProgressOf, Scheduler
from tests.support.fakes import FixedRandomness
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder

Make = Callable[..., Scheduler]


class Desk:
    """Runs dispatchers and writes down when each job was looked at."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.recorder = Recorder()
        self.looks: list[tuple[str, float]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.began = self.clock.monotonic()

    def run(self, advance: Advance, *, at_once: int = 8, comes: ProgressOf = lambda _: None) -> Scheduler:
        async def look(job_id: str) -> float | None:
            self.looks.append((job_id, self.clock.monotonic() - self.began))
            return await advance(job_id)

        scheduler = Scheduler(look, self.clock, FixedRandomness(), self.recorder, at_once=at_once, progress=comes)
        self.tasks.append(asyncio.create_task(scheduler.run()))
        return scheduler

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        desk = Desk()
        stack.push_async_callback(desk.close)
        yield desk


async def over(job_id: str) -> float | None:
    return None


async def test_a_job_is_looked_at_when_it_is_due_and_again_when_it_says(desk: Desk) -> None:
    turns = iter([10.0, 0.0, 5.0, None])

    async def advance(job_id: str) -> float | None:
        return next(turns)

    desk.run(advance).wake("a", 3.0)
    await desk.clock.advance(100.0)

    assert desk.looks == [("a", 3.0), ("a", 13.0), ("a", 13.0), ("a", 18.0)]


async def test_jobs_are_looked_at_in_the_command_they_are_due(desk: Desk) -> None:
    scheduler = desk.run(over)
    for job_id, seconds in (("late", 9.0), ("soon", 1.0), ("middle", 5.0)):
        scheduler.wake(job_id, seconds)
    await desk.clock.advance(100.0)

    assert [job_id for job_id, _ in desk.looks] == ["soon", "middle", "late"]


async def test_an_earlier_wake_counts_and_a_later_one_does_not(desk: Desk) -> None:
    scheduler = desk.run(over)
    scheduler.wake("a", 50.0)
    scheduler.wake("a", 5.0)
    scheduler.wake("a", 500.0)
    await desk.clock.advance(1000.0)

    assert desk.looks == [("a", 5.0)]


async def test_a_job_is_never_looked_at_twice_at_once(desk: Desk) -> None:
    active: list[str] = []

    async def advance(job_id: str) -> float | None:
        assert job_id not in active
        active.append(job_id)
        await desk.clock.sleep(10.0)
        active.remove(job_id)
        return None

    scheduler = desk.run(advance)
    scheduler.wake("a")
    await desk.clock.advance(1.0)
    scheduler.wake("a")
    await desk.clock.advance(100.0)

    assert desk.recorder.of(BugFound) == []


async def test_a_job_woken_while_it_is_busy_is_looked_at_again_at_once(desk: Desk) -> None:
    async def advance(job_id: str) -> float | None:
        await desk.clock.sleep(10.0)
        return 1000.0

    scheduler = desk.run(advance)
    scheduler.wake("a")
    await desk.clock.advance(1.0)
    scheduler.wake("a")
    await desk.clock.advance(50.0)

    assert desk.looks == [("a", 0.0), ("a", 10.0)]


async def test_never_more_than_so_many_are_busy(desk: Desk) -> None:
    most = 0

    async def advance(job_id: str) -> float | None:
        nonlocal most
        most = max(most, scheduler.busy)
        await desk.clock.sleep(1.0)
        return None

    scheduler = desk.run(advance, at_once=3)
    for number in range(20):
        scheduler.wake(str(number))
    await desk.clock.advance(100.0)

    assert most == 3
    assert len(desk.looks) == 20


async def test_a_bug_in_one_job_is_announced_and_stops_no_other(desk: Desk) -> None:
    async def advance(job_id: str) -> float | None:
        if job_id == "bad":
            raise ZeroDivisionError
        return 10.0

    scheduler = desk.run(advance)
    scheduler.wake("bad")
    scheduler.wake("good")
    await desk.clock.advance(3600.0)
    bad = [at for job_id, at in desk.looks if job_id == "bad"]

    assert len(desk.recorder.of(BugFound)) == len(bad)
    assert len([at for job_id, at in desk.looks if job_id == "good"]) == 361
    # Ever more rarely: about once a minute in the end.
    assert 60 < len(bad) < 100


@pytest.mark.parametrize(("error", "fewest", "most"), [(DatabaseAway("away"), 60, 100), (StaleJob("moved on"), 1, 2)])
async def test_a_step_that_could_not_be_written_down_is_looked_at_again_without_noise(
    desk: Desk, error: Exception, fewest: int, most: int
) -> None:
    failing = [True]

    async def advance(job_id: str) -> float | None:
        if failing[0]:
            failing[0] = isinstance(error, DatabaseAway)
            raise error
        return None

    desk.run(advance).wake("a")
    await desk.clock.advance(3600.0)

    assert desk.recorder.events == []
    assert fewest <= len(desk.looks) <= most


async def test_cancelling_it_cancels_what_is_under_way(desk: Desk) -> None:
    cancelled: list[str] = []

    async def advance(job_id: str) -> float | None:
        try:
            await desk.clock.sleep(1000.0)
        except asyncio.CancelledError:
            cancelled.append(job_id)
            raise
        return None

    desk.run(advance).wake("a")
    await desk.clock.advance(1.0)
    await desk.close()

    assert cancelled == ["a"]


HOURLY = 80
"""Looks within an hour at a job that gets nowhere: some at first, then one a minute."""


def stands(state: JobState = JobState.DOWNLOADED, tries: int = 0) -> ProgressOf:
    return lambda _: Progress(state, tries)


async def test_job_without_progress_is_delayed(desk: Desk) -> None:
    async def advance(job_id: str) -> float | None:
        return 0.0

    desk.run(advance, comes=stands()).wake("a")
    await desk.clock.advance(3600.0)

    assert 40 < len(desk.looks) < HOURLY


async def test_a_job_that_goes_to_and_fro_between_two_states_is_held_back(desk: Desk) -> None:
    states = [JobState.DOWNLOADED, JobState.RENDERED]

    async def advance(job_id: str) -> float | None:
        states.reverse()
        return 0.0

    desk.run(advance, comes=lambda _: Progress(states[0], 0)).wake("a")
    await desk.clock.advance(3600.0)

    assert 40 < len(desk.looks) < HOURLY


@pytest.mark.parametrize("error", [StaleJob("moved on"), DatabaseAway("away"), ZeroDivisionError("ours")])
@pytest.mark.parametrize("wakes", [False, True])
async def test_a_job_whose_activations_all_fail_is_delayed(desk: Desk, error: Exception, *, wakes: bool) -> None:
    async def advance(job_id: str) -> float | None:
        if wakes:
            scheduler.wake(job_id)
        raise error

    scheduler = desk.run(advance, comes=stands())
    scheduler.wake("a")
    await desk.clock.advance(3600.0)

    assert 40 < len(desk.looks) < HOURLY + 60


async def test_a_breaker_that_opens_and_shuts_in_one_step_does_not_make_its_job_spin(desk: Desk) -> None:
    tries = [0]

    async def advance(job_id: str) -> float | None:
        scheduler.wake(job_id, 0.01)
        tries[0] += 1
        return 60.0

    scheduler = desk.run(advance, comes=lambda _: Progress(JobState.DELIVERED, tries[0]))
    scheduler.wake("a")
    await desk.clock.advance(3600.0)

    assert 40 < len(desk.looks) < HOURLY


async def test_what_has_waited_by_its_own_plan_goes_on_at_once_when_it_is_woken(desk: Desk) -> None:
    tries = [0]

    async def advance(job_id: str) -> float | None:
        tries[0] += 1
        return 60.0

    scheduler = desk.run(advance, comes=lambda _: Progress(JobState.CLAIMED, tries[0]))
    scheduler.wake("a")
    await desk.clock.advance(3 * 3600.0 + 30.0)
    scheduler.wake("a")
    await desk.clock.advance(0.0)

    assert desk.looks[-1] == ("a", 3 * 3600.0 + 30.0)


async def test_job_that_has_moved_on_is_activated_at_once(desk: Desk) -> None:
    state = [JobState.ACCEPTED]

    async def advance(job_id: str) -> float | None:
        return 0.0

    scheduler = desk.run(advance, comes=lambda _: Progress(state[0], 0))
    scheduler.wake("a")
    await desk.clock.advance(1800.0)
    state[0] = JobState.RENDERED
    scheduler.wake("a")
    await desk.clock.advance(0.0)

    assert desk.looks[-1] == ("a", 1800.0)


async def test_a_wait_at_a_breaker_between_two_failures_does_not_make_the_next_one_due(desk: Desk) -> None:
    tries, waits = [0], [True]

    async def advance(job_id: str) -> float | None:
        waits[0] = not waits[0]
        if waits[0]:
            return 0.75
        tries[0] += 1
        scheduler.wake(job_id)
        return 60.0

    scheduler = desk.run(advance, comes=lambda _: Progress(JobState.UPLOADED, tries[0]))
    scheduler.wake("a")
    await desk.clock.advance(3600.0)

    assert 20 < tries[0] < HOURLY
