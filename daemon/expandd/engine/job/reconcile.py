"""Asks the API for results that no notification announced, and whether an unknown paid call made anything."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from expandd.domain.backoff import QUIET_HISTORY
from expandd.domain.job import AWAITING_RESULT, Job, JobState, StateChange, host_of
from expandd.domain.settings import ApiSettings
from expandd.engine.control.holds import LOOK
from expandd.engine.flow.circuit_breaker import OTHERS_FIRST, CircuitBreakers
from expandd.engine.flow.error_matching import ErrorMatching
from expandd.engine.flow.scheduler import NOW, NextActivation
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Api, Clock, JobStore, Membership

QUIET_POLLS = 20
"""Poll intervals without a notification after which /history is asked for the first time."""

LEAST = 0.125
"""The least seconds of a wait: a shorter one could be lost in rounding."""

RESULT_LIFE = 24 * 3600.0
"""Seconds after which the API holds neither source nor result: only a person can say what became of the job."""


REMEMBERED = 32
"""Results whose time is remembered."""

QUIET = 4
"""Times the usual time of a result after which a lost answer lets another image be generated."""

MOST_PATIENCE = 8
"""Times `unknown_wait` that a lost answer is watched at most, however long earlier results took."""


_MAY_BE_SENT = (
    "The API shows nothing of this image, but host {host}, which was about to pay for it, is not heard of and may "
    "still do so. Start expandd there, or say that it is gone for good: `expandd cluster bury {host}`."
)


@dataclass(frozen=True, slots=True)
class _Wait:
    """One job's wait: its entry into the state it waits in, since when (monotonic), and what there was before.

    `before` is how long it had waited by the wall clock when it was first seen. It may only make us ask sooner.
    `asked` counts the questions, whatever makes the job look again in between. `in_vain` once the API was asked
    after `unknown_wait` and showed no result; `quiet` once it was asked so after QUIET times the usual time. `beside`
    is how many images may have been at the API at once with this one, at most. `behind` is when a job that was accepted
    earlier was last seen unfinished (monotonic), and `queue` how long such a one had waited then, in seconds. `sent_by`
    is when the call was sent at the latest (monotonic); None while the host that was about to send it may still do so.
    """

    entry: StateChange
    since: float
    before: float
    asked: int = 0
    in_vain: bool = False
    quiet: bool = False
    beside: int = 0
    behind: float = -math.inf
    queue: float = 0.0
    sent_by: float | None = None


class Reconciler:
    """Steps of a job that waits for the API, by /history where no notification comes to the poller."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        breakers: CircuitBreakers,
        api: Api,
        clock: Clock,
        error_matching: ErrorMatching,
        settings: ApiSettings,
        workers: int,
        store: JobStore,
        membership: Membership,
    ) -> None:
        self._store = store
        self._membership = membership
        self._jobs = jobs
        self._breakers = breakers
        self._api = api
        self._clock = clock
        self._error_matching = error_matching
        self.settings = settings
        self.workers = workers
        # A restart begins the wait anew, which can only make it longer: the wall clock may have stepped and must not
        # shorten it.
        self._waits: dict[str, _Wait] = {}
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        """How long the last results took, in seconds."""

    def is_overdue(self, job: Job) -> bool:
        """Whether the job has waited so long, and was asked for in vain, that its result was probably lost on the way.

        While the API is away, time alone proves nothing.
        """
        wait = self._wait(job)
        return wait is not None and wait.in_vain

    def is_quiet(self, job: Job) -> bool:
        """Whether the API shows no result of a job after several times the time that results usually take.

        Probably nothing is made, which is reason enough to let another image be generated, and none to pay again.
        """
        wait = self._wait(job)
        return wait is not None and wait.quiet

    async def await_result(self, job: Job) -> NextActivation:
        """An accepted job: its notification may have been lost."""
        waited = self._waited(job)
        due = self._next_question(job)
        if waited < due:
            return max(due - waited, LEAST)
        if waited >= RESULT_LIFE:
            # In one write: an unknown job without a hold could be paid for again, and the API took this one.
            why = "The API took this image and has shown no result for a day."
            await self._jobs.hold(await self._jobs.move(job, JobState.UNKNOWN, held=True), why)
            return NOW
        return await self._ask(job)

    async def resolve_unknown(self, job: Job) -> NextActivation:
        """An unknown job: wait for its notification, and when the time is over let /history decide.

        Not before the notifications of that time have been read, and none of them can be an error of this job.
        """
        waited = self._waited(job)
        self._count_beside(job)
        if job.held and waited >= RESULT_LIFE:
            return RESULT_LIFE
        enough = await self._enough(job, waited)
        over = not job.held and waited >= enough
        if over and await self._nothing_is_ahead(job) and self._nothing_hints_at(job, waited):
            return await self._ask(job, last=True)
        due = self._next_question(job)
        if not (job.held or over):
            due = min(due, enough)
        if waited < due:
            # The next poll may complete the proof, or the next activation find that the sender is dead.
            soonest = self.settings.poll_interval if over else LOOK
            return max(min(due - waited, soonest), LEAST)
        return await self._ask(job)

    def made(self, job: Job) -> None:
        """Note how long the API took for a result: it bounds how long a lost call may take."""
        wait = self._waits.get(job.id)
        if wait is not None:
            self._took.append(self._clock.monotonic() - wait.since)

    def _patience(self, job: Job) -> float:
        """Seconds for which a lost answer is watched: longer than any of the last results has taken.

        The API may make one image after the other. `unknown_wait` is enough for as many as there are workers, so where
        lost answers gave their slots on, and more may have been at the API, the wait is longer in proportion.
        """
        least = self.settings.unknown_wait
        longest = max(least, min(max(self._took, default=0.0), MOST_PATIENCE * least))
        return longest * max(1.0, self._waits[job.id].beside / self.workers)

    def _count_beside(self, job: Job) -> None:
        wait, at_the_api = self._waits[job.id], self._jobs.in_state(JobState.SUBMITTING, *AWAITING_RESULT)
        beside = sum(not other.held for other in at_the_api)
        self._waits[job.id] = replace(wait, beside=max(wait.beside, beside))

    async def _enough(self, job: Job, waited: float) -> float:
        """Seconds of waiting after which nothing that was sent can still be unseen; all of a result's life at most.

        A host that froze may thaw, send its call and die: the wait begins with the proof that it can send no more.
        """
        wait, patience = self._waits[job.id], self._patience(job)
        if wait.sent_by is None and (not job.sender or await self._membership.is_dead(job.sender)):
            # A run that is over at the first check has sent its call before.
            self._waits[job.id] = wait = replace(wait, sent_by=wait.since + waited)
        if wait.sent_by is not None:
            return min(wait.sent_by - wait.since + patience, RESULT_LIFE)
        note = _MAY_BE_SENT.format(host=host_of(job.sender) or job.sender)
        if waited >= patience and not job.held and job.note != note:
            await self._jobs.note(job, note=note)
        return RESULT_LIFE

    async def _nothing_is_ahead(self, job: Job) -> bool:
        """Whether every job that was accepted before this one was sent is finished, and has been for long enough.

        A slow queue looks just like a lost call. What stood behind others in it began only when they were finished, and
        takes no longer than they have.
        """
        wait, now = self._waits[job.id], self._clock.monotonic()
        ahead = [self._waited(other) for other in self._jobs.in_state(JobState.ACCEPTED) if _is_earlier(other, job)]
        elsewhere = await self._store.accepted_elsewhere(job)
        if elsewhere is not None:
            ahead.append(max(0.0, self._clock.wall() - elsewhere))
        if ahead:
            self._waits[job.id] = wait = replace(self._waits[job.id], behind=now, queue=max(wait.queue, *ahead))
        return not ahead and now - wait.behind >= max(self._patience(job), wait.queue)

    def _nothing_hints_at(self, job: Job, waited: float) -> bool:
        """Whether the notifications show nothing that could be this job's, or have not for as long as results live."""
        wait = self._waits[job.id]
        sent_by = wait.since if wait.sent_by is None else wait.sent_by
        over = max(sent_by + self.settings.unknown_wait, wait.behind)
        return waited >= RESULT_LIFE or self._error_matching.clears(job.image_id, over)

    async def _ask(self, job: Job, *, last: bool = False) -> NextActivation:
        seconds = self._breakers.enter(self._breakers.service)
        if seconds:
            return seconds
        history = await self._breakers.through(self._api.history(job.image_id))
        waited, wait = self._waited(job), self._waits[job.id]
        # The wait of an earlier run counts for the slot alone, never for a payment.
        lasted = waited + wait.before
        self._waits[job.id] = wait = replace(wait, in_vain=lasted >= self.settings.unknown_wait, asked=wait.asked + 1)
        if not history.links and job.state is JobState.UNKNOWN:
            done = await self._store.done_last(REMEMBERED)
            took = sorted(other.generated_within for other in done if other.generated_within is not None)
            # The median: an outage makes single results late.
            self._waits[job.id] = replace(wait, quiet=bool(took) and lasted > QUIET * took[(len(took) - 1) // 2])
        if history.links:
            await self._jobs.move(job, JobState.RENDERED, link=history.links[0], held=False)
        elif last and history.known and not job.paid and waited < RESULT_LIFE:
            await self._jobs.move(job, JobState.UPLOADED, note=f"the API has shown that nothing was made; {job.note}")
            # A job that fails alone lets others go first: its next call may be lost too.
            return OTHERS_FIRST if job.strikes else NOW
        elif last:
            await self._jobs.hold(job, "It is unknown whether this image was paid for: the API does not say.")
        else:
            await self._jobs.note(job, attempts=job.attempts + 1)
        return NOW

    def _wait(self, job: Job) -> _Wait | None:
        wait = self._waits.get(job.id)
        return wait if wait is not None and wait.entry == job.state_changes[-1] else None

    def _waited(self, job: Job) -> float:
        now = self._clock.monotonic()
        wait = self._wait(job)
        if wait is None:
            waiting = {other.id for other in self._jobs.in_state(*AWAITING_RESULT)}
            self._waits = {job_id: kept for job_id, kept in self._waits.items() if job_id in waiting}
            before = max(0.0, self._clock.wall() - job.state_changes[-1].at)
            self._waits[job.id] = _Wait(job.state_changes[-1], now, before)
            return 0.0
        return now - wait.since

    def _next_question(self, job: Job) -> float:
        """Seconds after entering the state at which /history is asked the next time: ever more rarely."""
        first = QUIET_POLLS * self.settings.poll_interval
        wait = self._waits[job.id]
        if wait.asked == 0:
            return max(0.0, first - wait.before)
        return first * sum(QUIET_HISTORY.wait(number, 1.0) for number in range(1, wait.asked + 2))


def _is_earlier(accepted: Job, lost: Job) -> bool:
    """Whether the other job was accepted before this one was sent; a held one is no longer waited for."""
    return not accepted.held and (accepted.spent_at or 0.0) <= (lost.spent_at or math.inf)
