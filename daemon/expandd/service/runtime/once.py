"""Owns `once`: everything that lies in the inboxes now, answered, then an exit code that says how it went."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable

from expandd.domain.events import Event, JobClosed, JobMoved
from expandd.domain.job import AWAITING_RESULT, JobState
from expandd.domain.pauses import Lifted
from expandd.engine.engine import Engine
from expandd.service.exit_codes import ExitCode
from expandd.service.runtime.app import run_until

LOOK = 0.2
"""Longest time, in seconds, between two looks at whether all is done."""

PERSON_PATIENCE = 5.0
"""Seconds after which a gate that a person must open counts as an outage; others get the whole patience."""


class Tally:
    """Counts what became of the files, and when something last moved (seconds of the loop's clock)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._been: defaultdict[str, set[JobState]] = defaultdict(set)
        self.finished = 0
        self.failed = 0
        self.progress_at = now()
        self.changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.changed.set()
        if isinstance(event, JobMoved) and event.job.state not in self._been[event.job.id]:
            # A state that it has been in before is no progress: it goes to and fro.
            self._been[event.job.id].add(event.job.state)
            self.progress_at = self._now()
        if isinstance(event, JobClosed):
            self._been.pop(event.job.id, None)
            self.progress_at = self._now()
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
    repair = any(reason.lifted is Lifted.BY_REPAIR for reason in reasons)
    if repair and not engine.jobs.in_state(*AWAITING_RESULT):
        return quiet > min(patience, PERSON_PATIENCE)
    # A decision that is waited for is no outage: what else there is goes on meanwhile.
    outage = any(reason.lifted is not Lifted.BY_DECISION for reason in reasons)
    if engine.at_a_stand:
        return quiet > min(patience, PERSON_PATIENCE)
    put_off = all(job.held or job.attempts or engine.dispatcher.gets_nowhere(job.id) for job in jobs)
    left = [inbox for inbox in engine.inboxes if not inbox.idle]
    put_off = put_off and (bool(jobs) or (bool(left) and all(inbox.is_baffled for inbox in left)))
    return quiet > patience and (outage or put_off)
