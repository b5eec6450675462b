"""Payments, and the limits on spending: the days and months of budgets, and bursts of files."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from expandd.domain.settings import Burst


class Outcome(Enum):
    """What is known of a paid call."""

    SENT = "sent"
    """It is about to be sent, on its way, or its answer was lost: it counts as paid until the opposite is known."""
    TAKEN = "taken"
    """The API took it."""
    REFUSED = "refused"
    """The API refused it, or it was never sent: nothing was made."""
    NOT_MADE = "not_made"
    """Its answer was lost, and the API has shown, or a person has said, that nothing was made."""


COUNTED = frozenset({Outcome.SENT, Outcome.TAKEN})
"""Outcomes of what was paid, or may have been: money is counted by these alone."""

SAME = 0.002
"""Seconds by which the time of one and the same payment may differ where it was written down twice."""


@dataclass(frozen=True, slots=True)
class Payment:
    """When the paid call was begun, in seconds since the epoch, to the millisecond; and what became of it."""

    at: float
    outcome: Outcome = Outcome.SENT

    @property
    def counts(self) -> bool:
        return self.outcome in COUNTED

    def is_same(self, other: Payment) -> bool:
        """Whether both are the same paid call, with any outcome."""
        return abs(self.at - other.at) < SAME


Payments = tuple[Payment, ...]
"""All of one job, oldest first. None is ever taken out or put before another."""


def begun(payments: Payments, now: float) -> Payments:
    """With one more, which is about to be sent."""
    return (*payments, Payment(round(now, 3)))


def known(payments: Payments, outcome: Outcome, now: float) -> Payments:
    """With what has become of the last one. Where none was written down but one was taken, it is now."""
    if payments:
        return (*payments[:-1], replace(payments[-1], outcome=outcome))
    return (Payment(round(now, 3), outcome),) if outcome is Outcome.TAKEN else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """The local day and month, and when they began and end; seconds since the epoch."""

    day: str
    """YYYY-MM-DD; its first seven characters are the month."""
    day_began: float
    month_began: float
    day_ends: float
    month_ends: float

    @property
    def month(self) -> str:
        return self.day[:7]


@dataclass(frozen=True, slots=True)
class Spent:
    """How many images of one inbox were paid for on one local day, YYYY-MM-DD."""

    inbox: Path
    day: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most so many images are paid for from then on, of one inbox or, where that is None, of all."""

    inbox: Path | None
    since: float
    """Seconds since the epoch."""
    day: str
    """The local day of `since`, YYYY-MM-DD: what is forgotten is counted by days."""
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that may forbid paying for a job."""

    caps: tuple[Cap, ...] = ()
    in_flight: int | None = None
    """Images of all hosts that are being generated at once; None without a limit."""
    unique: bool = False
    """Whether the job waits for the result of another one with the same bytes and offsets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Why a job is not paid for now: the cap that is reached, the images being generated, or the other job's id."""

    cap: Cap | None = None
    in_flight: bool = False
    duplicate: str = ""


class Arrivals:
    """When the last files of a folder arrived, as far as the rule needs them. All times in epoch seconds."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def add(self, arrived: float, burst: Burst) -> bool:
        """Count a file; True when it is one of more than `burst.files` that came within `burst.within` seconds."""
        insort(self._times, arrived)
        if len(self._times) > 2 * burst.files + 1:
            self._times.pop(0)
        first = bisect_left(self._times, arrived - burst.within)
        # Each run of files + 1 arrivals with this one in it: is one of them short enough?
        starts = range(first, len(self._times) - burst.files)
        return any(self._times[start + burst.files] - self._times[start] <= burst.within for start in starts)

    def clear(self) -> None:
        self._times.clear()

    def forget(self, until: float) -> None:
        """Stop counting files that arrived up to then: a person has released them."""
        del self._times[: bisect_right(self._times, until)]
