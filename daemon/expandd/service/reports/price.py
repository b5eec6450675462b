"""Owns the price of an image: what the account's credits fell by while images were paid for."""

from __future__ import annotations

from decimal import Decimal

from expandd.domain.events import Event, JobMoved
from expandd.domain.job import JobState

_CENTS = Decimal("0.01")


FEWEST = 5
"""Paid images from which on a price is believed: a call that is under way while the credits are told counts wrongly."""

MOST = 200
"""Paid images of which the older half is forgotten, so that a price that changes is noticed."""


class Price:
    """Learns from what the credits fell by, look by look, while images were paid for; a subscriber like any other.

    Whoever else spends from the account, or tops it up, is not known here: a rise teaches nothing, and what others
    spend makes images look dearer than they are. `latest` is what was learnt last, also by an earlier run.
    """

    def __init__(self, latest: Decimal | None) -> None:
        self.latest = latest
        self._paid = 0
        self._fallen, self._paid_for_it = Decimal(0), 0
        self._credits: Decimal | None = None
        self._at: float | None = None

    def __call__(self, event: Event) -> None:
        self._paid += isinstance(event, JobMoved) and event.job.state is JobState.ACCEPTED

    def look(self, left: Decimal | None, at: float | None) -> None:
        """The credits as the service told them `at` that time (epoch seconds)."""
        if left is None or at == self._at:
            return
        if self._credits is not None and left <= self._credits:
            self._learn(self._credits - left, self._paid)
        self._credits, self._at, self._paid = left, at, 0

    def _learn(self, fallen: Decimal, paid: int) -> None:
        self._fallen, self._paid_for_it = self._fallen + fallen, self._paid_for_it + paid
        if self._paid_for_it >= FEWEST:
            self.latest = (self._fallen / self._paid_for_it).quantize(_CENTS)
        if self._paid_for_it >= MOST:
            self._fallen, self._paid_for_it = self._fallen / 2, self._paid_for_it // 2
