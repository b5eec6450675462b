"""What the record beside a file in work says, against what the journal says of the same job."""

from __future__ import annotations

from dataclasses import replace

from expandd.domain.job import Job, JobState, Stamp, moved


def tells_more(record: Job, job: Job) -> bool:
    """Whether the record tells of a paid call that the job does not know."""
    return any(not any(paid.is_same(known) for known in job.payments) for paid in record.payments)


def believing(job: Job, record: Job, now: float) -> Job:
    """`job` as its record tells: paid for, perhaps, under the image id that the record names.

    The file and its folder are those of the job: people may write where the record lies.
    """
    order = tuple(JobState)
    since = tuple(stamp for stamp in record.stamps if order.index(stamp.state) < order.index(JobState.UNKNOWN))
    new = tuple(paid for paid in record.payments if not any(paid.is_same(known) for known in job.payments))
    return moved(
        job,
        JobState.UNKNOWN,
        now,
        note="the record beside the file tells of a paid call that the journal does not know",
        image_id=record.image_id,
        task_id=record.task_id,
        uploads=record.uploads,
        offsets=record.offsets,
        source=replace(record.source, identity=job.source.identity),
        fault=None,
        stamps=(*since, Stamp(JobState.UNKNOWN, now)),
        payments=(*job.payments, *new),
    )
