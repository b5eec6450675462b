"""The one poller of the account: all jobs share its calls, and each notification finds its job."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from expandd.domain.api_types import Announcement, Notification
from expandd.domain.errors import AccountAway, DatabaseAway, Fault, FaultCode, Later, StaleJob
from expandd.domain.events import NotificationsRead
from expandd.domain.job import AWAITING_RESULT, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.poll_forecast import PollForecast, borne_out
from expandd.domain.spending import Outcome, known
from expandd.engine.flow.account import Probe
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.error_matching import ErrorMatching
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Api, Clock, Emit, JobStore, Randomness

GROWTH = 1.5
SHRINK = 0.9
MOST = 20.0
"""Intervals by which a poll is delayed at most."""

WIDE = 2.0
"""The delay of a poll is random, up to so many times the mean: two daemons must not collide again and again."""


class PollSlowdown:
    """A delay that grows with each refused poll and shrinks slowly with each accepted one."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._mean = 0.0

    def failed(self) -> None:
        self._mean = min(MOST / WIDE, max(1.0, self._mean * GROWTH))

    def passed(self) -> None:
        self._mean = self._mean * SHRINK if self._mean > 1 / GROWTH else 0.0

    def more(self, interval: float) -> float:
        """Seconds to wait before the next poll in addition to the interval."""
        return interval * self._mean * WIDE * self._randomness.fraction()


ALLOWANCE = 600.0
"""Seconds that one poll may take, with a slow API, a login before it and the writes after it."""


_NOT_MADE = Outcome.NOT_MADE


class Waker(Protocol):
    """What the poller calls when a job has something to do."""

    def wake(self, job_id: str, seconds: float = 0.0) -> None: ...


