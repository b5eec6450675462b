"""Claims ready files as jobs: fair between folders, never more than are uploaded ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

from expandd.domain.errors import DatabaseAway, Fault, FolderAway
from expandd.domain.events import BugFound
from expandd.domain.job import FolderSnapshot, Job, JobState, Source
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder
from expandd.domain.settle import FileStat
from expandd.engine.flow.admission import Admission
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.flow.poller import Waker
from expandd.engine.flow.slots import Slots
from expandd.engine.inbox.candidates import Ready
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.job.failures import FaultScope
from expandd.engine.jobs import Jobs, identity_in
from expandd.engine.ports import Clock, Emit, Membership, Randomness

MOST_REJECTS = 16
"""Rejected files that are moved to the error folder at the same time."""

MOST_TROUBLED = 64
"""Unpaid jobs that fail again and again; with so many the files are not at fault, and nothing new is claimed."""

SPARINGLY = 60.0
"""Seconds between two new claims all the same, while the API serves: those files may be at fault after all."""

MOST_WAITING = 64
"""Unpaid jobs of one folder that wait without a slot, as for a duplicate; with so many nothing more is claimed."""

MOST_AT_FAULT = 512
"""Files of one folder that cannot be claimed by their own fault and do not count as waiting."""

FRESH = 4
"""Tries of one step below which a job counts as a fair probe of a shut circuit breaker."""

WAIT = 1.0
"""Seconds until a shut circuit breaker is checked again."""

ALLOWANCE = 300.0
"""Seconds that one claim may take: a share that hangs comes back or gives up within that."""


class Intake:
    """Claims ready files, one folder after the other. `changed` is set when a file is ready or a slot is freed."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        slots: Slots,
        membership: Membership,
        breakers: CircuitBreakers,
        admission: Admission,
        fault_scope: FaultScope,
        waker: Waker,
        clock: Clock,
        randomness: Randomness,
        changed: asyncio.Event,
        emit: Emit,
    ) -> None:
        self._changed = changed
        self._emit = emit
        self._jobs = jobs
        self._slots = slots
        self._membership = membership
        self._breakers = breakers
        self._admission = admission
        self._fault_scope = fault_scope
        self._waker = waker
        self._clock = clock
        self._randomness = randomness
        self._inboxes: deque[Inbox] = deque()
        self._claimed_at = float("-inf")
        self.heartbeat = Heartbeat(ALLOWANCE, changed)

    def serve(self, inbox: Inbox) -> None:
        self._inboxes.append(inbox)

    def stop_serving(self, inbox: Inbox) -> None:
        """Claim nothing more of this inbox."""
        self._inboxes.remove(inbox)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            try:
                self.heartbeat()
                while await self._claim_next():
                    self.heartbeat()
            except DatabaseAway:
                # Nothing is begun that cannot be stored; the file stays ready.
                await self._clock.sleep(WAIT)
                continue
            any_ready = any(inbox.ready for inbox in self._inboxes)
            await self._clock.wait(self._changed, WAIT if any_ready else None)

    async def reject(self, folder: HotFolder, relative: Path, stat: FileStat, fault: Fault) -> bool:
        """Make a failed job of a file that cannot be expanded. False while too many are on their way."""
        if sum(job.fault is not None for job in self._jobs) >= MOST_REJECTS:
            return False
        source = Source(identity=identity_in(stat))
        await self._start(
            Job(
                id=self._randomness.job_id(),
                folder=FolderSnapshot.of(folder),
                relative=relative,
                source=source,
                fault=fault,
            )
        )
        return True

    async def _claim_next(self) -> bool:
        """Claim one file of the next folder that has one and is not paused; False when there is none."""
        full = not self._slots.spare or self._membership.room == 0
        if self._breakers.stopping or full or self._too_many_troubled():
            return False
        for _ in range(len(self._inboxes)):
            inbox = self._inboxes[0]
            self._inboxes.rotate(-1)
            ready = inbox.next
            if ready is not None and self._may_claim(inbox):
                await self._claim_alone(inbox, ready)
                return True
        return False

    async def _claim_alone(self, inbox: Inbox, ready: Ready) -> None:
        """Claim a file. An unforeseen error delays this file alone."""
        try:
            await self._claim(inbox, ready)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - one file's bug must not stop all folders
            self._emit(BugFound(f"the claim of {printable(inbox.folder.inbox / ready.relative)}", error))
            inbox.put_back(ready)
        else:
            # Only now: until its job is stored, the file is a waiting one.
            inbox.taken(ready)

    def _too_many_troubled(self) -> bool:
        unpaid = self._jobs.in_state(JobState.CLAIMED, JobState.UPLOADED)
        alone = sum(job.strikes > 0 for job in unpaid)
        troubled = sum(
            job.attempts >= FRESH and not job.strikes and not self._fault_scope.waits_for_file(job.id) for job in unpaid
        )
        if alone + troubled < MOST_TROUBLED:
            return False
        return troubled >= alone or self._clock.monotonic() < self._claimed_at + SPARINGLY

    def _may_claim(self, inbox: Inbox) -> bool:
        if self._breakers.decoder.shut is not None or self._breakers.claim_wait(inbox.folder.inbox):
            return False
        if self._waiting(inbox.folder.inbox) >= MOST_WAITING:
            return False
        probing = any(breaker.shut is not None for breaker in self._breakers.of(inbox.folder.inbox))
        # One file is enough to probe a shut breaker with; the others stay in the inbox. One that has failed often
        # or may not go on now does not count.
        unpaid = self._jobs.in_state(JobState.CLAIMED, JobState.UPLOADED)
        fresh = (job for job in unpaid if job.attempts < FRESH and not self._fault_scope.waits_for_file(job.id))
        return not (probing and any(not self._admission.denied(job) for job in fresh))

    def _waiting(self, inbox: Path) -> int:
        unpaid = self._jobs.in_state(JobState.CLAIMED, JobState.UPLOADED)
        mine = [
            job for job in unpaid if job.folder.inbox == inbox and not job.strikes and not self._slots.holds(job.id)
        ]
        at_fault = sum(self._fault_scope.waits_for_file(job.id) for job in mine)
        # Jobs whose own file is at fault hold back no other, up to a bounded number.
        return len(mine) - min(at_fault, MOST_AT_FAULT)

    async def _claim(self, inbox: Inbox, ready: Ready) -> None:
        try:
            if not await inbox.still_ready(ready):
                return
        except FolderAway as error:
            self._breakers.inbox(inbox.folder.inbox).away(error)
            return
        if self._jobs.waits_for(inbox.folder.inbox, ready.relative, ready.stat):
            return
        source = Source(
            identity=identity_in(ready.stat),
            format=ready.whole.format,
            size=ready.whole.size,
            orientation=ready.whole.orientation,
            converts=ready.whole.converts,
            several=ready.whole.several,
            metadata=ready.whole.metadata,
        )
        job = Job(
            id=self._randomness.job_id(),
            folder=FolderSnapshot.of(inbox.folder),
            relative=ready.relative,
            source=source,
            offsets=ready.offsets,
        )
        self._slots.take(job.id)
        try:
            await self._start(job)
            self._claimed_at = self._clock.monotonic()
        except BaseException:
            self._slots.give(job.id)
            raise

    async def _start(self, job: Job) -> None:
        await self._jobs.add(job)
        self._waker.wake(job.id)
