"""Whether the engine is alive: every loop makes rounds, however much or little there is to do, and a stuck one none."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from expandd.engine.flow.heartbeat import Heartbeat, Heartbeats
from expandd.engine.flow.poller import ALLOWANCE as SLOWEST
from tests.support.fake_api import Fate
from tests.support.workshop import HOUR, Workshop


class Stuck:
    """Stands before something real; the calls that are named never come back."""

    def __init__(self, real: Any, *names: str) -> None:
        self._real = real
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return self._never if name in self._names else getattr(self._real, name)

    async def _never(self, *_: object, **__: object) -> None:
        await asyncio.Event().wait()


async def stuck(workshop: Workshop, seconds: float) -> set[str]:
    """The loops that were stale at one time or another, asked as the heart asks."""
    found: set[str] = set()
    for _ in range(int(seconds / 5)):
        workshop.engine.heartbeats.nudge()
        await workshop.advance(5.0)
        found.update(workshop.engine.heartbeats.stale(workshop.clock.monotonic()))
    return found


async def test_an_idle_engine_is_alive(workshop: Workshop) -> None:
    workshop.start()

    assert await stuck(workshop, HOUR / 2) == set()
    assert workshop.api.calls == []


async def test_an_engine_that_waits_for_the_api_is_alive(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=HOUR)
    workshop.start()
    workshop.drop("pic.png")

    assert await stuck(workshop, HOUR / 3) == set()


@pytest.mark.parametrize(
    ("part", "call", "loop"),
    [
        ("store", "commands", "job_store"),
        ("store", "add", "intake"),
        ("api", "notifications", "poller"),
        ("folders", "inbox_state", "inbox"),
    ],
)
async def test_a_loop_that_is_stuck_is_named(workshop: Workshop, part: str, call: str, loop: str) -> None:
    setattr(workshop, part, cast("Any", Stuck(getattr(workshop, part), call)))
    workshop.start()
    workshop.drop("pic.png")

    found = await stuck(workshop, SLOWEST + 60.0)

    assert any(name.startswith(loop) for name in found)


def test_a_loop_that_does_not_run_is_stuck_and_one_that_has_ended_is_not() -> None:
    heartbeats, heartbeat = Heartbeats(), Heartbeat(60.0)
    heartbeats.follow("loop", heartbeat)

    assert heartbeats.stale(0.0) == ()
    assert heartbeats.stale(61.0) == ("loop",)
    heartbeat()
    assert heartbeats.stale(62.0) == ()
    assert heartbeats.stale(122.0) == ()
    assert heartbeats.stale(123.0) == ("loop",)
    heartbeats.forget("loop", Heartbeat(1.0))
    assert heartbeats.stale(124.0) == ("loop",)
    heartbeats.forget("loop", heartbeat)
    assert heartbeats.stale(125.0) == ()


def test_a_nudge_wakes_those_that_rest() -> None:
    heartbeats, wake = Heartbeats(), asyncio.Event()
    heartbeats.follow("waiting", Heartbeat(60.0, wake))
    heartbeats.follow("ticking", Heartbeat(60.0))
    heartbeats.nudge()

    assert wake.is_set()
