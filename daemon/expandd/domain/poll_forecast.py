"""Forecasts when results will be ready, by how long earlier ones took, so that polls find them at once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEWEST = 4
"""Generation times that must be known before a poll waits longer than it has to."""

MOST = 32
"""Generation times that are remembered; older ones are forgotten, for the API gets faster and slower."""

WORTH = 0.6
"""How much of the cost of polling now a later poll may have: ends that are spread evenly give no target."""

LONGEST = 30.0
"""Seconds without a poll, where no end is expected: the API may have become faster, and errors come early."""

PARTS = 48
"""Parts of a poll interval: the resolution of the forecast."""


@dataclass(frozen=True, slots=True)
class PollForecast:
    """How long the latest generations took, in seconds, oldest first."""

    lately: tuple[float, ...] = ()

    def learnt(self, seconds: float) -> PollForecast:
        """This forecast with the duration of one more generation."""
        return PollForecast((*self.lately, seconds)[-MOST:])

    def pause(self, ages: Sequence[float], interval: float) -> float:
        """Seconds to wait with a poll that may be made now.

        Until an interval before the first expected end, and from then on as long as pays, up to one `interval` more.
        `ages` says of each awaited image for how many seconds it has been under way. Each expected end has a cost:
        how long its result would lie there until the poll, or until the one after it, which may come an interval
        later at the earliest.
        """
        if len(self.lately) < FEWEST:
            return 0.0
        first = min(self.lately) - max(ages, default=math.inf)
        # One part later than that: an end that falls into the last part of the interval can still be aimed at.
        idle = max(0.0, min(first, LONGEST) - interval * (1 - 1 / PARTS))
        return idle + self._aim([age + idle for age in ages], interval)

    def _aim(self, ages: Sequence[float], interval: float) -> float:
        part = interval / PARTS
        ends = self._ends(ages, part)
        aims = [0, *sorted(end for end in ends if 0 < end < PARTS), PARTS]
        costs = {aim: sum(weight * _wait(end, aim) for end, weight in ends.items()) for aim in aims}
        # Of several that cost the same the last one is the best: it is the fewest calls.
        best = min(reversed(aims), key=costs.__getitem__)
        return best * part if costs[best] <= WORTH * costs[0] else 0.0

    def _ends(self, ages: Sequence[float], part: float) -> Mapping[int, float]:
        """How many ends are expected, by when: in parts of the interval from now, rounded up."""
        ends: defaultdict[int, float] = defaultdict(float)
        for age in ages:
            left = [seconds - age for seconds in self.lately if seconds > age]
            for seconds in left:
                ends[int(seconds / part) + 1] += 1 / len(left)
            if not left:
                # It takes longer than all others lately, and may have ended already.
                ends[0] += 1
        return ends


def _wait(end: int, aim: int) -> int:
    """For how long a result that comes at `end` lies there; none for one that a later poll can still be aimed at."""
    if end <= aim:
        return aim - end
    return max(0, aim + PARTS - end)


def borne_out(announced: float, *, missing: float, there: float) -> bool:
    """Whether a generation can have taken as long as the API's clock says.

    A poll saw nothing of it after `missing` seconds, and the next one saw its result after `there`.
    """
    return missing < announced <= there
