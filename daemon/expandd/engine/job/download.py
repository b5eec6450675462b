"""Downloads a result from its link into the spool: whole and checked, or not at all; and again where it is lost."""

from __future__ import annotations

from expandd.domain.api_types import Fetched
from expandd.domain.errors import Later, LinkDead
from expandd.domain.image import Valid
from expandd.domain.job import Job, JobState, Result
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.scheduler import NOW, NextActivation
from expandd.engine.job.reconcile import RESULT_LIFE
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Api, Clock, Folders, Images, Spool

DOUBTS = 2
"""Downloads that were no whole image after which /history is asked for another link."""

MOST_TIMES = 16
"""Times the expected pixels above which a download is not our result, but a bomb or another image."""


MOST_DEAD = 500
"""Tries, a minute apart in the end, before a link that is dead needs a person."""

GONE_WAIT = 3600.0
"""Seconds between tries after that: they cost nothing, and dead links have worked again."""

_GONE = (
    "This image was paid for and expanded, but for a day its link was dead and the API named no other. "
    "It is tried again each hour, free of charge."
)


class Downloader:
    """Downloads are free: they are repeated until the bytes are right, and nothing is ever generated again."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        breakers: CircuitBreakers,
        api: Api,
        folders: Folders,
        images: Images,
        spool: Spool,
        clock: Clock,
    ) -> None:
        self._jobs = jobs
        self._breakers = breakers
        self._api = api
        self._folders = folders
        self._images = images
        self._spool = spool
        self._clock = clock
        self._fetched = 0
        # By job whose download fails: how many others had come by then.
        self._failing: dict[str, int] = {}

    def fails_alone(self, job_id: str) -> bool:
        """Whether other results came while this one failed, so that its link is at fault, not the host of all links."""
        return job_id in self._failing and self._fetched > self._failing[job_id]

    async def fetch(self, job: Job) -> NextActivation:
        """Download, check, spool."""
        await self._spool.prove(job.room)
        try:
            fetched = await self._download(job)
            result = await self._checked(job, fetched)
        except Later as error:
            self._failing.setdefault(job.id, self._fetched)
            if isinstance(error, LinkDead) or job.attempts + 1 >= DOUBTS:
                return await self._another_link(job, dead=isinstance(error, LinkDead))
            raise
        self._fetched += 1
        self._failing.pop(job.id, None)
        await self._spool.admit(job.id)
        await self._jobs.move(job, JobState.DOWNLOADED, result=result, held=False)
        return NOW

    async def _download(self, job: Job) -> Fetched:
        """The bytes, also when an earlier try got as far as the spool but not into the job database."""
        incoming = self._spool.incoming(job.id)
        if await self._folders.identity(self._spool.path(job.id)) is None:
            return await self._api.download(job.link, incoming)
        await self._spool.recall(job.id)
        identity = await self._folders.identity(incoming)
        if identity is None:
            raise Later("the spool has lost what was downloaded; it is downloaded again")
        return Fetched(bytes=identity.size, sha256=await self._folders.digest(incoming))

    async def _checked(self, job: Job, fetched: Fetched) -> Result:
        inspection = await self._images.inspect_result(self._spool.incoming(job.id))
        if not isinstance(inspection, Valid):
            raise Later(f"the downloaded result is no whole image: {inspection.fault.message}")
        expected = job.offsets.applied_to(job.source.size) if job.source.size else inspection.size
        if inspection.size.pixels > MOST_TIMES * expected.pixels:
            raise Later(f"the downloaded result claims {inspection.size} px where {expected} were ordered")
        return Result(
            sha256=fetched.sha256,
            bytes=fetched.bytes,
            format=inspection.format,
            size=inspection.size,
            expected=expected,
        )

    async def _another_link(self, job: Job, *, dead: bool) -> NextActivation:
        seconds = self._breakers.enter(self._breakers.service)
        if seconds:
            return seconds
        history = await self._breakers.through(self._api.history(job.image_id))
        others = [link for link in history.links if link != job.link]
        if others:
            job = await self._jobs.note(job, link=others[0])
        elif dead and self._is_gone(job):
            if not job.held:
                await self._jobs.hold(job, _GONE)
            return GONE_WAIT
        raise Later("the result could not be downloaded yet; it is paid for and will be asked for again")

    def _is_gone(self, job: Job) -> bool:
        """Whether a dead link has been tried for so long that the API holds the result no more.

        Neither a clock that jumps nor a burst of tries says so alone.
        """
        rendered = job.entered(JobState.RENDERED)
        old = rendered is not None and self._clock.wall() - rendered >= RESULT_LIFE
        return old and job.attempts >= MOST_DEAD


async def fetch_again(jobs: Jobs, spool: Spool, job: Job, why: str) -> None:
    """Go back to before the download. The name that was chosen for the result stays the job's.

    A host that froze may have been about to publish the same result under it, and thaw at any time. Raises AccountAway
    where the whole spool is away: then nothing is known of the bytes.
    """
    await spool.prove(0)
    await spool.drop(job.id)
    # The bytes of a duplicate cannot be fetched again: a job that it settled begins anew.
    again = {"reused_from": "", "result": None} if job.reused_from else {}
    to = JobState.CLAIMED if job.reused_from else JobState.RENDERED
    await jobs.move(job, to, finished=None, finish_failed="", note=why, **again)
