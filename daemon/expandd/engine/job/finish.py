"""Makes the result of the original and of the API's image: local, free of charge, as often as it takes."""

from __future__ import annotations

from collections import Counter

from expandd.domain.errors import DecoderAway, FileFault, Later, ReaderDied
from expandd.domain.finishing import Finishing, in_proportion
from expandd.domain.job import Job, Result
from expandd.engine.flow.scheduler import NOW, NextActivation
from expandd.engine.job.download import fetch_again
from expandd.engine.job.work_folder import WorkFolders
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Folders, Images, Spool

TRIES = 3
"""Failures to finish one image, after which the API's own bytes are delivered."""

PATIENCE = 20
"""Tries in a row that a disk interrupted, some 15 minutes long, after which the API's own bytes are delivered."""


class Finisher:
    """Finishes downloaded images. The API's bytes stay in the spool, so nothing here can lose what was paid for."""

    def __init__(self, *, jobs: Jobs, folders: Folders, images: Images, spool: Spool, work: WorkFolders) -> None:
        self._jobs = jobs
        self._folders = folders
        self._images = images
        self._spool = spool
        self._work = work
        self._failures: Counter[str] = Counter()
        self._waits: Counter[str] = Counter()

    def wants(self, job: Job) -> bool:
        """Whether the job's image is still to be finished."""
        return job.finished is None and not job.finish_failed and job.finishing is not None

    async def finish(self, job: Job) -> NextActivation:
        """Write the finished image into the spool. Raises DecoderAway, FolderAway and, until TRIES are over, Later."""
        plan, made = job.finishing, job.result
        assert plan is not None, "only what wants to be finished is"
        assert made is not None, "only what was downloaded is finished"
        if plan.canvas and not in_proportion(made.size, plan):
            asked = plan.asked.applied_to(plan.sent)
            return await self._give_up(job, f"the API made {made.size} px, where {asked} px were asked for")
        identity = await self._folders.identity(job.work_file)
        if identity is None:
            await self._work.prove_not_elsewhere(job)
            return await self._give_up(job, "the original is no longer in the work folder")
        if not identity.is_same(job.source.identity):
            return await self._give_up(job, "the original was exchanged for another file")
        if await self._folders.identity(self._spool.path(job.id)) is None:
            # The bytes are in the spool of another host, which has died.
            await fetch_again(self._jobs, self._spool, job, "the spool does not hold the result any more")
            return NOW
        await self._spool.prove(job.room)
        try:
            return await self._tried(job, plan, made)
        except DecoderAway:
            raise
        except FileFault as error:
            return await self._again(job, self._failures, TRIES, error.fault.message)
        except ReaderDied as error:
            return await self._again(job, self._failures, TRIES, str(error))
        except Later as error:
            return await self._again(job, self._waits, PATIENCE, str(error))

    async def _tried(self, job: Job, plan: Finishing, made: Result) -> NextActivation:
        target = self._spool.finished(job.id)
        if not await self._images.finish(job.work_file, self._spool.path(job.id), target, plan):
            self._forget(job)
            await self._jobs.note(job, finished=made)
            return NOW
        identity = await self._folders.identity(target)
        if identity is None:
            raise Later("nothing was left behind")
        finished = Result(
            sha256=await self._folders.digest(target),
            bytes=identity.size,
            format=plan.format if plan.canvas else made.format,
            size=plan.size if plan.canvas else made.size,
            expected=made.expected,
        )
        self._forget(job)
        await self._jobs.note(job, finished=finished)
        return NOW

    async def _again(self, job: Job, tries: Counter[str], most: int, why: str) -> NextActivation:
        tries[job.id] += 1
        if tries[job.id] >= most:
            return await self._give_up(job, why)
        raise Later(f"the result could not be finished yet: {why}")

    async def _give_up(self, job: Job, why: str) -> NextActivation:
        self._forget(job)
        await self._jobs.deliver_as_made(job, why)
        return NOW

    def _forget(self, job: Job) -> None:
        del self._failures[job.id], self._waits[job.id]
