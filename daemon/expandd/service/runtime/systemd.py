"""Notifies systemd: ready, status, reload, stop, and the watchdog's heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from expandd.domain.events import Event, JobClosed
from expandd.domain.job import MAYBE_PAID, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.control.holds import Shut
from expandd.service.observability.logs import Logger

if TYPE_CHECKING:
    from expandd.engine.engine import Engine

_DAY = 86400.0


def how_it_goes(engine: Engine, failed: int, now: float) -> str:
    """Counts, then what waits on what and since when: "3 folders, 12 waiting, 4 in progress, 0 in error; paused: …".

    `failed` is how many files went to the error folder since the start, `now` the wall clock.
    """
    waiting = sum(inbox.waiting for inbox in engine.inboxes)
    more = "+" if any(inbox.overfull for inbox in engine.inboxes) else ""
    folders = len(engine.inboxes)
    counts = (
        f"{folders} folder{'' if folders == 1 else 's'}, {waiting}{more} waiting, {_in_progress(engine)} in progress, "
        f"{failed} in error"
    )
    return "; ".join([counts, *_troubles(engine, now)])


def how_it_stops(engine: Engine, seconds: float) -> str:
    paid = sum(not job.held for job in engine.jobs.in_state(*MAYBE_PAID))
    if not paid:
        return "stopping"
    return f"stopping: {paid} paid for are fetched and saved first, for {seconds:.0f} s at most"


def _in_progress(engine: Engine) -> int:
    return sum(not job.held and job.state is not JobState.FAILED for job in engine.jobs)


def _troubles(engine: Engine, now: float) -> Iterator[str]:
    in_use = engine.in_use
    shut = [breaker for breaker in engine.breakers.shut() if breaker.inbox is None or breaker.inbox in in_use]
    for breaker in sorted(shut, key=lambda breaker: str(breaker.inbox or "")):
        if breaker.shut is not None:
            yield _trouble(breaker.inbox, breaker.shut, now)
    held = sum(job.held for job in engine.jobs)
    if held:
        yield f"{held} need{'s' if held == 1 else ''} you: `expandd status`"


def _trouble(inbox: Path | None, shut: Shut, now: float) -> str:
    since = _since(shut, now)
    if inbox is not None:
        return f"{printable(inbox)}: {since}"
    return since if shut.reason is PauseReason.PAUSED else f"paused: {since}"


def _since(shut: Shut, now: float) -> str:
    when = "%H:%M" if abs(now - shut.since) < _DAY else "%Y-%m-%d %H:%M"
    return f"{shut.reason.title} since {time.strftime(when, time.localtime(shut.since))}"


PATIENCE = 0.25
"""Seconds that one message may wait for a manager that is behind; its queue holds ten."""


class Notifier:
    """Speaks the sd_notify protocol; silent where systemd does not listen (no NOTIFY_SOCKET)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(environ)
        """Seconds after which systemd ends a service that has not said that it is alive; None when it does not."""

    def ready(self, status: str) -> None:
        """The start, or the reload, is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        # The time tells systemd 253 and later which of its requests is meant.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def starts_later(self, seconds: float, status: str) -> None:
        """The start takes this much longer than the unit allows."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}\nSTATUS={status}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen must not stop the work.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire,
        ):
            wire.settimeout(PATIENCE)
            wire.connect(self._address)
            wire.sendall(message.encode("utf-8", "replace"))


def _watchdog(environ: Mapping[str, str]) -> float | None:
    meant = environ.get("WATCHDOG_PID", "")
    microseconds = environ.get("WATCHDOG_USEC", "")
    if meant not in {"", str(os.getpid())} or not microseconds.isdecimal():
        return None
    return int(microseconds) / 1_000_000


LONGEST = 10.0
"""Seconds between two beats, at most."""


class Failures:
    """Counts the files that went to the error folder; a subscriber like any other."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, event: Event) -> None:
        self.count += isinstance(event, JobClosed) and event.job.state is JobState.FAILED


class Watchdog:
    """Tells systemd how it goes, when that changes, and that all is alive, while it is so."""

    def __init__(
        self,
        engine: Engine,
        *,
        systemd: Notifier,
        failures: Failures,
        log: Logger,
        wall: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._systemd = systemd
        self._failures = failures
        self._log = log
        self._wall = wall
        self._told = ""
        self.stuck: frozenset[str] = frozenset()
        """The loops that make no progress."""
        self.remark = ""
        """An addition to the status: a refused configuration."""

    def sentence(self) -> str:
        """The present status, which counts as sent."""
        goes = how_it_goes(self._engine, self._failures.count, self._wall())
        self._told = "; ".join(part for part in (goes, self.remark) if part)
        return self._told

    async def run(self, stop: asyncio.Event) -> None:
        """Heartbeat until `stop` is set."""
        while not stop.is_set():
            self.heartbeat()
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
            self.heartbeat()
            await asyncio.sleep(min(1.0, self._pause()))
            self._systemd.status(how_it_stops(self._engine, max(0.0, end - loop.time())))

    def heartbeat(self) -> None:
        """Ping, unless a loop is stuck: then say which, once, and leave the rest to systemd."""
        self._engine.heartbeats.nudge()
        stuck = frozenset(self._engine.heartbeats.stale(asyncio.get_running_loop().time()))
        for name in sorted(stuck - self.stuck):
            self._log.error("loop.stuck", loop=name, restart=self._systemd.watchdog is not None)
        self.stuck = stuck
        if not stuck:
            self._systemd.alive()

    def _pause(self) -> float:
        return min(LONGEST, (self._systemd.watchdog or 3 * LONGEST) / 3)


async def either(event: asyncio.Event, seconds: float | None) -> None:
    """Return when the event is set or the time, if there is one, is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
