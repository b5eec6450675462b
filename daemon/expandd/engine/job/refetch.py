"""What becomes of a job whose paid bytes the spool lacks: they are fetched again, free of charge."""

from __future__ import annotations

from expandd.domain.job import Job, JobState
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Spool


async def fetch_again(jobs: Jobs, spool: Spool, job: Job, why: str) -> None:
    """Go back to before the download. The name that was chosen for the result stays the job's.

    A host that froze may have been about to publish the same result under it, and thaw at any time. Raises AccountAway
    where the whole spool is away: then nothing is known of the bytes.
    """
    await spool.prove(0)
    await spool.drop(job.id)
    # The bytes of a duplicate cannot be fetched again: what is settled by it begins anew.
    again = {"reused_from": "", "result": None} if job.reused_from else {}
    to = JobState.CLAIMED if job.reused_from else JobState.RENDERED
    await jobs.move(job, to, finished=None, finish_failed="", note=why, **again)
