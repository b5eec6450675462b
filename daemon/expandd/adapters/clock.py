"""Real time and real randomness."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from datetime import datetime, timedelta

from expandd.domain.spending import Today

NAP = 30.0
"""Seconds after which a long wait looks at the clock again: the timers of the event loop stand still in a suspend."""


class SystemClock:
    """The machine's clocks. The monotonic one goes on through a suspend, so that no lifetime is slept away."""

    def __init__(self, nap: float = NAP) -> None:
        self._nap = nap

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def today(self) -> Today:
        return _local(datetime.now().astimezone())

    async def sleep(self, seconds: float) -> None:
        end, left = self.monotonic() + seconds, seconds
        while True:
            await asyncio.sleep(min(left, self._nap))
            left = end - self.monotonic()
            if left <= 0:
                return

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        if seconds is None:
            await event.wait()
            return
        end, left = self.monotonic() + seconds, seconds
        while not event.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, self._nap)):
                    await event.wait()
            left = end - self.monotonic()
            if left <= 0:
                return


def _local(now: datetime) -> Today:
    """Days begin at local midnight, also where one has 23 or 25 hours."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    month = day.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    return Today(
        day=day.strftime("%Y-%m-%d"),
        day_began=day.timestamp(),
        month_began=month.timestamp(),
        day_ends=(day + timedelta(days=1)).timestamp(),
        month_ends=next_month.timestamp(),
    )


class SystemRandomness:
    """The machine's randomness."""

    def fraction(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret

    def job_id(self) -> str:
        """Twelve hex digits of milliseconds, so that ids sort by time, and 40 random bits."""
        return f"{int(time.time() * 1000):012x}{os.urandom(5).hex()}"
