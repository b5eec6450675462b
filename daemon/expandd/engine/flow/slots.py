"""The slots: how many images are being generated at once, and which job keeps its slot."""

from __future__ import annotations

import asyncio

from expandd.domain.job import UNPAID, Job, JobState
from expandd.engine.job.download import Downloader
from expandd.engine.job.failures import FEW, ImageFailures, Step
from expandd.engine.job.reconcile import Reconciler
from expandd.engine.jobs import Jobs


class Slots:
    """At most `workers` jobs hold a slot. A job that only waits to be tried again gives its slot back.

    `changed` is set when a slot may have been freed.
    """

    def __init__(self, workers: int, changed: asyncio.Event) -> None:
        self.workers = workers
        self._changed = changed
        self._held: set[str] = set()
        self._wanted: set[str] = set()

    @property
    def spare(self) -> int:
        """Slots for new files: those that are free and that no earlier job waits for."""
        return max(0, self.workers - len(self._held) - len(self._wanted))

    def holds(self, job_id: str) -> bool:
        return job_id in self._held

    def take(self, job_id: str, *, by_force: bool = False) -> bool:
        """Whether the job holds a slot now. By force only for what is in flight already."""
        if job_id not in self._held:
            if len(self._held) >= self.workers and not by_force:
                self._wanted.add(job_id)
                return False
            self._held.add(job_id)
        self._wanted.discard(job_id)
        return True

    def give(self, job_id: str) -> None:
        """The job needs no slot any more, or not for now."""
        self._held.discard(job_id)
        self._wanted.discard(job_id)
        self._changed.set()


HOLDS_SLOT = frozenset(
    {
        JobState.CLAIMED,
        JobState.UPLOADED,
        JobState.SUBMITTING,
        JobState.ACCEPTED,
        JobState.UNKNOWN,
        JobState.RENDERED,
    },
)
"""States of a job that is in flight at the API, or on its way there."""

PATIENCE = 4
"""Tries of one step after which a job that nothing is made for gives its slot back between tries."""

MORE_PATIENCE = 16
"""Tries more for each result that cannot be fetched and has given its slot back already."""

MOST_FAILING = 2
"""Slots that images which fail alone may have at once: one that hangs at each try must not take all of them."""


class SlotKeeping:
    """Takes and gives back the slots of jobs, between one activation and the next."""

    def __init__(
        self, *, jobs: Jobs, slots: Slots, reconciler: Reconciler, downloader: Downloader, image_failures: ImageFailures
    ) -> None:
        self._jobs = jobs
        self._slots = slots
        self._reconciler = reconciler
        self._downloader = downloader
        self._image_failures = image_failures

    def has_slot(self, job: Job) -> bool:
        """Whether the job may go on: it needs no slot, or holds one now."""
        if job.state not in HOLDS_SLOT or job.fault is not None:
            return True
        if job.state not in UNPAID:
            return self._slots.take(job.id, by_force=True)
        if job.strikes and not self._slots.holds(job.id):
            most = max(1, min(MOST_FAILING, self._slots.workers // 2))
            others = sum(other.strikes > 0 and self._slots.holds(other.id) for other in self._jobs.in_state(*UNPAID))
            return others < most and self._slots.take(job.id)
        return self._slots.take(job.id)

    def give(self, job_id: str) -> None:
        """The job needs no slot for now, whatever it is."""
        self._slots.give(job_id)

    def settle(self, job_id: str) -> None:
        """Give the slot back where the job needs none any more, or only waits."""
        job = self._jobs.get(job_id)
        if job is None or job.state not in HOLDS_SLOT or job.held or self._parked(job):
            self._slots.give(job_id)

    def _parked(self, job: Job) -> bool:
        match job.state:
            case JobState.ACCEPTED:
                return self._reconciler.is_overdue(job)
            case JobState.CLAIMED | JobState.UPLOADED:
                return job.strikes > 0 or job.attempts >= PATIENCE
            case JobState.UNKNOWN:
                return self._reconciler.is_overdue(job) or self._fails_alone(job)
            case JobState.RENDERED:
                return job.attempts >= PATIENCE and (
                    self._downloader.fails_alone(job.id) or job.attempts >= PATIENCE + MORE_PATIENCE * self._bets(job)
                )
            case _:
                return False

    def _fails_alone(self, job: Job) -> bool:
        """Whether the lost answer is the image's own fault; where all are lost, only few may be tried meanwhile."""
        if not job.strikes:
            return False
        return self._image_failures.others_passed(job, Step.GENERATE) or self._slotless(job) < FEW

    def _bets(self, job: Job) -> int:
        # While no result can be fetched at all, slots stay taken, and ever more rarely one image more is paid for: were
        # it none, results that can never be fetched would stop everything for good.
        return 1 + self._slotless(job)

    def _slotless(self, job: Job) -> int:
        others = (other for other in self._jobs.in_state(job.state) if other.id != job.id and not other.held)
        return sum(not self._slots.holds(other.id) for other in others)
