"""Time in tests: a clock that stands still until a test moves it, and then never skips a beat."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from expandd.domain.spending import Today

T = TypeVar("T")

START = 1_800_000_000.0
"""The wall clock at the start: an instant in January 2027."""

MOST_ROUNDS = 200_000
"""Rounds of the event loop without any time passing after which something is taken to spin."""


class ManualClock:
    """Fulfils the engine's Clock. Time passes only in `advance` and `until`.

    Before each timer goes off, all that can run has run: what a test sees after a move is what would be so however
    fast the machine is. Blocking calls must run on the loop's thread (see `inline`), or the clock overtakes them.
    Keep to eighths of a second: they add up exactly, so that 900 s are over after 900 s.
    """

    def __init__(self, wall: float = START, monotonic: float = 1_024.0, most_rounds: int = MOST_ROUNDS) -> None:
        self._monotonic = monotonic
        self._offset = wall - monotonic
        self._most_rounds = most_rounds
        self._timers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def wall(self) -> float:
        return self._monotonic + self._offset

    def monotonic(self) -> float:
        return self._monotonic

    def today(self) -> Today:
        """The calendar of UTC: tests run wherever they run."""
        day = datetime.fromtimestamp(self.wall(), UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        month = day.replace(day=1)
        return Today(
            day=day.strftime("%Y-%m-%d"),
            day_began=day.timestamp(),
            month_began=month.timestamp(),
            day_ends=(day + timedelta(days=1)).timestamp(),
            month_ends=(month + timedelta(days=32)).replace(day=1).timestamp(),
        )

    def step_wall(self, seconds: float) -> None:
        """What a time server does: the wall clock jumps, the monotonic one does not notice."""
        self._offset += seconds

    def suspend(self, seconds: float) -> None:
        """What a lid that is shut does: both clocks have gone on when it is opened, and nothing has run meanwhile."""
        self._monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        timer = self._timer(seconds)
        try:
            await timer
        finally:
            timer.cancel()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        if event.is_set():
            return
        if seconds is None:
            await event.wait()
            return
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        # What the event wakes and what the timer wakes are one: most of what an engine does is to wait like this.
        timer = self._timer(seconds)
        waiters = vars(event)["_waiters"]
        waiters.append(timer)
        try:
            await timer
        finally:
            waiters.remove(timer)
            timer.cancel()

    async def settle(self) -> None:
        """Let everything run that can run now; no time passes."""
        ready = vars(asyncio.get_running_loop())["_ready"]
        for _ in range(self._most_rounds):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError(f"something has run {self._most_rounds} rounds at {self._monotonic} without waiting")

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, timer by timer."""
        end = self._monotonic + seconds
        await self.settle()
        while await self._step(end):
            pass
        self._monotonic = max(self._monotonic, end)
        await self.settle()

    async def until(self, done: Callable[[], bool], within: float) -> None:
        """Move on, timer by timer, until `done`; fail when `within` seconds were not enough."""
        end = self._monotonic + within
        await self.settle()
        while not done():
            if not await self._step(end):
                raise AssertionError(f"what was waited for did not happen within {within:g} s")

    async def _step(self, end: float) -> bool:
        """Let the next timer up to `end` go off; False when there is none."""
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            if not timer.done():
                self._monotonic = max(self._monotonic, due)
                timer.set_result(None)
                await self.settle()
                return True
        return False

    def _timer(self, seconds: float) -> asyncio.Future[None]:
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # At least the next number after now: a wait that rounds to nothing must not stand still for ever.
        due = max(self._monotonic + seconds, math.nextafter(self._monotonic, math.inf))
        heapq.heappush(self._timers, (due, next(self._numbers), timer))
        return timer


class InlineExecutor(ThreadPoolExecutor):
    """An executor without threads: each call has happened when `submit` returns."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            future.set_exception(error)
        return future


async def at_once(path: Path, call: Callable[..., T], *arguments: object) -> T:
    """Runs a blocking call on the loop's thread; whoever asked goes on one round later, as after a thread."""
    del path
    try:
        return call(*arguments)
    finally:
        await asyncio.sleep(0)


def inline() -> None:
    """Make `asyncio.to_thread` of the running loop call at once: real files under a manual clock, in one order."""
    asyncio.get_running_loop().set_default_executor(InlineExecutor(max_workers=1))
