"""Owns the burst rule: how many files of a folder may arrive within a time before a person is asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from expandd.domain.settings import Burst


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
        """Count no more what arrived until then: a person has released it."""
        del self._times[: bisect_right(self._times, until)]
