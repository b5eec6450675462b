"""Finds images that were paid for before: the same bytes with the same offsets are reused or skipped."""

from __future__ import annotations

from dataclasses import replace

from expandd.domain.errors import Later
from expandd.domain.job import UNPAID, Job, JobState
from expandd.domain.settings import Duplicates
from expandd.engine.control.holds import Holds
from expandd.engine.flow.budgets import Budgets
from expandd.engine.flow.scheduler import NOW
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Folders, JobStore, Spool

OVER = frozenset({JobState.DONE, JobState.FAILED, JobState.RETURNED})

PATIENCE = 4
"""Failed tries of one step after which duplicates no longer wait for an unpaid job."""


class Deduplicator:
    """Settles duplicates in folders with `duplicates: reuse` or `skip`; a person's `redo` overrules it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        store: JobStore,
        folders: Folders,
        spool: Spool,
        commands: Holds,
        budgets: Budgets,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._folders = folders
        self._spool = spool
        self._commands = commands
        self._budgets = budgets

    async def settled(self, job: Job) -> float | None:
        """Settle an unpaid job by an earlier one; seconds to its next activation, or None when it must be paid for."""
        if job.folder.duplicates is Duplicates.EXPAND:
            await self._tell(job)
            return None
        # Bytes that an interrupted try took from the duplicate must not pass for those that are paid for now.
        await self._spool.drop(job.id)
        job = await self._known_by_digest(job)
        if self.waits(job):
            return NOW
        if self._commands.again(job.source.sha256):
            return None
        reused_from = await self._store.reused_from(job)
        if reused_from is None or reused_from.result is None:
            return None
        if job.folder.duplicates is Duplicates.SKIP:
            why = f"the same image was expanded before as {reused_from.id}, and this folder passes over duplicates"
            await self._jobs.move(job, JobState.DELIVERED, reused_from=reused_from.id, note=why)
            return NOW
        if not await self._spool.reuse(reused_from.result.sha256, job.id):
            return None
        await self._jobs.move(
            job,
            JobState.DOWNLOADED,
            reused_from=reused_from.id,
            result=reused_from.result,
            prepared=reused_from.prepared,
        )
        return NOW

    async def _tell(self, job: Job) -> None:
        """Say, once, that the folder pays again for bytes that it has paid for before; a person's `redo` means to."""
        digest = job.source.sha256
        if job.state is JobState.UPLOADED and digest and not job.duplicate_of and not self._commands.again(digest):
            earlier = await self._store.paid_here(job)
            if earlier is not None:
                await self._jobs.duplicate(job, earlier)

    def waits(self, job: Job) -> bool:
        """Whether the job waits for an earlier one with the same bytes and offsets, whose outcome decides."""
        if not job.source.sha256 or not self.looks_for_duplicates(job):
            return False
        same = self._jobs.of_bytes(job.source.sha256)
        return any(other.offsets == job.offsets and self._is_ahead(other, job) for other in same)

    def looks_for_duplicates(self, job: Job) -> bool:
        """Whether the job waits for another one with the same bytes and offsets, of any host."""
        again = self._commands.again(job.source.sha256)
        return job.folder.duplicates is not Duplicates.EXPAND and again is None

    def _is_ahead(self, other: Job, job: Job) -> bool:
        # A job that is itself settled by a duplicate decides nothing: that duplicate does, for both.
        if other.state in OVER or other.held or other.reused_from or other.id == job.id:
            return False
        if other.state not in UNPAID:
            return True
        return other.id < job.id and other.fault is None and not self._stands_still(other)

    def _stands_still(self, job: Job) -> bool:
        """Whether it is uncertain when the job goes on, so that its duplicates do not wait for it."""
        return job.attempts >= PATIENCE or self._commands.stops(job) or not self._budgets.within(job)

    async def paid(self, job: Job) -> None:
        """Lift the `redo` of these bytes, as the job is paid for now."""
        again, at = self._commands.again(job.source.sha256), _submitter_began(job)
        if again is not None and at is not None and at >= again.at:
            await self._commands.lift_hold(again)

    async def keep(self, job: Job) -> None:
        """Keep the result of a job that is over for duplicates to come."""
        if job.folder.duplicates is Duplicates.REUSE and job.result is not None:
            await self._spool.keep(job.id, job.result.sha256)

    async def _known_by_digest(self, job: Job) -> Job:
        if job.source.sha256:
            return job
        try:
            sha256 = await self._folders.digest(job.work_file)
        except FileNotFoundError as error:
            raise Later("the file vanished from the work folder") from error
        return await self._jobs.note(job, source=replace(job.source, sha256=sha256))


def _submitter_began(job: Job) -> float | None:
    return job.entered(JobState.SUBMITTING) or job.entered(JobState.UNKNOWN)
