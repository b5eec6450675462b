"""The open jobs: the one function through which each changes state and is announced, and their counts."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from expandd.domain.errors import DatabaseAway, StaleJob
from expandd.domain.events import (
    DuplicateFound,
    FinishFailed,
    JobClosed,
    JobHeld,
    JobMoved,
    JobRetrying,
    OriginalLost,
)
from expandd.domain.job import (
    AWAITING_RESULT,
    UNPAID,
    FileIdentity,
    Job,
    JobState,
    StateChange,
    believing,
    claimed,
    moved,
)
from expandd.domain.pauses import PauseReason
from expandd.domain.settle import FileStat
from expandd.domain.spending import Denied, Limits, Outcome, known
from expandd.engine.control.holds import Pause
from expandd.engine.ports import Clock, Emit, JobStore

T = TypeVar("T")

Count = Callable[[Path, float, int], None]
"""Called with an inbox, a time (epoch seconds) and how many more images were paid for then; negative for fewer."""


class JobCounts:
    """Counts over the open jobs. Only `Jobs`, through which each job changes, may call `change`."""

    def __init__(self) -> None:
        self._unpaid: dict[Path, Counter[Path]] = {}
        self._unpaid_in: Counter[Path] = Counter()
        self._same_bytes: dict[str, dict[str, None]] = {}
        self._followers: list[Count] = []

    def follow(self, count: Count) -> None:
        """Call `count` for each payment from now on, and for each one that turns out not to be a payment."""
        self._followers.append(count)

    def change(self, before: Job | None, after: Job | None) -> None:
        """Count a job that has changed from `before` to `after`; None where it is not open here."""
        if before is not None:
            self._count_unpaid(before, -1)
        if after is not None:
            self._count_unpaid(after, 1)
        self._index(before, after)
        if after is not None:
            self._count_payments(before, after)

    def unpaid_in(self, inbox: Path) -> int:
        """How many jobs of this inbox are not paid for yet."""
        return self._unpaid_in[inbox]

    def unpaid(self, inbox: Path, relative: Path) -> int:
        """How many of them have this file."""
        return self._unpaid[inbox][relative] if inbox in self._unpaid else 0

    def inboxes(self) -> Iterator[Path]:
        """The inboxes with jobs that are not paid for yet."""
        return iter(self._unpaid)

    def of_bytes(self, sha256: str) -> tuple[str, ...]:
        """The ids of the open jobs whose source has this digest."""
        return tuple(self._same_bytes.get(sha256, ()))

    def _count_unpaid(self, job: Job, number: int) -> None:
        if job.state not in UNPAID or job.fault is not None:
            return
        inbox = job.folder.inbox
        files = self._unpaid.setdefault(inbox, Counter())
        files[job.relative] += number
        self._unpaid_in[inbox] += number
        if not files[job.relative]:
            del files[job.relative]
        if not self._unpaid_in[inbox]:
            del self._unpaid[inbox], self._unpaid_in[inbox]

    def _index(self, before: Job | None, after: Job | None) -> None:
        old, new = (job.source.sha256 if job is not None else "" for job in (before, after))
        if before is not None and old and old != new:
            same = self._same_bytes[old]
            same.pop(before.id, None)
            if not same:
                del self._same_bytes[old]
        if after is not None and new and old != new:
            self._same_bytes.setdefault(new, {})[after.id] = None

    def _count_payments(self, before: Job | None, after: Job) -> None:
        counted = {paid.at for paid in before.payments if paid.counts} if before is not None else set()
        counts = {paid.at for paid in after.payments if paid.counts}
        for at, number in [*((at, 1) for at in counts - counted), *((at, -1) for at in counted - counts)]:
            for count in self._followers:
                count(after.folder.inbox, at, number)


BEFORE_RESULT = UNPAID | AWAITING_RESULT | {JobState.SUBMITTING}
"""States of a job that has no result yet and may get one."""


class Jobs:
    """The open jobs in memory, each exactly as the job database has it."""

    def __init__(
        self, store: JobStore, clock: Clock, emit: Emit, owner: str = "", *, database: Pause | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._emit = emit
        self._database = database or Pause(None, clock, emit)
        self._open: dict[str, Job] = {}
        self.tally = JobCounts()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._followed: dict[str, asyncio.Event] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def get(self, job_id: str) -> Job | None:
        return self._open.get(job_id)

    def in_state(self, *states: JobState) -> tuple[Job, ...]:
        return tuple(job for job in self._open.values() if job.state in states)

    def of_bytes(self, sha256: str) -> tuple[Job, ...]:
        """The open jobs whose source has this digest; none while it is not known."""
        return tuple(self._open[job_id] for job_id in self.tally.of_bytes(sha256))

    def waits_for(self, inbox: Path, relative: Path, stat: FileStat) -> bool:
        """Whether a job is about to take this file out of the inbox, so that it is not new."""
        return any(
            job.relative == relative and job.folder.inbox == inbox and job.source.identity == identity_in(stat)
            for job in self.in_state(JobState.CLAIMED)
        )

    def any_below(self, inbox: Path, subfolder: Path) -> bool:
        """Whether a file that lay in this subfolder of the inbox is in progress."""
        return any(job.folder.inbox == inbox and subfolder in job.relative.parents for job in self._open.values())

    async def known(self, job_id: str) -> Job | None:
        """The job of this id as the job database has it, open or over."""
        return await self._store.get(job_id)

    async def load(self) -> None:
        there = await self._store.open_jobs()
        for job in tuple(self._open.values()):
            self._let_go(job)
        for job in there:
            self.take(job)

    def take(self, job: Job) -> None:
        """Go on with a job as the job database has it: an earlier run, or another host, has brought it so far."""
        # Earlier payments are counted from the job database, not here.
        self._open[job.id] = job
        self.tally.change(job.with_(state=JobState.DONE, source=replace(job.source, sha256="")), job)

    def let_others_carry(self, job: Job) -> None:
        """Give up a job that another host may carry from now on."""
        self._let_go(job)
        self._locks.pop(job.id, None)

    async def result_seen(self, job_id: str) -> None:
        """Return when the API has ended its work on the job, when a person must decide, or when another host has it."""
        while (job := self._open.get(job_id)) is not None and job.state in BEFORE_RESULT and not job.held:
            changed = self._followed[job_id] = asyncio.Event()
            await changed.wait()
        self._followed.pop(job_id, None)

    async def add(self, job: Job) -> Job:
        """Store a new job, before its file is touched."""
        job = claimed(job.with_(owner=self._owner), self._clock.wall())
        await self._told(self._store.add(job))
        self._put(job)
        self._emit(JobMoved(job, None))
        return job

    async def adopt(self, job: Job, state: JobState, note: str) -> Job:
        """Store a job whose row is lost, in the latest state that is certain."""
        now = self._clock.wall()
        payments = known(job.payments, Outcome.TAKEN, now) if state is JobState.RENDERED else job.payments
        state_changes = (*job.state_changes, StateChange(state, now))
        job = job.with_(
            state=state,
            note=note,
            attempts=0,
            state_changes=state_changes,
            payments=payments,
            owner=self._owner,
            epoch=0,
        )
        await self._told(self._store.add(job))
        self._put(job)
        self._emit(JobMoved(job, None))
        return job

    async def move(self, job: Job, to: JobState, **changes: Any) -> Job:
        """Move `job` to state `to`. Raises StaleJob when it is no longer in the state that the caller saw."""
        return await self._moved(job, lambda before: moved(before, to, self._clock.wall(), **changes))

    async def submit(self, job: Job, limits: Limits) -> Job | Denied:
        """Store that the paid call of `job` is about to be sent, unless the limits forbid it.

        Raises StaleJob, and DatabaseAway also where it may have been written down all the same.
        """
        async with self._locks[job.id]:
            before = self._current(job)
            after = moved(before, JobState.SUBMITTING, self._clock.wall(), attempts=job.attempts)
            denied = await self._save(after, before, self._store.submit(after, before.state, limits))
            if denied is not None:
                self._put(before)
                return denied
        self._emit(JobMoved(after, before.state))
        return after

    async def believe(self, job: Job, record: Job) -> Job:
        """Move `job` to unknown, with the facts of the recovery record beside its file."""
        return await self._moved(job, lambda before: believing(before, record, self._clock.wall()))

    async def _moved(self, job: Job, move: Callable[[Job], Job]) -> Job:
        async with self._locks[job.id]:
            before = self._current(job)
            after = move(before)
            await self._save(after, before, self._store.save(after, before.state))
        self._emit(JobMoved(after, before.state))
        return after

    async def note(self, job: Job, **changes: Any) -> Job:
        """Store further facts of a job without moving it."""
        async with self._locks[job.id]:
            before = self._current(job)
            after = before.with_(**changes)
            await self._save(after, before, self._store.save(after, before.state))
        return after

    async def retry_later(self, job: Job, why: str, seconds: float) -> Job:
        """Store that a step has failed and is tried again in `seconds`."""
        after = await self.note(job, note=why, attempts=job.attempts + 1, tries=job.tries + 1)
        self._emit(JobRetrying(after, why, seconds))
        return after

    async def amend(self, job: Job, **changes: Any) -> Job:
        """Store further facts of a job that is over."""
        after = job.with_(**changes)
        await self._told(self._store.save(after, job.state))
        return after

    async def lose(self, job: Job, why: str) -> Job:
        """Store that the job's original is gone, so that only its last step is left."""
        after = await self.note(job, note=why)
        self._emit(OriginalLost(after))
        return after

    async def deliver_as_made(self, job: Job, why: str) -> None:
        """Store that the API's own bytes are delivered, since they could not be finished."""
        self._emit(FinishFailed(await self.note(job, finish_failed=why), why))

    async def duplicate(self, job: Job, earlier: Job) -> None:
        """Store that a job is paid for though its folder has paid for the same bytes before."""
        self._emit(DuplicateFound(await self.note(job, duplicate_of=earlier.id)))

    async def hold(self, job: Job, why: str) -> Job:
        """Store that only a person can decide about this job."""
        after = await self.note(job, note=why, held=True)
        self._emit(JobHeld(after, why))
        return after

    async def close(self, job: Job) -> None:
        """Close a job in its last state."""
        self._closed(await self.note(job, closed=True))

    async def finish(self, job: Job) -> None:
        """Move a job to done and close it, in one write."""
        self._closed(await self.move(job, JobState.DONE, note=job.note, closed=True))

    def _closed(self, job: Job) -> None:
        self._let_go(job)
        del self._locks[job.id]
        self._emit(JobClosed(job))

    async def _save(self, after: Job, before: Job, writing: Awaitable[T]) -> T:
        # In memory first: while the job database syncs, nothing may be decided by the old state.
        # One change of a job at a time: a write that is not over may still fail.
        self._put(after)
        try:
            return await self._told(writing)
        except StaleJob:
            self._put(before)
            await self._read_again(before)
            raise
        except BaseException:
            self._put(before)
            raise

    async def look_again(self) -> None:
        """Check whether the job database is back, if the last call found it away."""
        if self._database.shut is not None:
            await self._told(self._store.prove())

    async def _told(self, writing: Awaitable[T]) -> T:
        """Await a write; announce when the job database goes away, and when it is back."""
        try:
            outcome = await writing
        except DatabaseAway as error:
            # Once, also when the next failures have other messages.
            if self._database.shut is None:
                self._database.close(PauseReason.DATABASE_UNAVAILABLE, str(error))
            raise
        self._database.open()
        return outcome

    async def _read_again(self, job: Job) -> None:
        """Take over the job as the job database has it. A job that is over or another host's is dropped."""
        row = await self._store.get(job.id)
        if row is None or row.closed or (row.owner, row.epoch) != (job.owner, job.epoch):
            self._let_go(job)
        else:
            self._put(row)

    def _put(self, job: Job) -> None:
        self.tally.change(self._open.get(job.id), job)
        self._open[job.id] = job
        self._tell_followers(job)

    def _let_go(self, job: Job) -> None:
        self.tally.change(self._open.pop(job.id, None), None)
        self._tell_followers(job)

    def _tell_followers(self, job: Job) -> None:
        if job.id in self._followed:
            self._followed[job.id].set()

    def _current(self, job: Job) -> Job:
        current = self._open.get(job.id)
        if current is None or current.state is not job.state:
            raise StaleJob(f"job {job.id} has moved on since it was read")
        return current


def identity_in(stat: FileStat) -> FileIdentity:
    """The identity of the file with this stat."""
    return FileIdentity(stat.device, stat.inode, stat.size, stat.mtime_ns)
