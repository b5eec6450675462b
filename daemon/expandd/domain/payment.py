"""A payment: one paid call of one job, written down before it is sent, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


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
        """Whether both tell of the same paid call, whatever they know of it."""
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
