"""Delivers: the result into the outbox, the original into done, the notification deleted last."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path

from expandd.domain.errors import AccountAway, Later, NameTaken, SpoolDamaged
from expandd.domain.job import Job, JobState, Result
from expandd.domain.naming import is_numbered, result_name
from expandd.domain.settings import Originals
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.scheduler import NOW, OVER, NextActivation
from expandd.engine.job.deduplicate import Deduplicator
from expandd.engine.job.download import fetch_again
from expandd.engine.job.work_folder import WorkFolders
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Api, Folders, Spool

MOST_DELETES = 10
"""Tries to delete a notification, over some five minutes, after which it is left to expire: it lives 600 s."""

LOST = "the original was no longer in the work folder when it was to be put away: somebody removed it from there"


class Delivery:
    """The steps after the spool: deliver, archive, reject, return, close. All are free of charge."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        breakers: CircuitBreakers,
        api: Api,
        folders: Folders,
        spool: Spool,
        deduplicator: Deduplicator,
        work: WorkFolders,
    ) -> None:
        self._jobs = jobs
        self._breakers = breakers
        self._api = api
        self._folders = folders
        self._spool = spool
        self._deduplicator = deduplicator
        self._work = work
        self._choosing: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def deliver(self, job: Job) -> NextActivation:
        """Put the result into the outbox, never over another file."""
        result = job.final
        assert result is not None, "a downloaded job has its result written down"
        bytes_of = self._spool.path if job.as_made else self._spool.finished
        target = await self._target(job, result)
        if not await self._folders.make_directories(job.folder.outbox, target.relative_to(job.folder.outbox)):
            await self._jobs.note(job, target=None)
            return NOW
        try:
            published = await self._folders.publish(bytes_of(job.id), target, result.sha256)
        except SpoolDamaged as error:
            if not job.as_made:
                # The API's own bytes are in the spool: the result is made of them again.
                await self._jobs.note(job, finished=None, note=str(error))
            else:
                await fetch_again(self._jobs, self._spool, job, str(error))
            return NOW
        if not published:
            await self._jobs.note(job, target=None)
            return NOW
        self._breakers.storage(job.folder.inbox).passed()
        await self._jobs.move(job, JobState.DELIVERED)
        return NOW

    async def archive(self, job: Job) -> NextActivation:
        """Archive the original, then delete the notification, then clear the spool and the work folder.

        Before that the result gets its sidecar, if the folder wants one, so that a done job has it.
        """
        await self._work.prove(job)
        removing = job.folder.originals is Originals.DELETE
        lost = await self._is_lost(job)
        if job.folder.sidecar and job.final is not None and job.target is not None:
            known = job.with_(archived_to=None if lost else job.archived_to or job.work_file)
            await self._folders.write_result_sidecar(known, job.final, job.target)
        if not lost:
            job = await self._appointed(job, None if removing else job.folder.done)
        if removing:
            await self._folders.discard(job)
        elif not await self._rest(job, job.folder.done):
            return NOW
        await self._acknowledge(job)
        await self._deduplicator.paid(job)
        await self._deduplicator.keep(job)
        await self._spool.drop(job.id)
        await self._folders.forget_sidecar(job.folder.error / job.relative)
        await self._let_go(job)
        await self._jobs.finish(await self._told_if_lost(job))
        return OVER

    async def reject(self, job: Job) -> NextActivation:
        """Put the original into the error folder, its reason first."""
        await self._work.prove(job)
        if not await self._is_lost(job):
            job = await self._appointed(job, job.folder.error)
        if not await self._rest(job, job.folder.error):
            return NOW
        await self._acknowledge(job)
        await self._spool.drop(job.id)
        await self._let_go(job)
        return await self.close(await self._told_if_lost(job))

    async def return_file(self, job: Job) -> NextActivation:
        """Give the file back to the inbox, where it is picked up anew once it has settled."""
        await self._work.prove(job)
        await self._folders.give_back(job)
        await self._folders.tidy(job)
        return await self.close(job)

    async def close(self, job: Job) -> NextActivation:
        """Close the job. This is the last step, and the only one left where the process died before it."""
        await self._jobs.close(job)
        return OVER

    async def _let_go(self, job: Job) -> None:
        """Nothing of the job is left in its folders; only now is it proven that they take and give all they must."""
        await self._folders.forget_sidecar(job.folder.inbox / job.relative)
        await self._folders.tidy(job)
        self._breakers.storage(job.folder.inbox).passed()

    async def _told_if_lost(self, job: Job) -> Job:
        if job.archived_to is not None or job.note == LOST:
            return job
        return await self._jobs.lose(job, LOST)

    async def _is_lost(self, job: Job) -> bool:
        """Whether the original was taken out of the work folder before a path was chosen for it."""
        if job.archived_to is not None or await self._folders.identity(job.work_file) is not None:
            return False
        await self._work.prove_not_elsewhere(job)
        return True

    async def _appointed(self, job: Job, directory: Path | None) -> Job:
        """The job with the final path of its original stored: below `directory`, or, to be removed, where it lies.

        Only then may it be missing.
        """
        if job.archived_to is not None:
            if directory is not None and await self._folders.identity(job.archived_to) is None:
                await self._work.prove_not_elsewhere(job)
            return job
        if directory is None:
            return await self._jobs.note(job, archived_to=job.work_file)
        return await self._choose_archive_path(job, directory)

    async def _rest(self, job: Job, directory: Path) -> bool:
        """Whether the original lies at `archived_to` now. False when another file was faster there."""
        archived_to = job.archived_to
        if archived_to is None:
            return True
        if not await self._folders.make_directories(directory, archived_to.relative_to(directory)):
            await self._jobs.note(job, archived_to=None)
            return False
        if job.state is JobState.FAILED:
            await self._folders.write_sidecar(job, archived_to)
        if not await self._folders.archive(job, archived_to):
            await self._jobs.note(job, archived_to=None)
            return False
        return True

    async def _target(self, job: Job, result: Result) -> Path:
        name = result_name(
            job.folder.name,
            job.relative.name,
            extension=result.format.extension,
            size=result.size,
            preset=job.folder.preset_name,
        )
        # A result that was made again may have another format than when its name was chosen.
        if job.target is not None and is_numbered(job.target.name, name):
            return job.target
        chosen = await self._chosen(job, "target", job.folder.outbox, job.relative.with_name(name))
        assert chosen.target is not None, "it has just been chosen"
        return chosen.target

    async def _choose_archive_path(self, job: Job, directory: Path) -> Job:
        return await self._chosen(job, "archived_to", directory, job.relative)

    async def _chosen(self, job: Job, what: str, directory: Path, relative: Path) -> Job:
        """The job with a free path below the directory stored, which no other open job of any host has."""
        # One at a time for each folder: a folder that hangs must not hold up the others.
        async with self._choosing[directory]:
            taken = {path for path in (getattr(other, what) for other in self._jobs) if path is not None}
            while True:
                path = await self._folders.free_name(directory, relative, frozenset(taken))
                try:
                    return await self._jobs.note(job, **{what: path})
                except NameTaken:
                    taken.add(path)

    async def _acknowledge(self, job: Job) -> None:
        """Delete our notifications, last of all. A failure is tried again; in the end they expire by themselves."""
        current = self._jobs.get(job.id) or job
        try:
            for number in current.notifications:
                await self._delete(number)
        except (AccountAway, Later):
            if current.attempts < MOST_DELETES:
                raise

    async def _delete(self, number: int) -> None:
        if self._breakers.enter(self._breakers.service):
            raise Later("the API is away; the notification is deleted later")
        await self._breakers.through(self._api.delete_notification(number))