class Poller:
    """At most one notification call per interval, counted from the end of one to the start of the next.

    A call waits longer where the expected ends say that no result can be there yet, or that more would be there soon.
    A result that /history gave away has a notification all the same: one more poll is owed, to find and delete it.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        store: JobStore,
        breakers: CircuitBreakers,
        api: Api,
        clock: Clock,
        emit: Emit,
        waker: Waker,
        error_matching: ErrorMatching,
        probing: Probe,
        randomness: Randomness,
        interval: float,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._breakers = breakers
        self._api = api
        self._clock = clock
        self._emit = emit
        self._waker = waker
        self.interval = interval
        self._error_matching = error_matching
        self._probing = probing
        self._slowness = PollSlowdown(randomness)
        self._foreign: frozenset[str] = frozenset()
        self._owes_poll = False
        self._aim = PollForecast()
        self._polled_at = clock.wall()
        self.needed = asyncio.Event()
        self.heartbeat = Heartbeat(ALLOWANCE + 2 * interval, self.needed)

    def watch(self, job: Job) -> None:
        """Note that a job has moved: it may wait for a result, or for the notification of one."""
        unannounced = job.state is JobState.RENDERED and not job.notifications
        self._owes_poll = self._owes_poll or unannounced
        if unannounced or job.state in AWAITING_RESULT:
            self.needed.set()

    async def run(self) -> None:
        """Until cancelled. Silent while no job waits for a result."""
        # An earlier run may have polled a moment ago.
        await self._clock.sleep(self.interval)
        while True:
            self.heartbeat()
            if all(job.held for job in self._jobs.in_state(JobState.SUBMITTING, *AWAITING_RESULT)):
                self._breakers.draining = False
            # One poll is due at the start, even if the only job that may be paid for is on a disk that hangs.
            if not (self._waiting() or self._owes_poll or self._breakers.draining):
                self.needed.clear()
                await self._clock.wait(self.needed, None)
                continue
            await self._clock.sleep(self._pause())
            await self._poll_once()
            self.heartbeat.allowance = ALLOWANCE + 2 * self.interval
            await self._clock.sleep(self.interval + self._slowness.more(self.interval))

    def _pause(self) -> float:
        """Seconds by which to delay a poll that is allowed now."""
        if self._breakers.draining or self._owes_poll or self._error_matching.searching:
            return 0.0
        now = self._clock.wall()
        accepted = (job.entered(JobState.ACCEPTED) for job in self._waiting())
        # Where the answer to the paid call was lost, a result may be there at any time.
        return self._aim.pause([math.inf if at is None else now - at for at in accepted], self.interval)

    async def _poll_once(self) -> None:
        seconds = self._breakers.enter(self._breakers.service)
        if seconds:
            # Another call may open the breaker early: check again at the usual pace.
            return
        asked = self._error_matching.next_question(job.image_id for job in self._waiting())
        began = self._clock.wall()
        try:
            answer = await self._breakers.through(self._api.notifications(asked))
        except AccountAway as error:
            await self._refused(error)
            return
        except Later:
            return
        self._slowness.passed()
        if not asked:
            self._breakers.draining = False
            self._owes_poll = False
        try:
            await self._sort(answer, asked)
        except DatabaseAway:
            return  # what could not be written down is there again at the next poll
        if not asked:
            self._polled_at = began

    async def _refused(self, error: AccountAway) -> None:
        if error.reason is PauseReason.RATE_LIMITED and error.retry_after is None:
            # The limit concerns polls alone, since others poll the same account; other calls go on.
            self._slowness.failed()
        elif error.reason is not PauseReason.API_UNREACHABLE or not await self._probing.serves():
            self._breakers.account_failed(error)
        else:
            self._slowness.failed()

    def _waiting(self) -> tuple[Job, ...]:
        # A held job's notification has long expired; /history is asked about it now and then.
        return tuple(job for job in self._jobs.in_state(*AWAITING_RESULT) if not job.held)

    async def _sort(self, answer: Sequence[Notification], asked: str) -> None:
        by_image = {job.image_id: job for job in self._jobs if job.image_id}
        by_task = {job.task_id: job for job in self._jobs if job.task_id}
        settled = frozenset(number for job in self._jobs for number in job.notifications)
        blamed = self._error_matching.read(answer, asked, settled=settled, now=self._clock.monotonic())
        ours: dict[str, list[Notification]] = {}
        strangers: list[tuple[Notification, str]] = []
        # Results first: a job that has both a result and an error was paid for, and the result counts.
        for item in sorted(answer, key=lambda item: item.kind is not Announcement.RESULT):
            image_id = item.image_id or (blamed.get(item.id, "") if item.id is not None else "")
            job = by_image.get(image_id) or by_task.get(item.task_id)
            if job is not None:
                ours.setdefault(job.id, []).append(item)
            elif image_id:
                strangers.append((item, image_id))
        await self._take_all(ours)
        late = [await self._late_duplicate(item, image_id) for item, image_id in strangers]
        self._foreign = frozenset(image_id for _, image_id in strangers)
        known_here = sum(map(len, ours.values())) + sum(late)
        self._emit(NotificationsRead(len(answer), known_here, len(answer) - known_here, bool(asked)))

    async def _take_all(self, told: Mapping[str, Sequence[Notification]]) -> None:
        """Apply the notifications of each job; all jobs at once, so that their results are committed together."""
        outcomes = await asyncio.gather(*(self._take_each(*one) for one in told.items()), return_exceptions=True)
        for failure in outcomes:
            if failure is not None:
                raise failure

    async def _take_each(self, job_id: str, items: Sequence[Notification]) -> None:
        for item in items:
            await self._take(job_id, item)

    async def _take(self, job_id: str, item: Notification) -> None:
        current = self._jobs.get(job_id)
        if current is None:
            return
        try:
            if not _may_be_of(current, item):
                await self._remember(current, item)
            elif item.kind is Announcement.ERROR:
                await self._fail(current, item)
                self._waker.wake(job_id)
            elif item.kind is Announcement.RESULT and item.link:
                numbers = _with(current, item)
                self._learn(current, item)
                await self._jobs.move(current, JobState.RENDERED, link=item.link, notifications=numbers, held=False)
                self._waker.wake(job_id)
        except StaleJob:
            return  # its own step was faster; the notification is there again at the next poll

    def _learn(self, job: Job, item: Notification) -> None:
        accepted = job.entered(JobState.ACCEPTED)
        if accepted is None or item.at is None:
            return
        seconds = item.at - accepted
        # Where the API's clock is not usable there is no forecast: each interval has its poll.
        if borne_out(seconds, missing=self._polled_at - accepted, there=self._clock.wall() - accepted):
            self._aim = self._aim.learnt(seconds)

    async def _remember(self, job: Job, item: Notification) -> None:
        """Take a further notification of a job with a result: it is deleted together with the first."""
        if _unfetched(job, item):
            return
        if item.id is not None and item.id not in job.notifications and job.state is not JobState.SUBMITTING:
            await self._jobs.note(job, notifications=_with(job, item))

    async def _fail(self, job: Job, item: Notification) -> None:
        fault = Fault(
            FaultCode.FAILED_AT_API,
            f"The API tried to expand this image and reported an error: {item.message or 'no reason given'}",
            "Look at the image; to try once more, move it back into the inbox. A new try may cost a credit.",
        )
        # An error notification proves that the API took the call, even if it had shown nothing of it before.
        taken = known(job.payments, Outcome.TAKEN, self._clock.wall())
        changes = {"fault": fault, "notifications": _with(job, item), "held": False, "payments": taken}
        await self._jobs.move(job, JobState.FAILED, **changes)

    async def _late_duplicate(self, item: Notification, image_id: str) -> bool:
        """Delete a further notification of a job of ours that is over. Others' notifications are never touched."""
        if image_id in self._foreign or item.id is None:
            return False
        job = await self._store.by_image_id(image_id)
        if job is None or not job.closed or job.state not in {JobState.DONE, JobState.FAILED} or _unfetched(job, item):
            return False
        if item.id in job.notifications:
            # The job deleted it before it was closed: this answer is older.
            return True
        try:
            await self._breakers.through(self._api.delete_notification(item.id))
        except AccountAway as error:
            self._breakers.account_failed(error)
        except Later:
            pass  # it expires by itself
        return True


def _may_be_of(job: Job, item: Notification) -> bool:
    """Whether the notification can be the answer to a paid call of the job.

    Also after the API had shown nothing of it, as long as it is not paid for again: then it was made all the same.
    """
    shown_nothing = job.state is JobState.UPLOADED and bool(job.payments) and job.payments[-1].outcome is _NOT_MADE
    return job.state in AWAITING_RESULT or (shown_nothing and bool(item.image_id))


def _unfetched(job: Job, item: Notification) -> bool:
    """Whether this is a result of a job that counts as failed: nobody has downloaded it, so nobody deletes it."""
    return job.state is JobState.FAILED and item.kind is Announcement.RESULT


def _with(job: Job, item: Notification) -> tuple[int, ...]:
    if item.id is None or item.id in job.notifications:
        return job.notifications
    return (*job.notifications, item.id)
