"""Holds back jobs that are looked at again and again without getting anywhere, whoever asks for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from expandd.domain.backoff import JOB
from expandd.domain.job import Job, JobState
from expandd.engine.ports import Clock

FREE = 3
"""Looks in a row that may come to nothing before the next one waits: a name that was taken, a gate that opened."""

FORGET = 600.0
"""Seconds without such a look after which a job begins with a clean slate."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job has come: its state, and how many tries have failed in all."""

    state: JobState
    tries: int


@dataclass(slots=True)
class _Slate:
    seen: set[JobState] = field(default_factory=set)
    idle: int = 0
    last: float = -math.inf
    planned: float = -math.inf


class Restraint:
    """No job is looked at at full speed for long: a state it has not been in before is progress, all else is not.

    Two kinds of looks count: one that asks for the next at once though nothing has come of it, and one that fails
    after it was asked for before its time, as by a gate that opens and shuts. Waiting by plan never counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slates: dict[str, _Slate] = {}

    def begun(self, job_id: str, before: Standing) -> bool:
        """A look begins; whether it comes before the time that the last one planned."""
        slate = self._slates.setdefault(job_id, _Slate())
        slate.seen.add(before.state)
        return self._clock.monotonic() < slate.planned

    def ended(self, job_id: str, after: Standing, seconds: float, *, early: bool, failed: bool) -> float:
        """A look has ended and the next is wanted in `seconds`; the seconds until it may come."""
        now = self._clock.monotonic()
        slate = self._slates.setdefault(job_id, _Slate())
        if now - slate.last >= FORGET:
            slate.idle = 0
        is_news = after.state not in slate.seen
        if is_news:
            slate.seen.add(after.state)
            slate.idle = 0
        elif seconds <= 0 or (failed and early):
            slate.idle, slate.last = slate.idle + 1, now
        elif failed and slate.idle:
            slate.last = now
        seconds = max(seconds, slate.last + self._gap(slate) - now)
        # What a failure has planned stands: a short wait at a gate in between does not make the next look a due one.
        slate.planned = now + seconds if failed or is_news else max(slate.planned, now + seconds)
        return seconds

    def earliest(self, job_id: str, now: Standing | None) -> float:
        """The monotonic second before which nobody may have the job looked at that has come as far as this."""
        slate = self._slates.get(job_id)
        if slate is None or now is None or now.state not in slate.seen:
            return -math.inf
        return slate.last + self._gap(slate)

    def holds_back(self, job_id: str) -> bool:
        """Whether this job has got nowhere so often that it waits for nothing but that."""
        slate = self._slates.get(job_id)
        return slate is not None and slate.idle > FREE

    def forget(self, job_id: str) -> None:
        self._slates.pop(job_id, None)

    def _gap(self, slate: _Slate) -> float:
        # Never a random share of it: this is the bound, and each job's own back-off has its jitter.
        return JOB.wait(slate.idle - FREE, 1.0) if slate.idle > FREE else 0.0


def standing(job: Job | None) -> Standing | None:
    """How far this job has come; None for one that is over."""
    return None if job is None else Standing(job.state, job.tries)
