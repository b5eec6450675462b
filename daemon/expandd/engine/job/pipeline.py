"""Advances one job: each activation does the next step that is possible now and returns when the next is due."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path

from expandd.domain.backoff import JOB
from expandd.domain.errors import AccountAway, DecoderAway, FileFault, FolderAway, Later
from expandd.domain.job import UNPAID, Job, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.control.holds import LOOK
from expandd.engine.flow.account import Probe
from expandd.engine.flow.admission import Admission
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.scheduler import FAILING_WAIT, NOW, OVER, SLOT_WAIT, NextActivation
from expandd.engine.flow.slots import SlotKeeping
from expandd.engine.job.deliver import Delivery
from expandd.engine.job.download import Downloader
from expandd.engine.job.failures import FaultScope, words
from expandd.engine.job.finish import Finisher
from expandd.engine.job.reconcile import Reconciler
from expandd.engine.job.submit import Submitter
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Randomness

UPLOADS, PAYMENTS, DOWNLOADS, DELIVERIES, FINISHES = 4, 8, 4, 2, 2
"""Limits the steps at once that cost bandwidth, memory or processor time."""


class _Shares:
    """Limits the steps at once for each disk, so that a disk that hangs does not hold up others."""

    def __init__(self, most: int, disk_of: Callable[[Job], Hashable]) -> None:
        self._disk_of = disk_of
        self._bounds: defaultdict[Hashable, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(most))

    def of(self, job: Job) -> asyncio.Semaphore:
        return self._bounds[self._disk_of(job)]


_Step = tuple[_Shares | None, Callable[[Job], Awaitable[NextActivation]]]


def _only(job: Job) -> Hashable:
    """The disk of the spool, for the results of all folders."""
    del job
    return None


def _reads(mount_of: Callable[[Path], Hashable]) -> Callable[[Job], Hashable]:
    return lambda job: mount_of(job.folder.inbox)


def _moves(mount_of: Callable[[Path], Hashable]) -> Callable[[Job], Hashable]:
    def moves(job: Job) -> Hashable:
        return tuple(map(mount_of, (job.folder.inbox, job.folder.outbox, job.folder.done)))

    return moves


class Pipeline:
    """Advances jobs; the scheduler decides when."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        slots: SlotKeeping,
        probing: Probe,
        breakers: CircuitBreakers,
        randomness: Randomness,
        admission: Admission,
        submitter: Submitter,
        reconciler: Reconciler,
        downloader: Downloader,
        finisher: Finisher,
        delivery: Delivery,
        fault_scope: FaultScope,
        mount_of: Callable[[Path], Hashable],
    ) -> None:
        self._jobs = jobs
        self._slots = slots
        self._probing = probing
        self._breakers = breakers
        self._reconciler = reconciler
        self._downloader = downloader
        self._finisher = finisher
        self._randomness = randomness
        self._admission = admission
        self._fault_scope = fault_scope
        sends, fetches = _Shares(UPLOADS, _reads(mount_of)), _Shares(DOWNLOADS, _only)
        # Apart from the uploads: a job with a slot must not wait for a slow line.
        pays = _Shares(PAYMENTS, _reads(mount_of))
        delivers = _Shares(DELIVERIES, _moves(mount_of))
        self._finish: _Step = (_Shares(FINISHES, _reads(mount_of)), finisher.finish)
        self._steps: dict[JobState, _Step] = {
            JobState.CLAIMED: (sends, submitter.upload),
            JobState.UPLOADED: (pays, submitter.pay),
            JobState.SUBMITTING: (None, submitter.mark_unknown),
            JobState.ACCEPTED: (None, reconciler.await_result),
            JobState.UNKNOWN: (None, reconciler.resolve_unknown),
            JobState.RENDERED: (fetches, downloader.fetch),
            JobState.DOWNLOADED: (delivers, delivery.deliver),
            JobState.DELIVERED: (delivers, delivery.archive),
            JobState.DONE: (None, delivery.close),
            JobState.FAILED: (delivers, delivery.reject),
            JobState.RETURNED: (delivers, delivery.return_file),
        }

    async def advance(self, job_id: str) -> NextActivation:
        """The next step of the job; returns the seconds until the next activation, or None when it is over."""
        job = self._jobs.get(job_id)
        if job is None:
            self._slots.give(job_id)
            return OVER
        if self._admission.denied(job):
            self._slots.give(job_id)
            return LOOK
        away = self._away(job)
        if away:
            self._slots.give(job_id)
            return away
        if not self._slots.has_slot(job):
            return FAILING_WAIT if job.strikes else SLOT_WAIT
        bound, step = self._step(job)
        if bound is None:
            next_activation = await self._tried(job, step)
        else:
            async with bound.of(job):
                next_activation = await self._tried(job, step)
        self._slots.settle(job_id)
        return next_activation

    def _step(self, job: Job) -> _Step:
        if job.state is JobState.DOWNLOADED and self._finisher.wants(job):
            return self._finish
        return self._steps[job.state]

    async def _tried(self, job: Job, step: Callable[[Job], Awaitable[NextActivation]]) -> NextActivation:
        try:
            next_activation = await step(job)
        except FileFault as error:
            current = self._current(job)
            await self._jobs.move(current, JobState.FAILED, fault=error.fault)
            return NOW
        except DecoderAway:
            # Its circuit breaker keeps the reason and opens by itself: this is no failure of the job.
            return LOOK
        except Later as error:
            return await self._retrying(job, str(error), None)
        except AccountAway as error:
            if not await self._is_about_one(job, error):
                self._breakers.account_failed(error)
            return await self._retrying(job, str(error), error.retry_after)
        except FolderAway as error:
            return await self._retrying(job, await self._blamed(job, error), None)
        self._fault_scope.fine(job, over=next_activation is OVER)
        return next_activation

    async def _is_about_one(self, job: Job, error: AccountAway) -> bool:
        """Whether a call about a paid job failed while the API served, so that it concerns no other job."""
        if job.state in UNPAID or error.reason is not PauseReason.API_UNREACHABLE:
            return False
        return bool(await self._probing.serves())

    async def _blamed(self, job: Job, error: FolderAway) -> str:
        """Shut the folder's circuit breaker unless the file alone is at fault; the message for the job."""
        if await self._fault_scope.is_files(job, error):
            return words(job, error, printable(job.work_dir))
        # A lack of descriptors may affect one job while others pass: the breaker would shut and open with each.
        self._breakers.storage(job.folder.inbox).failed(error.reason, str(error), is_want=error.is_want)
        return str(error)

    async def _retrying(self, job: Job, why: str, retry_after: float | None) -> NextActivation:
        current = self._current(job)
        seconds = JOB.wait(current.attempts + 1, self._randomness.fraction())
        seconds = max(seconds, retry_after or 0.0)
        await self._jobs.retry_later(current, why, seconds)
        return seconds

    def _current(self, job: Job) -> Job:
        return self._jobs.get(job.id) or job

    def _away(self, job: Job) -> float:
        """Seconds that an unpaid job waits without a slot for a folder that is away."""
        if job.state not in UNPAID or job.fault is not None:
            return 0.0
        breaker = self._breakers.storage(job.folder.inbox)
        away = breaker.shut is not None and breaker.shut.reason is PauseReason.INBOX_UNAVAILABLE
        return breaker.wait() if away else 0.0
