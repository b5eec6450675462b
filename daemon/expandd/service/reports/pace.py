"""The pace: how fast images are done, and when all that goes on is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from expandd.domain.job import Job, JobState

MOST_PACE = 50
"""Images done last that tell how long one is in progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Images done in the last hour, and the seconds until all that goes on is done at the pace of those done last.

    None when nothing was done yet, or nothing goes on. `stalled` images do not: something holds them up.
    """

    per_hour: float
    seconds_left: float | None
    seconds_each: float | None = None
    """How long an image was in progress of late."""
    stalled: int = 0


def pace_of(done: Sequence[Job], lately: int, left: int, goes_on: int, workers: int) -> Pace:
    """The pace; `done` are the images done last, `lately` is how many were in the last hour."""
    each = seconds_each(done)
    return Pace(
        per_hour=float(lately),
        seconds_each=each,
        seconds_left=each * goes_on / workers if each is not None and goes_on else None,
        stalled=max(0, left - goes_on),
    )


def seconds_each(done: Sequence[Job]) -> float | None:
    """How long an image has its slot, from the paid call until its result is seen; None when no image tells.

    As many as there are workers have one together, so a backlog of n takes n/workers times this. An outage says
    nothing about the next ones: what had to be tried again counts only where all had to, and the median leaves out the
    few that only waited.
    """
    fair = [job for job in done if not job.tries] or done
    spans = [
        end - start
        for job in fair
        if not job.reused_from
        and (start := job.entered(JobState.SUBMITTING)) is not None
        and (end := job.entered(JobState.RENDERED)) is not None
        and end >= start
    ]
    return statistics.median(spans) if spans else None
