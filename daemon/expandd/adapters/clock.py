"""Owns real time."""

from __future__ import annotations

import asyncio
import contextlib
import time


class SystemClock:
    """The machine's clocks. The monotonic one goes on through a suspend, so that no lifetime is slept away."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
