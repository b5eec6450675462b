"""Every loop of the engine meets what nobody foresaw, at the point where it waits: it fails alone, and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from expandd.domain.events import BugFound
from expandd.engine.supervisor import LOOP, WELL
from tests.support.manual_clock import ManualClock
from tests.support.workshop import Workshop

LOOPS = (
    "scheduler",
    "poller",
    "intake",
    "commands",
    "janitor",
    "error recheck",
    "budgets",
    "account",
    "decoders",
    "probes",
    "inbox",
)


class TrippingClock(ManualClock):
    """A clock that a loop stumbles over, so many times, whenever it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = ""
        self.times = 0

    async def sleep(self, seconds: float) -> None:
        self._trip()
        await super().sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        self._trip()
        await super().wait(event, seconds)

    def _trip(self) -> None:
        task = asyncio.current_task()
        if self.times and task is not None and task.get_name() == self.loop:
            self.times -= 1
            raise ValueError("nobody foresaw this")


async def test_no_loop_is_left_out(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop()
    workshop.start()
    await workshop.advance(1.0)

    inbox = f"inbox {workshop.hot[0].inbox}"
    assert workshop.engine.supervisor.kept == {*LOOPS, inbox} - {"inbox"}


@pytest.mark.parametrize("loop", LOOPS)
async def test_failing_loop_is_logged_with_its_trace_and_restarted(
    make_workshop: Callable[..., Workshop], loop: str
) -> None:
    clock = TrippingClock()
    workshop = make_workshop(folders=2, clock=clock)
    workshop.bugs_expected = True
    clock.loop = f"inbox {workshop.hot[0].inbox}" if loop == "inbox" else loop
    clock.times = 1
    workshop.drop("a.png", folder=0)
    workshop.drop("b.png", folder=1)
    workshop.start()
    await workshop.closed("a.png", "b.png", within=120.0)
    failing = [one.name for one in workshop.engine.supervisor.failing]
    workshop.drop("c.png", folder=0)
    await workshop.closed("c.png", within=120.0)
    await workshop.advance(LOOP.cap + WELL)

    assert clock.times == 0, "it has met the error"
    assert failing == [clock.loop]
    bugs = workshop.recorder.of(BugFound)
    assert [bug.where for bug in bugs] == [clock.loop]
    assert bugs[0].error.__traceback__ is not None
    assert workshop.engine.supervisor.failing == ()
    assert clock.loop in workshop.engine.supervisor.kept
    assert [workshop.names("outbox", folder) for folder in (0, 1)] == [["a.png", "c.png"], ["b.png"]]
    assert len(workshop.api.paid) == 3
