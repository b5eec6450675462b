"""Schedules jobs: a heap of due times, one activation per job at a time, and a delay for those that get nowhere."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from expandd.domain.backoff import JOB
from expandd.domain.errors import DatabaseAway, StaleJob
from expandd.domain.events import BugFound
from expandd.domain.job import Job, JobState
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.ports import Clock, Emit, Randomness

NextActivation = float | None
"""Seconds until the next activation, or None when the job is over."""

NOW: NextActivation = 0.0
OVER: NextActivation = None
FAILING_WAIT: NextActivation = 10.0
"""Seconds for a job that fails alone and has no slot: few such jobs have one at once."""
SLOT_WAIT: NextActivation = 5.0
"""Seconds for a job without a slot. It is woken when one is free, before new files are claimed."""


FREE = 3
"""Activations in a row without progress that are not delayed: a name was taken, a breaker opened."""

FORGET = 600.0
"""Seconds without an activation in vain after which the count begins anew."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come: its state, and how many tries have failed in all."""

    state: JobState
    tries: int


@dataclass(slots=True)
class _Activity:
    seen: set[JobState] = field(default_factory=set)
    idle: int = 0
    last: float = -math.inf
    planned: float = -math.inf


class IdleBackoff:
    """Delays the activations of jobs that make no progress, that is, enter no state they have not been in before.

    Two kinds of activations count: one that asks for the next at once though nothing has come of it, and one that fails
    after it was asked for before its time, as by a circuit breaker that opens and shuts. Waiting by plan never counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._activities: dict[str, _Activity] = {}

    def begun(self, job_id: str, before: Progress) -> bool:
        """Note that an activation begins; whether it comes before the time that the last one planned."""
        activity = self._activities.setdefault(job_id, _Activity())
        activity.seen.add(before.state)
        return self._clock.monotonic() < activity.planned

    def ended(self, job_id: str, after: Progress, seconds: float, *, early: bool, failed: bool) -> float:
        """Note that an activation has ended and wants the next in `seconds`; the seconds until that is allowed."""
        now = self._clock.monotonic()
        activity = self._activities.setdefault(job_id, _Activity())
        if now - activity.last >= FORGET:
            activity.idle = 0
        is_news = after.state not in activity.seen
        if is_news:
            activity.seen.add(after.state)
            activity.idle = 0
        elif seconds <= 0 or (failed and early):
            activity.idle, activity.last = activity.idle + 1, now
        elif failed and activity.idle:
            activity.last = now
        seconds = max(seconds, activity.last + self._gap(activity) - now)
        # The time planned after a failure stays: a short wait for a breaker in between does not bring it forward.
        activity.planned = now + seconds if failed or is_news else max(activity.planned, now + seconds)
        return seconds

    def earliest(self, job_id: str, now: Progress | None) -> float:
        """The monotonic time before which a job with this progress may not be activated."""
        activity = self._activities.get(job_id)
        if activity is None or now is None or now.state not in activity.seen:
            return -math.inf
        return activity.last + self._gap(activity)

    def holds_back(self, job_id: str) -> bool:
        """Whether the job only waits because its activations came to nothing."""
        activity = self._activities.get(job_id)
        return activity is not None and activity.idle > FREE

    def forget(self, job_id: str) -> None:
        self._activities.pop(job_id, None)

    def _gap(self, activity: _Activity) -> float:
        # Without jitter: this is a bound, and each job's own back-off has jitter.
        return JOB.wait(activity.idle - FREE, 1.0) if activity.idle > FREE else 0.0


def progress_of(job: Job | None) -> Progress | None:
    """How far this job has come; None for one that is over."""
    return None if job is None else Progress(job.state, job.tries)


def activations(workers: int) -> int:
    """How many jobs are advanced at once: those being generated, and those on their way in or out."""
    return 4 * workers + 8


Advance = Callable[[str], Awaitable[float | None]]
"""One activation of a job: the seconds until its next, or None when it is over."""

ProgressOf = Callable[[str], Progress | None]
"""How far a job has come; None for one that is not known."""

ALLOWANCE = 60.0
"""Seconds within which the scheduler looks for due jobs when it is woken. It never waits for a job."""


class Scheduler:
    """Calls `advance` for each job when it is due. A job that is woken while it is active is activated again.

    One that gets nowhere is activated ever more rarely, however often it is woken; `progress` says how far each has
    come.
    """

    def __init__(
        self,
        advance: Advance,
        clock: Clock,
        randomness: Randomness,
        emit: Emit,
        *,
        at_once: int,
        progress: ProgressOf = lambda _: None,
    ) -> None:
        self._advance = advance
        self._progress = progress
        self._idle_backoff = IdleBackoff(clock)
        self._clock = clock
        self._randomness = randomness
        self._emit = emit
        self.at_once = at_once
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()
        self._again: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._activations: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.heartbeat = Heartbeat(ALLOWANCE, self._changed)
        self.paused = asyncio.Event()
        """Set whenever an activation has ended."""

    @property
    def busy(self) -> int:
        return len(self._busy)

    def due_in(self, job_id: str) -> float | None:
        """Seconds until the next activation of the job; None during one."""
        due = self._due.get(job_id)
        return None if due is None else max(0.0, due - self._clock.monotonic())

    def gets_nowhere(self, job_id: str) -> bool:
        """Whether the activations of this job fail, or come to nothing, again and again."""
        return job_id in self._failures or self._idle_backoff.holds_back(job_id)

    def wake(self, job_id: str, seconds: float = 0.0) -> None:
        """Activate the job in `seconds`, or sooner if that was planned."""
        due = max(self._clock.monotonic() + seconds, self._idle_backoff.earliest(job_id, self._progress(job_id)))
        planned = self._again if job_id in self._busy else self._due
        if due >= planned.get(job_id, float("inf")):
            return
        planned[job_id] = due
        if planned is self._due:
            heapq.heappush(self._heap, (due, job_id))
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled, with all running activations. They go on where this fails and is run again."""
        try:
            while True:
                self.heartbeat()
                self._changed.clear()
                for job_id in self._take_due():
                    task = asyncio.create_task(self._activate(job_id))
                    self._activations.add(task)
                    task.add_done_callback(self._activations.discard)
                await self._clock.wait(self._changed, self._seconds_to_next())
        except asyncio.CancelledError:
            await self._cancel_all()
            raise

    async def _cancel_all(self) -> None:
        for task in self._activations:
            task.cancel()
        if self._activations:
            await asyncio.wait(self._activations)

    def _take_due(self) -> list[str]:
        now = self._clock.monotonic()
        taken: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(self._busy) < self.at_once:
            due, job_id = heapq.heappop(self._heap)
            # A job that was woken earlier than planned leaves its later entry behind in the heap.
            if self._due.get(job_id) == due:
                del self._due[job_id]
                self._busy.add(job_id)
                taken.append(job_id)
        return taken

    def _seconds_to_next(self) -> float | None:
        if not self._heap or len(self._busy) >= self.at_once:
            return None
        return max(0.0, self._heap[0][0] - self._clock.monotonic())

    async def _activate(self, job_id: str) -> None:
        try:
            seconds = await self._restrained(job_id)
        finally:
            self._busy.discard(job_id)
            self._changed.set()
            self.paused.set()
        again = self._again.pop(job_id, None)
        if seconds is None:
            return
        self.wake(job_id, seconds)
        if again is not None:
            self.wake(job_id, max(0.0, again - self._clock.monotonic()))

    async def _restrained(self, job_id: str) -> float | None:
        before = self._progress(job_id)
        if before is None:
            return await self._guarded(job_id)
        early = self._idle_backoff.begun(job_id, before)
        seconds = await self._guarded(job_id)
        after = self._progress(job_id)
        if seconds is None or after is None:
            self._idle_backoff.forget(job_id)
            return seconds
        failed = job_id in self._failures or after.tries > before.tries
        return self._idle_backoff.ended(job_id, after, seconds, early=early, failed=failed)

    async def _guarded(self, job_id: str) -> float | None:
        try:
            seconds = await self._advance(job_id)
        except StaleJob:
            return 0.0
        except DatabaseAway:
            return self._later(job_id)
        except Exception as error:  # noqa: BLE001 - the one place where a bug of ours must not stop the other jobs
            self._emit(BugFound(f"job {job_id}", error))
            return self._later(job_id)
        self._failures.pop(job_id, None)
        return seconds

    def _later(self, job_id: str) -> float:
        self._failures[job_id] = self._failures.get(job_id, 0) + 1
        return JOB.wait(self._failures[job_id], self._randomness.fraction())
