"""Counts of the open jobs, changed one by one as the jobs change, so that nobody walks all of them to count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from expandd.domain.job import UNPAID, Job

Count = Callable[[Path, float, int], None]
"""Told of an inbox in which so many more images were paid for, at that time (epoch seconds); fewer, where negative."""


class Tally:
    """What the open jobs add up to. Only the one door through which each of them changes may call `change`."""

    def __init__(self) -> None:
        self._unpaid: dict[Path, Counter[Path]] = {}
        self._unpaid_in: Counter[Path] = Counter()
        self._same_bytes: dict[str, dict[str, None]] = {}
        self._followers: list[Count] = []

    def follow(self, count: Count) -> None:
        """Tell `count` of each payment from now on, also of one that turns out not to be one."""
        self._followers.append(count)

    def change(self, before: Job | None, after: Job | None) -> None:
        """A job is `after` what it was `before`; None where it is not known (any more), or is let go of."""
        if before is not None:
            self._count_unpaid(before, -1)
        if after is not None:
            self._count_unpaid(after, 1)
        self._index(before, after)
        if after is not None:
            self._count_payments(before, after)

    def unpaid_in(self, inbox: Path) -> int:
        """How many jobs of this inbox are on their way to being paid for."""
        return self._unpaid_in[inbox]

    def unpaid(self, inbox: Path, relative: Path) -> int:
        """How many of them are of this file."""
        return self._unpaid[inbox][relative] if inbox in self._unpaid else 0

    def inboxes(self) -> Iterator[Path]:
        """Those with jobs on their way to being paid for."""
        return iter(self._unpaid)

    def of_bytes(self, sha256: str) -> tuple[str, ...]:
        """The ids of the open jobs whose source has this digest."""
        return tuple(self._same_bytes.get(sha256, ()))

    def _count_unpaid(self, job: Job, number: int) -> None:
        if job.state not in UNPAID or job.fault is not None:
            return
        inbox = job.place.inbox
        files = self._unpaid.setdefault(inbox, Counter())
        files[job.relative] += number
        self._unpaid_in[inbox] += number
        if not files[job.relative]:
            del files[job.relative]
        if not self._unpaid_in[inbox]:
            del self._unpaid[inbox], self._unpaid_in[inbox]

    def _index(self, before: Job | None, after: Job | None) -> None:
        old, new = (job.source.sha256 if job is not None else "" for job in (before, after))
        if before is not None and old and old != new:
            same = self._same_bytes[old]
            same.pop(before.id, None)
            if not same:
                del self._same_bytes[old]
        if after is not None and new and old != new:
            self._same_bytes.setdefault(new, {})[after.id] = None

    def _count_payments(self, before: Job | None, after: Job) -> None:
        counted = {paid.at for paid in before.payments if paid.counts} if before is not None else set()
        counts = {paid.at for paid in after.payments if paid.counts}
        for at, number in [*((at, 1) for at in counts - counted), *((at, -1) for at in counted - counts)]:
            for count in self._followers:
                count(after.place.inbox, at, number)
