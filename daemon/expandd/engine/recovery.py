"""Compares the database with the work folders, both ways, at the start and whenever an inbox is back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.errors import DatabaseAway, FolderAway, RowRefused, StaleJob
from expandd.domain.events import BugFound, Recovered, StrayStuck
from expandd.domain.job import AWAITING_RESULT, UNPAID, FolderSnapshot, Job, JobState
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder, Originals
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.slots import AllSlots
from expandd.engine.job.work_folder import RecoveryRecords
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Emit, Folders, Spool


@dataclass(frozen=True, slots=True)
class _Compared:
    """How many files went back into the inbox, and how many work directories could not be cleared."""

    returned: int
    stuck: int


class Recovery:
    """Takes over what an earlier run left. Recover before spend."""

    def __init__(
        self, *, jobs: Jobs, slots: AllSlots, breakers: CircuitBreakers, folders: Folders, spool: Spool, emit: Emit
    ) -> None:
        self._jobs = jobs
        self._slots = slots
        self._breakers = breakers
        self._folders = folders
        self._spool = spool
        self._emit = emit
        self._stuck: dict[tuple[Path, str], str] = {}
        self._records = RecoveryRecords(jobs=jobs, folders=folders)

    async def run(self, hot_folders: Sequence[HotFolder]) -> None:
        """Load the open jobs, keep their slots, hold back paid calls until the first poll, return stray files.

        All folders at once: those whose disks give no answer are waited for together, and once.
        """
        await self._jobs.load()
        returned = await asyncio.gather(*map(self._recover, hot_folders))
        there = {folder.inbox for folder, files in zip(hot_folders, returned, strict=True) if files is not None}
        for job in self._jobs.in_state(*UNPAID, JobState.SUBMITTING):
            # Inboxes that are away are skipped: a job's step reads the record before it pays.
            if job.folder.inbox in there:
                await self._heed_record(job)
        for job in self._jobs:
            if not job.held:
                self._slots.take_again(job)
        # A held job is not polled for: waiting for its poll would hold back all others for ever.
        self._breakers.draining = any(map(_needs_poll, self._jobs))
        self._emit(Recovered(len(self._jobs), sum(files or 0 for files in returned)))

    def take_over(self, job: Job) -> None:
        """Take over a job that another host has given up: recover before spend."""
        self._jobs.take(job)
        if not job.held:
            self._slots.take_again(job)
        self._breakers.draining = self._breakers.draining or _needs_poll(job)

    async def _recover(self, folder: HotFolder) -> int | None:
        """How many files of this folder were returned; None where it is away or could not be compared."""
        try:
            return (await self._compare(folder)).returned
        except FolderAway as error:
            self._breakers.inbox(folder.inbox).away(error)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - one folder must not keep the start of the others back
            # Its inbox is compared again before a file of it is claimed.
            self._emit(BugFound(f"the work folder of {printable(folder.inbox)}", error))
        return None

    async def look_after(self, folder: HotFolder) -> bool:
        """Compare the work folder of an inbox that is there (again) with the jobs; whether all could be put right.

        Raises FolderAway.
        """
        compared = await self._compare(folder)
        if compared.returned:
            self._emit(Recovered(len(self._jobs), compared.returned))
        return not compared.stuck

    async def _compare(self, folder: HotFolder) -> _Compared:
        """Return the files in the work folder that no open job owns: their claim was not stored, or they were away."""
        returned, stuck = 0, 0
        for job_id in await self._folders.strays(folder.inbox):
            if self._jobs.get(job_id) is not None:
                continue
            try:
                returned += await self._clear(folder, job_id)
            except (FolderAway, StaleJob, RowRefused) as error:
                # A directory that has just gone belonged to a job that has just ended.
                if job_id in await self._folders.strays(folder.inbox):
                    stuck += 1
                    self._tell_stuck(folder, job_id, str(error))
            except DatabaseAway:
                raise
            except Exception as error:  # noqa: BLE001 - one odd directory must not keep a folder, or the start, back
                stuck += 1
                if self._tell_stuck(folder, job_id, repr(error)):
                    self._emit(BugFound(f"the work directory {job_id} of {printable(folder.inbox)}", error))
            else:
                self._stuck.pop((folder.inbox, job_id), None)
        return _Compared(returned, stuck)

    def _tell_stuck(self, folder: HotFolder, job_id: str, why: str) -> bool:
        """Announce once for each reason that a directory cannot be cleared; whether the reason is new."""
        if self._stuck.get((folder.inbox, job_id)) == why:
            return False
        self._stuck[folder.inbox, job_id] = why
        self._emit(StrayStuck(folder.inbox, job_id, why))
        return True

    async def _heed_record(self, job: Job) -> None:
        """Compare a job with its record, as a restored database may miss a payment. Its step repeats a failed try."""
        try:
            await self._records.says_more(job)
        except FolderAway as error:
            self._breakers.inbox(job.folder.inbox).away(error)

    async def _clear(self, folder: HotFolder, job_id: str) -> int:
        known = await self._jobs.known(job_id)
        if known is None:
            return await self._adopt(folder, job_id)
        if not known.closed:
            return 0  # somebody else's
        if known.state is JobState.RETURNED:
            # Nothing was paid for it, for any reason that the record exists: the file counts as new.
            return await self._folders.return_stray(folder.inbox, job_id)
        await self._put_to_rest(known)
        return 0

    async def _adopt(self, folder: HotFolder, job_id: str) -> int:
        job = await self._folders.read_record(folder.inbox, job_id)
        if job is None:
            return await self._folders.return_stray(folder.inbox, job_id)
        # People may write there: only those facts of the record are used that cannot lead elsewhere.
        job = job.with_(folder=FolderSnapshot.of(folder), target=None, archived_to=None, link="")
        downloaded = await self._folders.identity(self._spool.path(job_id)) is not None
        state = JobState.RENDERED if downloaded else JobState.UNKNOWN
        await self._jobs.adopt(
            job, state, "the job database does not know this job: it is found out whether it was paid"
        )
        return 0

    async def _put_to_rest(self, job: Job) -> None:
        """Archive the original of a job that ended while its inbox was away, now that the inbox is back."""
        folder = job.folder
        if await self._folders.identity(job.work_file) is None:
            await self._folders.tidy(job)
            return
        if job.state is JobState.DONE and folder.originals is Originals.DELETE:
            await self._jobs.amend(job, archived_to=job.work_file, note="")
            await self._folders.discard(job)
        else:
            directory = folder.done if job.state is JobState.DONE else folder.error
            archived_to = await self._folders.free_name(directory, job.relative, frozenset())
            if job.state is JobState.FAILED:
                await self._folders.write_sidecar(job, archived_to)
            if await self._folders.archive(job, archived_to):
                await self._jobs.amend(job, archived_to=archived_to, note="")
        await self._folders.tidy(job)


def _needs_poll(job: Job) -> bool:
    """Whether a notification of the job may exist that an earlier run, or another host, has not read."""
    return not job.held and job.state in {JobState.SUBMITTING, *AWAITING_RESULT}
