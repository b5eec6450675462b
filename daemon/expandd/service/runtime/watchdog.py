"""Owns the heartbeat: what systemd hears every few seconds, and that it hears nothing while a loop is stuck."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from expandd.domain.events import Event, JobClosed
from expandd.domain.job import JobState
from expandd.engine.engine import Engine
from expandd.service.runtime.status_line import how_it_goes, how_it_stops
from expandd.service.runtime.systemd import Notifier

LONGEST = 5.0
"""Seconds between two beats, at most."""


class Failures:
    """Counts the files that went to the error folder; a subscriber like any other."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: Event) -> None:
        self.count += isinstance(event, JobClosed) and event.job.state is JobState.FAILED


class Heart:
    """Tells systemd how it goes, when that changes, and that all is alive, while it is so."""

    def __init__(
        self,
        engine: Engine,
        *,
        systemd: Notifier,
        failures: Failures,
        log: FilteringBoundLogger,
        wall: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._systemd = systemd
        self._failures = failures
        self._log = log
        self._wall = wall
        self._told = ""
        self._stuck: frozenset[str] = frozenset()
        self.remark = ""
        """What is to be said besides: a configuration that was refused."""

    def sentence(self) -> str:
        """How it goes now. It counts as told."""
        goes = how_it_goes(self._engine, self._failures.count, self._wall())
        self._told = "; ".join(part for part in (goes, self.remark) if part)
        return self._told

    async def run(self, stop: asyncio.Event) -> None:
        """Heartbeat until `stop` is set."""
        while not stop.is_set():
            self.beat()
            before = self._told
            if self.sentence() != before:
                self._systemd.status(self._told)
            await either(stop, self._pause())

    async def run_down(self, seconds: float) -> None:
        """Heartbeat until cancelled, while what is under way ends within `seconds`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        self._systemd.stopping(how_it_stops(self._engine, seconds))
        while True:
            self.beat()
            await asyncio.sleep(min(1.0, self._pause()))
            self._systemd.status(how_it_stops(self._engine, max(0.0, end - loop.time())))

    def beat(self) -> None:
        """Ping, unless a loop is stuck: then say which, once, and leave the rest to systemd."""
        self._engine.heartbeats.nudge()
        stuck = frozenset(self._engine.heartbeats.stale(asyncio.get_running_loop().time()))
        for name in sorted(stuck - self._stuck):
            self._log.error("loop.stuck", loop=name, restart=self._systemd.watchdog is not None)
        self._stuck = stuck
        if not stuck:
            self._systemd.alive()

    def _pause(self) -> float:
        return min(LONGEST, (self._systemd.watchdog or 3 * LONGEST) / 3)


async def either(event: asyncio.Event, seconds: float | None) -> None:
    """Return when the event is set or the time, if there is one, is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
