from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from expandd.adapters.clock import SystemClock
from expandd.engine.ports import Clock
from tests.support.manual_clock import START, ManualClock

SHORT = 1 / 64

Drive = Callable[[Awaitable[None]], Awaitable[None]]


@pytest.fixture(params=["manual", "system"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return ManualClock() if request.param == "manual" else SystemClock()


@pytest.fixture
def drive(clock: Clock) -> Drive:
    """Sees something through to its end: real time passes by itself, manual time is moved."""

    async def see_through(what: Awaitable[None]) -> None:
        task = asyncio.ensure_future(what)
        if isinstance(clock, ManualClock):
            await clock.until(task.done, 10.0)
        await task

    return see_through


async def test_a_sleep_takes_at_least_its_time(clock: Clock, drive: Drive) -> None:
    before = clock.monotonic()
    await drive(clock.sleep(SHORT))

    assert clock.monotonic() - before >= SHORT


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_sleep_of_nothing_lets_others_run_and_returns(clock: Clock, drive: Drive, seconds: float) -> None:
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await drive(clock.sleep(seconds))

    assert ran == [1]


async def test_a_wait_ends_when_its_event_is_set(clock: Clock, drive: Drive) -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await drive(clock.wait(event, 1000.0))

    assert event.is_set()


async def test_a_wait_for_an_event_that_is_set_already_ends_at_once(clock: Clock) -> None:
    event = asyncio.Event()
    event.set()
    await clock.wait(event, 1000.0)
    await clock.wait(event, None)


@pytest.mark.parametrize("seconds", [SHORT, 0.0])
async def test_a_wait_ends_without_its_event_when_the_time_is_over(clock: Clock, drive: Drive, seconds: float) -> None:
    event, before = asyncio.Event(), clock.monotonic()
    await drive(clock.wait(event, seconds))

    assert not event.is_set()
    assert clock.monotonic() - before >= seconds


async def test_a_wait_without_end_ends_with_its_event(clock: Clock, drive: Drive) -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await drive(clock.wait(event, None))

    assert event.is_set()


async def test_a_cancelled_wait_is_cancelled(clock: Clock) -> None:
    waiting = asyncio.create_task(clock.wait(asyncio.Event(), 1000.0))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()


def test_the_two_times_are_apart(clock: Clock) -> None:
    assert clock.wall() > 1_600_000_000
    assert clock.monotonic() < clock.wall()


def test_real_monotonic_time_never_goes_back() -> None:
    clock = SystemClock()
    seen = [clock.monotonic() for _ in range(1000)]

    assert seen == sorted(seen)


class Suspended(SystemClock):
    """A clock of a machine whose lid is shut for ten hours once something waits."""

    def __init__(self) -> None:
        super().__init__(nap=SHORT)
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return super().monotonic() + (36_000.0 if self._looks > 1 else 0.0)


async def test_a_long_sleep_is_over_soon_after_the_machine_has_slept_as_long() -> None:
    await asyncio.wait_for(Suspended().sleep(3600.0), 10.0)


async def test_a_long_wait_is_over_soon_after_the_machine_has_slept_as_long() -> None:
    await asyncio.wait_for(Suspended().wait(asyncio.Event(), 3600.0), 10.0)


async def test_a_wait_of_many_naps_still_ends_with_its_event() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(10 * SHORT, event.set)
    await asyncio.wait_for(SystemClock(nap=SHORT).wait(event, 1000.0), 10.0)

    assert event.is_set()


# --- what tests rely on in the manual one ---


async def test_a_machine_that_sleeps_finds_both_clocks_gone_on() -> None:
    clock = ManualClock()
    before = clock.monotonic(), clock.wall()
    clock.suspend(3600.0)

    assert (clock.monotonic(), clock.wall()) == (before[0] + 3600.0, before[1] + 3600.0)


async def test_manual_time_stands_still_by_itself() -> None:
    clock = ManualClock()
    before = clock.monotonic()
    await asyncio.sleep(0)

    assert clock.monotonic() == before
    assert clock.wall() == START


async def test_sleepers_wake_in_order_and_each_sees_its_own_time() -> None:
    clock = ManualClock()
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        began = clock.monotonic()
        await clock.sleep(seconds)
        woken.append(clock.monotonic() - began)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (5.0, 1.0, 3.0)]
    await clock.advance(10.0)

    assert woken == [1.0, 3.0, 5.0]
    assert all(task.done() for task in tasks)


async def test_a_chain_of_sleeps_is_played_to_its_end_within_one_advance() -> None:
    clock = ManualClock()

    async def chain() -> float:
        for _ in range(100):
            await clock.sleep(0.125)
        return clock.monotonic()

    began, task = clock.monotonic(), asyncio.create_task(chain())
    await clock.advance(60.0)

    assert task.result() == began + 12.5


async def test_a_step_of_the_wall_clock_leaves_the_other_alone() -> None:
    clock = ManualClock()
    before = clock.monotonic()
    clock.step_wall(-3600.0)

    assert clock.wall() == START - 3600.0
    assert clock.monotonic() == before


async def test_what_never_happens_is_a_failure_and_not_a_hang() -> None:
    with pytest.raises(AssertionError, match="within 5 s"):
        await ManualClock().until(lambda: False, 5.0)


async def test_what_spins_without_waiting_is_a_failure_and_not_a_hang() -> None:
    async def spin() -> None:
        while True:  # noqa: ASYNC110 - this is what it is about
            await asyncio.sleep(0)

    task = asyncio.create_task(spin())
    with pytest.raises(AssertionError, match="without waiting"):
        await ManualClock(most_rounds=1000).advance(1.0)
    task.cancel()
