"""Loops of the service that meet what nobody foresaw: each is told with its trace, rests, and does its work again."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.events import BugFound, JobClosed
from expandd.domain.job import JobState
from expandd.domain.settings import Hook, Hooks
from expandd.engine.supervisor import LOOP, Supervisor
from expandd.service.observability.hooks import HookRunner
from expandd.service.observability.logs import set_up
from expandd.service.observability.metering import Metering, Publisher
from expandd.service.reports.ledger import Price
from expandd.service.runtime.app import FolderAccess
from expandd.service.runtime.reload import Reloader
from expandd.service.runtime.snapshots import Snapshots
from expandd.service.runtime.systemd import Failures, Notifier, Watchdog
from tests.support.fakes import FixedRandomness
from tests.support.jobs import a_job_in
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder
from tests.support.workshop import Workshop

LOG = set_up(io.StringIO())


@dataclass(slots=True)
class Stumble:
    """What a loop asks for: the first time it raises what nobody foresaw, then it is as good as ever."""

    answer: Any = None
    calls: int = 0
    again: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, *_: object) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("nobody foresaw this")
        self.again.set()
        return self.answer


class StumblingNotifier(Notifier):
    """Systemd, as a reload meets it."""

    def __init__(self, stumble: Stumble) -> None:
        super().__init__({})
        self._stumble = stumble

    def reloading(self) -> None:
        self._stumble()


Keep = Callable[[str, Callable[[], Awaitable[object]]], Awaitable[None]]
Loop = Callable[[Workshop, Stumble, Keep], Awaitable[object]]


def heart(workshop: Workshop, stumble: Callable[[], float]) -> Watchdog:
    return Watchdog(workshop.engine, systemd=Notifier({}), failures=Failures(), log=LOG, wall=stumble)


def snapshot(workshop: Workshop, stumble: Stumble, keep: Keep) -> Awaitable[object]:
    stumble.answer = workshop.clock.wall()
    snapshots = Snapshots(workshop.engine, before=None, price=Price(None), log=LOG, wall=stumble)
    return keep("loop", snapshots.run)


def metrics(workshop: Workshop, stumble: Stumble, keep: Keep) -> Awaitable[object]:
    stumble.answer = workshop.settings
    return keep("loop", Publisher(Metering(workshop.settings), stumble, LOG).run)


def heartbeat(workshop: Workshop, stumble: Stumble, keep: Keep) -> Awaitable[object]:
    stumble.answer = workshop.clock.wall()
    return keep("loop", lambda: heart(workshop, stumble).run(asyncio.Event()))


def reload(workshop: Workshop, stumble: Stumble, keep: Keep) -> Awaitable[object]:
    reloader = Reloader(
        Path("missing.yaml"),
        workshop.engine,
        folder_access=FolderAccess(),
        systemd=StumblingNotifier(stumble),
        watchdog=heart(workshop, workshop.clock.wall),
        log=LOG,
    )
    asked = asyncio.Event()
    asked.set()
    return keep("loop", lambda: reloader.run(asked))


def hook(workshop: Workshop, stumble: Stumble, keep: Keep) -> Awaitable[object]:
    stumble.answer = Hooks(on_done=Hook(command=("/bin/true",)))
    hook_runner = HookRunner(LOG, lambda: stumble.answer, clock=workshop.clock, randomness=FixedRandomness())
    for number in range(2):
        hook_runner(JobClosed(a_job_in(JobState.DONE, f"job-{number}")))
    hook_runner.hooks = stumble

    async def named(name: str, loop: Callable[[], Awaitable[object]]) -> None:
        await keep("loop" if name == "hook on_done" else name, loop)

    return hook_runner.work(named)


@pytest.mark.parametrize("loop", [snapshot, metrics, heartbeat, reload, hook], ids=lambda loop: str(loop.__name__))
async def test_a_loop_of_the_service_that_fails_is_told_and_works_again(tmp_path: Path, loop: Loop) -> None:
    workshop = Workshop(tmp_path)
    workshop.start()
    clock, recorder, stumble = ManualClock(), Recorder(), Stumble()
    supervisor = Supervisor(clock, FixedRandomness(), recorder)
    kept = asyncio.ensure_future(loop(workshop, stumble, supervisor.keep))
    try:
        async with asyncio.timeout(10.0):
            await recorder.until(lambda event: isinstance(event, BugFound))
        assert not stumble.again.is_set(), "it rests first"
        await clock.advance(LOOP.cap)
        async with asyncio.timeout(10.0):
            await stumble.again.wait()
    finally:
        kept.cancel()
        await asyncio.wait({kept})
        await workshop.close()

    assert [bug.where for bug in recorder.of(BugFound)] == ["loop"]
    assert recorder.of(BugFound)[0].error.__traceback__ is not None
