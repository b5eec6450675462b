"""Owns acting on what people decide about held jobs."""

from __future__ import annotations

import contextlib

from expandd.domain.decisions import Decision, Verdict
from expandd.domain.errors import Fault, FaultCode, JournalAway
from expandd.domain.job import JobState
from expandd.engine.jobs import Jobs
from expandd.engine.poller import Waker
from expandd.engine.ports import Clock, Journal
from expandd.engine.pulse import Beat

PAUSE = 2.0
"""Seconds between two looks for decisions."""

ALLOWANCE = 60.0
"""Seconds within which the journal's writer answers, if only that its disk is away: then it is not stuck."""

_GIVEN_UP = Fault(
    FaultCode.GIVEN_UP_BY_PERSON,
    "A person has said that this picture was paid for; its result never came.",
    "Ask the service about it. Moving the file back into the inbox expands it anew, which costs again.",
)


class Deciding:
    """Reads decisions and moves their jobs; a decision about a job that has found its own way is dropped."""

    def __init__(self, *, jobs: Jobs, journal: Journal, waker: Waker, clock: Clock) -> None:
        self._jobs = jobs
        self._journal = journal
        self._waker = waker
        self._clock = clock
        self.beat = Beat(ALLOWANCE)
        """The journal's: each look is a turn of its writer, in line with all writes."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.beat()
            # Whoever writes next says that the journal is away; the decisions stay where they are.
            with contextlib.suppress(JournalAway):
                await self.act()
            await self._clock.sleep(PAUSE)

    async def act(self) -> None:
        for decision in await self._journal.decisions():
            await self._carry_out(decision)
            await self._journal.decided(decision)

    async def _carry_out(self, decision: Decision) -> None:
        job = self._jobs.get(decision.job_id)
        if job is None or job.state is not JobState.UNKNOWN:
            return
        if decision.verdict is Verdict.PAID:
            await self._jobs.move(job, JobState.FAILED, fault=_GIVEN_UP, held=False)
        else:
            await self._jobs.move(job, JobState.UPLOADED, held=False, note="a person has said that nothing was paid")
        self._waker.wake(job.id)
