"""Owns the price of an image: what the account's credits fell by while images were paid for."""

from __future__ import annotations

from decimal import Decimal

from expandd.domain.events import Event, JobMoved
from expandd.domain.job import JobState

_CENTS = Decimal("0.01")


class Price:
    """Learns from two looks at the credits with paid images between them; a subscriber like any other.

    Whoever else spends from the account, or tops it up, is not known here: a rise teaches nothing, and what others
    spend makes images look dearer than they are. `latest` is what was learnt last, also by an earlier run.
    """

    def __init__(self, latest: Decimal | None) -> None:
        self.latest = latest
        self._paid = 0
        self._credits: Decimal | None = None
        self._at: float | None = None

    def __call__(self, event: Event) -> None:
        self._paid += isinstance(event, JobMoved) and event.job.state is JobState.ACCEPTED

    def look(self, credits_: Decimal | None, at: float | None) -> None:
        """The credits as the service told them `at` that time (epoch seconds)."""
        if credits_ is None or at == self._at:
            return
        if self._credits is not None and self._paid and credits_ < self._credits:
            self.latest = ((self._credits - credits_) / self._paid).quantize(_CENTS)
        self._credits, self._at, self._paid = credits_, at, 0
