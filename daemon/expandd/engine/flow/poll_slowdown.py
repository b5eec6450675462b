"""How much more rarely than its interval the poller asks, because others poll the same account."""

from __future__ import annotations

from expandd.engine.ports import Chance

GROWTH = 1.5
SHRINK = 0.9
MOST = 20.0
"""Intervals that a poll is put off by at most."""

WIDE = 2.0
"""What a poll is put off by is random, from none to so many times the mean: equals must not meet again and again."""


class Slowness:
    """Grows with each poll that is refused, and shrinks slowly with each that is not, so that all come through."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._mean = 0.0

    def failed(self) -> None:
        self._mean = min(MOST / WIDE, max(1.0, self._mean * GROWTH))

    def passed(self) -> None:
        self._mean = self._mean * SHRINK if self._mean > 1 / GROWTH else 0.0

    def more(self, interval: float) -> float:
        """Seconds to wait with the next poll beyond the interval."""
        return interval * self._mean * WIDE * self._chance.fraction()
