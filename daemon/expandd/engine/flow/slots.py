"""The slots: how many images are uploaded ahead, generated, downloaded and delivered at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from expandd.domain.job import UNPAID, Job, JobState
from expandd.domain.settings import Settings
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.job.download import Downloader
from expandd.engine.job.failures import FEW, ImageFailures, Step
from expandd.engine.job.reconcile import Reconciler
from expandd.engine.jobs import Jobs


class Slots:
    """At most `most` jobs hold a slot. A job that was refused one is woken when one is free, the oldest first.

    Ids sort by the time of the claim.
    """

    def __init__(self, most: int, wake: Callable[[str], None]) -> None:
        self.most = most
        self._wake = wake
        self._held: set[str] = set()
        self._wanted: set[str] = set()

    @property
    def spare(self) -> int:
        """Slots for new jobs: those that are free and that no earlier job waits for."""
        return max(0, self.most - len(self._held) - len(self._wanted))

    @property
    def full(self) -> bool:
        return len(self._held) >= self.most

    def holds(self, job_id: str) -> bool:
        return job_id in self._held

    def take(self, job_id: str, *, by_force: bool = False) -> bool:
        """Whether the job holds a slot now. By force only for what the API has, or may have, already."""
        if job_id not in self._held:
            older = sum(other < job_id for other in self._wanted)
            if len(self._held) + older >= self.most and not by_force:
                self._wanted.add(job_id)
                return False
            self._held.add(job_id)
        self._wanted.discard(job_id)
        return True

    def want(self, job_id: str) -> None:
        """Have the job woken when `offer` has a slot for it."""
        self._wanted.add(job_id)

    def give(self, job_id: str) -> None:
        """Give back the slot of a job, or its place in the queue for one."""
        self._wanted.discard(job_id)
        if job_id in self._held:
            self._held.discard(job_id)
            self.offer()

    def offer(self) -> None:
        """Wake as many of those that want a slot as are free."""
        for job_id in sorted(self._wanted)[: max(0, self.most - len(self._held))]:
            self._wake(job_id)


GENERATING = frozenset({JobState.SUBMITTING, JobState.ACCEPTED, JobState.UNKNOWN})
"""States of a job that the API works on, or may work on."""

DELIVERING = frozenset({JobState.DOWNLOADED, JobState.DELIVERED})
"""States of a job whose result is in the spool, and that is finished, delivered and archived."""

PATIENCE = 4
"""Tries of one step after which a job that is not paid for gives its slot back between tries."""

MORE_PATIENCE = 16
"""Tries more for each result that cannot be fetched and has given its slot back already."""

MOST_FAILING = 2
"""Slots that images which fail alone may have at once: one that hangs at each try must not take all of them."""

MOST_AHEAD = 8
"""Images that are uploaded ahead by default, where there are more workers."""

MOST_CLAIMS = 16
"""Files that are being claimed at once where several hosts carry the jobs."""

SPOOLED = 8
"""Results that may be in the spool beside two for each worker before nothing more is paid for: a machine that is slower
than the API must not gather ever more of them."""


class AllSlots:
    """The kinds of slots, with one `changed` that is set when any may have been freed.

    `claims` is for jobs whose file is being claimed: they are uploaded `ahead` here, or left to whichever host has
    time. `ahead` is for jobs that are claimed and uploaded, `generating` for those at the API, from the paid call
    until the result is seen, `downloads` and `deliveries` for what comes after: while either is full nothing more is
    paid for.
    """

    def __init__(
        self, settings: Settings, *, wake: Callable[[str], None], changed: asyncio.Event, shared: bool = False
    ) -> None:
        self._changed = changed
        self.ahead = Slots(0, wake)
        # What others may carry on must not wait for this host's own uploads.
        self.claims = Slots(0, wake) if shared else self.ahead
        self.generating = Slots(0, wake)
        self.downloads = Slots(0, wake)
        self.deliveries = Slots(0, wake)
        kinds = (self.claims, self.ahead, self.generating, self.downloads, self.deliveries)
        self._kinds = tuple(dict.fromkeys(kinds))
        self.resize(settings)

    def resize(self, settings: Settings) -> None:
        """Hold as many as the settings say from now on."""
        default = min(settings.workers, MOST_AHEAD)
        self.ahead.most = default if settings.ahead is None else settings.ahead
        if self.claims is not self.ahead:
            self.claims.most = MOST_CLAIMS
        self.generating.most = settings.workers
        # One more than there are workers: with a single one, too, an image is generated while another is downloaded.
        self.downloads.most = settings.workers + 1
        self.deliveries.most = 2 * settings.workers + SPOOLED
        self.freed()

    def take_again(self, job: Job) -> None:
        """Count a job that an earlier run has left at the API, or with a result to download."""
        slots = self.of(job)
        if slots is not None and slots not in {self.claims, self.ahead}:
            slots.take(job.id, by_force=True)

    def may_generate(self, job_id: str) -> bool:
        """Whether the job holds a slot for its paid call now."""
        if self._backed_up:
            self.generating.want(job_id)
            return False
        return self.generating.take(job_id)

    def moved(self, job: Job) -> None:
        """Free the slot that a job needs no more by its new state, so that another is uploaded or paid for."""
        if job.state is JobState.SUBMITTING:
            self.ahead.give(job.id)
            self._changed.set()
        elif job.state in {JobState.RENDERED, JobState.DOWNLOADED}:
            needed = self.downloads if job.state is JobState.RENDERED else self.deliveries
            needed.take(job.id, by_force=True)
            self.give(job.id, but=needed)

    def give(self, job_id: str, *, but: Slots | None = None) -> None:
        """Give back all slots of a job, except `but`."""
        for slots in self._kinds:
            if slots is not but:
                slots.give(job_id)
        self.freed()

    def freed(self) -> None:
        """Wake the jobs that wait for a slot."""
        self.ahead.offer()
        if self.claims is not self.ahead:
            self.claims.offer()
        if not self._backed_up:
            self.generating.offer()
        self._changed.set()

    def of(self, job: Job) -> Slots | None:
        """The kind of slot that a job needs, if any."""
        state = job.state
        if state in UNPAID:
            return self.claims if job.state is JobState.CLAIMED and not job.epoch else self.ahead
        if state in GENERATING:
            return self.generating
        if state in DELIVERING:
            return self.deliveries
        return self.downloads if state is JobState.RENDERED else None

    @property
    def _backed_up(self) -> bool:
        return self.downloads.full or self.deliveries.full


class SlotKeeping:
    """Takes and gives back the slots of jobs, between one activation and the next."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        slots: AllSlots,
        breakers: CircuitBreakers,
        reconciler: Reconciler,
        downloader: Downloader,
        image_failures: ImageFailures,
    ) -> None:
        self._jobs = jobs
        self._slots = slots
        self._breakers = breakers
        self._reconciler = reconciler
        self._downloader = downloader
        self._image_failures = image_failures

    def has_slot(self, job: Job) -> bool:
        """Whether the job may go on: it needs no slot, or holds one now."""
        slots = self._slots
        if job.fault is not None:
            return True
        match job.state:
            case JobState.CLAIMED:
                needed = slots.ahead if job.epoch else slots.claims
                return not self._too_many_failing(job, needed) and needed.take(job.id)
            case JobState.UPLOADED:
                granted = not self._too_many_failing(job, slots.generating) and slots.may_generate(job.id)
                # One that fails alone waits for its next try without keeping others from being uploaded.
                if not granted and not job.strikes:
                    slots.ahead.take(job.id, by_force=True)
                return granted
            case _:
                kind = slots.of(job)
                return kind is None or kind.take(job.id, by_force=True)

    def give(self, job_id: str) -> None:
        """Give back all slots of a job."""
        self._slots.give(job_id)

    def settle(self, job_id: str) -> None:
        """Give back the slots that the job does not need, or not while it only waits."""
        job = self._jobs.get(job_id)
        if job is None or job.held or job.fault is not None or self._parked(job):
            self._slots.give(job_id)
        else:
            self._slots.give(job_id, but=self._slots.of(job))

    def _too_many_failing(self, job: Job, slots: Slots) -> bool:
        if not job.strikes or slots.holds(job.id):
            return False
        most = max(1, min(MOST_FAILING, slots.most // 2))
        others = self._jobs.in_state(*UNPAID, JobState.SUBMITTING)
        return sum(other.strikes > 0 and slots.holds(other.id) for other in others) >= most

    def _parked(self, job: Job) -> bool:
        match job.state:
            case JobState.ACCEPTED:
                return self._reconciler.is_overdue(job)
            case JobState.CLAIMED | JobState.UPLOADED:
                # While its own folder cannot take a result, others are uploaded in its place.
                away = self._breakers.storage(job.folder.inbox).shut is not None
                return away or job.strikes > 0 or job.attempts >= PATIENCE
            case JobState.UNKNOWN:
                return self._reconciler.is_overdue(job) or self._fails_alone(job) or self._gives_way(job)
            case JobState.RENDERED:
                return job.attempts >= PATIENCE and (
                    self._downloader.fails_alone(job.id) or job.attempts >= PATIENCE + MORE_PATIENCE * self._bets(job)
                )
            case JobState.DOWNLOADED | JobState.DELIVERED:
                # A job whose own folder cannot take its result must not hold up others.
                return job.attempts > 0
            case _:
                return False

    def _fails_alone(self, job: Job) -> bool:
        """Whether the answer was lost by the image's own fault; where all are lost, few others may be tried."""
        if not job.strikes:
            return False
        return self._image_failures.others_passed(job, Step.GENERATE) or self._slotless(job) < FEW

    def _gives_way(self, job: Job) -> bool:
        """Whether a lost answer, of which the API shows nothing, lets another image have its slot.

        Otherwise a process that dies while it makes as many paid calls as there are workers would stop all payments for
        `unknown_wait`. No more than there are slots, since the API may have heard each of them.
        """
        return self._reconciler.is_quiet(job) and self._slotless(job) < self._slots.generating.most

    def _bets(self, job: Job) -> int:
        # While no result can be fetched at all, slots stay taken, and ever more rarely one image more is paid for: were
        # it none, results that can never be fetched would stop everything for good.
        return 1 + self._slotless(job)

    def _slotless(self, job: Job) -> int:
        slots = self._slots.of(job)
        others = (other for other in self._jobs.in_state(job.state) if other.id != job.id and not other.held)
        return sum(slots is not None and not slots.holds(other.id) for other in others)
