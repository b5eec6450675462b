"""Loops that meet what nobody foresaw: each fails alone, says so, and goes on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from expandd.domain.errors import DatabaseAway
from expandd.domain.events import BugFound
from expandd.engine.flow.heartbeat import Heartbeat, Heartbeats
from expandd.engine.supervisor import LOOP, WELL, Supervisor
from tests.support.fakes import FixedRandomness
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder
from tests.support.workshop import Workshop

ERRORS = (ValueError("one"), MemoryError(), RecursionError("deep"), OSError(24, "Too many open files"))


class Failing:
    """A port that is another port, but for one method, which fails so many times first."""

    def __init__(self, port: object, method: str, errors: Iterator[BaseException]) -> None:
        self._port = port
        self._method = method
        self._errors = errors
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._raising(found) if name == self._method else found

    def _raising(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            error = next(self._errors, None)
            if error is not None:
                raise error
            return await method(*arguments, **named)

        return called


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.recorder = Recorder()
        self.supervisor = Supervisor(self.clock, FixedRandomness(), self.recorder)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_loop_that_fails_is_begun_again_and_its_trace_is_told(bench: Bench, error: Exception) -> None:
    turns = iter([error, None])

    async def loop() -> None:
        failure = next(turns)
        if failure is not None:
            raise failure

    kept = asyncio.create_task(bench.supervisor.keep("snapshot", loop))
    await bench.clock.advance(LOOP.cap)
    await kept

    bugs = bench.recorder.of(BugFound)
    assert [(bug.where, bug.error) for bug in bugs] == [("snapshot", error)]
    assert bugs[0].error.__traceback__ is not None
    assert bench.supervisor.failing == ()


async def test_a_loop_that_keeps_failing_is_named_and_backs_off(bench: Bench) -> None:
    began = bench.clock.wall()

    async def loop() -> None:
        raise ValueError("never")

    kept = asyncio.create_task(bench.supervisor.keep("page", loop))
    await bench.clock.advance(600.0)
    failing = bench.supervisor.failing
    kept.cancel()

    assert [(one.name, one.since, one.why) for one in failing] == [("page", began, "ValueError: never")]
    # In ten minutes no more than a back-off of half its cap at least allows.
    assert 600 / LOOP.cap <= failing[0].times <= 600 / (LOOP.cap / 2) + 6


async def test_a_loop_that_fails_now_and_then_counts_as_well_in_between(bench: Bench) -> None:
    async def loop() -> None:
        await bench.clock.sleep(10 * WELL)
        raise ValueError("now and then")

    kept = asyncio.create_task(bench.supervisor.keep("janitor", loop))
    await bench.clock.advance(10 * WELL)
    waiting = bench.supervisor.failing
    await bench.clock.advance(LOOP.cap + WELL)
    later = bench.supervisor.failing
    await bench.clock.advance(9 * WELL)
    again = bench.supervisor.failing
    kept.cancel()

    assert [one.times for one in waiting] == [1]
    assert later == ()
    assert [one.times for one in again] == [1]


async def test_a_loop_that_backs_off_is_not_stuck(bench: Bench) -> None:
    heartbeat, heartbeats = Heartbeat(60.0), Heartbeats()
    stale: list[str] = []

    async def loop() -> None:
        raise ValueError("never")

    heartbeats.follow("poller", heartbeat)
    kept = asyncio.create_task(bench.supervisor.keep("poller", loop, heartbeat))
    for _ in range(120):
        await bench.clock.advance(5.0)
        stale += heartbeats.stale(bench.clock.monotonic())
    kept.cancel()

    assert stale == []


async def test_a_store_that_is_away_is_no_bug(bench: Bench) -> None:
    turns = iter([DatabaseAway("full"), None])

    async def loop() -> None:
        failure = next(turns)
        if failure is not None:
            raise failure

    kept = asyncio.create_task(bench.supervisor.keep("inbox", loop))
    await asyncio.sleep(0)
    shown = bench.supervisor.failing
    await bench.clock.advance(LOOP.cap)
    await kept

    assert bench.recorder.of(BugFound) == []
    assert shown == (), "the status tells of the store by itself"


async def test_a_loop_that_is_cancelled_ends(bench: Bench) -> None:
    kept = asyncio.create_task(bench.supervisor.keep("poller", asyncio.Event().wait))
    await asyncio.sleep(0)
    kept.cancel()
    await asyncio.wait({kept})

    assert kept.cancelled()


# --- each loop of the engine ---

CASES = {
    "poller": ("api", "notifications"),
    "commands": ("store", "commands"),
    "claims": ("store", "add"),
    "scans": ("folders", "inbox_state"),
    "looks": ("folders", "stat"),
    "inspecting": ("images", "inspect"),
}


@pytest.mark.parametrize("times", [1, 12])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("case", CASES)
async def test_what_a_port_throws_at_a_loop_is_told_and_the_work_goes_on(
    workshop: Workshop, case: str, error: Exception, times: int
) -> None:
    port, method = CASES[case]
    workshop.bugs_expected = True
    failing = Failing(getattr(workshop, port), method, iter([error] * times))
    setattr(workshop, port, failing)
    for name in ("a.png", "b.png"):
        workshop.drop(name)
    workshop.start()
    await workshop.closed("a.png", "b.png", within=24 * 3600.0)

    assert workshop.names("outbox") == ["a.png", "b.png"]
    assert len(workshop.api.paid) == 2
    assert failing.calls > 0


async def test_an_error_in_one_inbox_stops_no_other(make_workshop: Callable[..., Workshop]) -> None:
    two_folders = make_workshop(folders=2)
    two_folders.bugs_expected = True
    broken = two_folders.hot[0].inbox
    real = two_folders.folders

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def inbox_state(self, inbox: Any, markers: Any = ()) -> Any:
            if inbox == broken:
                raise ValueError("this one only")
            return await real.inbox_state(inbox, markers)

    two_folders.folders = Broken()
    two_folders.drop("bad.png", folder=0)
    two_folders.drop("good.png", folder=1)
    two_folders.start()
    await two_folders.closed("good.png")

    assert two_folders.names("outbox", 1) == ["good.png"]
    assert {bug.where for bug in two_folders.recorder.of(BugFound)} == {f"inbox {broken}"}
