"""The facts: what the job database counts for an overview."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.responsiveness import lying
from expandd.adapters.store.sql.queries import Count, Queries
from expandd.domain.job import JobState
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
    """Ask the database, if there is one."""
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
    there = lying(resting for _, resting in dismissed)
    return Facts(
        now=now,
        day=today.day,
        counts=store.counts(today.day_began),
        done_in_the_last_hour=sum(count.jobs for count in lately if count.state is JobState.DONE and count.closed),
        spent=store.spent(today),
        duplicates=store.duplicates(today.day_began),
        dismissed=Counter(inbox for inbox, resting in dismissed if resting in there),
    )
