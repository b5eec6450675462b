"""The facts of an overview: counts from the job database, pace, and the time until all images are done."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.responsiveness import lying
from expandd.adapters.store.sql.queries import Count, Queries
from expandd.domain.job import Job, JobState
from expandd.domain.spending import Spent, Today

HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the database counts, read once: jobs since midnight, images done within the hour, this month's ledger."""

    now: float
    day: str
    counts: Sequence[Count]
    done_in_the_last_hour: int
    spent: Sequence[Spent]
    duplicates: Counter[Path]
    dismissed: Counter[Path]

    def of(self, inbox: Path) -> Sequence[Count]:
        """The counts of the jobs of one inbox."""
        raw = os.fsencode(inbox)
        return [one for one in self.counts if one.inbox == raw]

    def open_in(self, states: frozenset[JobState], inbox: Path) -> int:
        """How many jobs of an inbox are in these states, and need no person."""
        return sum(one.jobs for one in self.of(inbox) if one.state in states and not one.closed and not one.held)

    def paid(self, inbox: Path | None = None, day: str | None = None) -> int:
        """How many images were paid for, in one inbox or all, on one day or in the month."""
        mine = (spent for spent in self.spent if inbox in {None, spent.inbox} and day in {None, spent.day})
        return sum(spent.images for spent in mine)


def facts_of(store: Queries | None, today: Today, now: float) -> Facts:
    """Read the facts from the job database, if there is one."""
    if store is None:
        nothing: Counter[Path] = Counter()
        return Facts(
            now=now,
            day=today.day,
            counts=(),
            done_in_the_last_hour=0,
            spent=(),
            duplicates=nothing,
            dismissed=nothing,
        )
    lately, dismissed = store.counts(now - HOUR), store.dismissed()
    there = lying(archived_to for _, archived_to in dismissed)
    return Facts(
        now=now,
        day=today.day,
        counts=store.counts(today.day_began),
        done_in_the_last_hour=sum(count.jobs for count in lately if count.state is JobState.DONE and count.closed),
        spent=store.spent(today),
        duplicates=store.duplicates(today.day_began),
        dismissed=Counter(inbox for inbox, archived_to in dismissed if archived_to in there),
    )


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
    spans = [job.generated_within for job in fair if job.generated_within is not None]
    return statistics.median(spans) if spans else None
