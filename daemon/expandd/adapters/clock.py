"""Owns real time."""

from __future__ import annotations

import asyncio
import contextlib
import time


NAP = 30.0
"""Seconds after which a long wait looks at the clock again: the timers of the event loop stand still in a suspend."""


class SystemClock:
    """The machine's clocks. The monotonic one goes on through a suspend, so that no lifetime is slept away."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + seconds
        await asyncio.sleep(min(seconds, NAP))
        while (left := end - self.monotonic()) > 0:
            await asyncio.sleep(min(left, NAP))

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        if seconds is None:
            await event.wait()
            return
        end = self.monotonic() + seconds
        left = seconds
        while not event.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, NAP)):
                    await event.wait()
            left = end - self.monotonic()
            if left <= 0:
                return
