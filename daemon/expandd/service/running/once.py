"""Owns `once`: everything that lies in the inboxes now, answered, then an exit code that says how it went."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from expandd.domain.errors import GateReason
from expandd.domain.events import Event, JobClosed, JobMoved
from expandd.domain.job import AWAITING_RESULT, JobState
from expandd.engine.engine import Engine
from expandd.service.exit_codes import ExitCode
from expandd.service.running.app import run_until

LOOK = 0.2
"""Longest time, in seconds, between two looks at whether all is done."""

NEEDS_PERSON = frozenset(
    {
        GateReason.CREDITS,
        GateReason.CREDENTIALS,
        GateReason.WRONG_PATH,
        GateReason.REQUEST_REFUSED,
        GateReason.LOW_CREDITS,
        GateReason.DECODER_UNAVAILABLE,
    }
)
NEEDS_LEAVE = frozenset({GateReason.PAUSED, GateReason.BURST, GateReason.BUDGET})
"""No outage: what else there is goes on meanwhile."""
PERSON_PATIENCE = 5.0
"""Seconds after which a gate that a person must open counts as an outage; others get the whole patience."""


class Tally:
    """Counts what became of the files, and when something last moved (seconds of the loop's clock)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.finished = 0
        self.failed = 0
        self.progress_at = now()
        self.changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.changed.set()
        if isinstance(event, JobMoved | JobClosed) and not _back_and_forth(event):
            self.progress_at = self._now()
        if isinstance(event, JobClosed):
            self.finished += event.job.state is JobState.DONE
            self.failed += event.job.state is JobState.FAILED


async def run_once(engine: Engine, tally: Tally, patience: float, stop: asyncio.Event) -> ExitCode:
    """Work until every file is answered, or an outage has lasted `patience` seconds, or `stop` is set."""
    finished = asyncio.Event()
    watching = asyncio.create_task(_watch(engine, tally, patience, stop, finished))
    try:
        await run_until(engine, finished)
    finally:
        watching.cancel()
    if not engine.finished:
        return ExitCode.SOME_WAIT
    return ExitCode.SOME_FAILED if tally.failed else ExitCode.FINE


async def _watch(engine: Engine, tally: Tally, patience: float, stop: asyncio.Event, finished: asyncio.Event) -> None:
    now = asyncio.get_running_loop().time
    while not (stop.is_set() or engine.finished or _stuck(engine, now() - tally.progress_at, patience)):
        tally.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await tally.changed.wait()
    finished.set()


def _stuck(engine: Engine, quiet: float, patience: float) -> bool:
    """Whether what is left waits for something that `once` should not wait for."""
    jobs = list(engine.jobs)
    if jobs and all(job.held for job in jobs):
        return True
    reasons = {gate.shut.reason for gate in engine.gates.shut() if gate.shut is not None}
    if reasons & NEEDS_PERSON and not engine.jobs.in_state(*AWAITING_RESULT):
        return quiet > min(patience, PERSON_PATIENCE)
    if engine.at_a_stand:
        return quiet > min(patience, PERSON_PATIENCE)
    put_off = bool(jobs) and all(job.held or job.attempts for job in jobs)
    return quiet > patience and (bool(reasons - NEEDS_LEAVE) or put_off)


def _back_and_forth(event: JobMoved | JobClosed) -> bool:
    """A refused paid call moves a job to its intent and back: no progress."""
    return (
        isinstance(event, JobMoved) and event.job.state in {JobState.INTENT, JobState.UPLOADED} and event.job.tries > 0
    )
