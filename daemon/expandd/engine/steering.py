"""Owns carrying out what people order while the work goes on."""

from __future__ import annotations

import contextlib

from expandd.domain.errors import Fault, FaultCode, JournalAway
from expandd.domain.job import JobState
from expandd.domain.orders import Order, Verb
from expandd.engine.jobs import Jobs
from expandd.engine.keeping import Journal
from expandd.engine.poller import Waker
from expandd.engine.ports import Clock
from expandd.engine.pulse import Beat

PAUSE = 2.0
"""Seconds between two looks for orders."""

ALLOWANCE = 60.0
"""Seconds within which the journal's writer answers, if only that its disk is away: then it is not stuck."""

_GIVEN_UP = Fault(
    FaultCode.GIVEN_UP_BY_PERSON,
    "A person has said that this picture was paid for; its result never came.",
    "Ask the service about it. Moving the file back into the inbox expands it anew, which costs again.",
)


class Steering:
    """Reads orders and carries them out; an order about a job that has found its own way is dropped."""

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
            # Whoever writes next says that the journal is away; the orders stay where they are.
            with contextlib.suppress(JournalAway):
                await self.act()
            await self._clock.sleep(PAUSE)

    async def act(self) -> None:
        for order in await self._journal.orders():
            await self._carry_out(order)
            await self._journal.carried_out(order)

    async def _carry_out(self, order: Order) -> None:
        job = self._jobs.get(order.job_id)
        if job is None or job.state is not JobState.UNKNOWN:
            return
        if order.verb is Verb.PAID:
            await self._jobs.move(job, JobState.FAILED, fault=_GIVEN_UP, held=False)
        else:
            await self._jobs.move(job, JobState.UPLOADED, held=False, note="a person has said that nothing was paid")
        self._waker.wake(job.id)
