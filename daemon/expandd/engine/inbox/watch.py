"""Watches one inbox: by events where they arrive, by scans always; and finds the PAUSE file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.errors import FolderAway
from expandd.domain.events import WatchRenewed
from expandd.domain.pauses import PauseReason, paused_by
from expandd.domain.selection import PAUSE_NAMES
from expandd.domain.settings import HotFolder, Watch
from expandd.domain.settle import InboxState
from expandd.engine.control.holds import Cause, Pause, Pauses
from expandd.engine.inbox.candidates import Hints
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Clock, Emit, Folders, Ports, Randomness, Watcher

MOST = 16
"""Unusual names of pause files that are remembered for one inbox; one is enough to pause it."""


class PauseFile:
    """The PAUSE file of an inbox, checked regularly and at each hint about it."""

    def __init__(self, inbox: Path, *, folders: Folders, pause: Pause) -> None:
        self._inbox = inbox
        self._folders = folders
        self._pause = pause
        self._seen: tuple[str, ...] = ()
        """Names besides PAUSE_NAMES that were seen to pause the inbox."""

    async def check(self, seen: Iterable[Path] = ()) -> None:
        """Shut or open the folder's pause; `seen` are paths in the inbox that may do so. Raises FolderAway."""
        self._seen = tuple({*self._seen, *(str(path) for path in seen)} - set(PAUSE_NAMES))[:MOST]
        there = await self._folders.first_there(self._inbox, (*PAUSE_NAMES, *self._seen))
        if not there:
            self._seen = ()
        self._set(there)

    async def found(self, name: str) -> None:
        """Shut or open the pause by the one of PAUSE_NAMES that lies there, "" for none. Raises FolderAway."""
        if self._seen:
            await self.check()
        else:
            self._set(name)

    def _set(self, name: str) -> None:
        if name:
            self._pause.close(PauseReason.PAUSED, paused_by(name))
        else:
            self._pause.open()


TICK = 5.0
"""Seconds between two checks whether the inbox is still the same directory; more with many inboxes, see `tick`."""

SHARE = 1.2
"""Seconds for each inbox between two checks of the same one, so that many inboxes cost no more than a few."""

POLL = 2.0
"""Seconds between two scans of an inbox whose events do not reach us."""

DUTY = 20
"""A scan that takes long is repeated only after this many times its length."""


class PausesElsewhere:
    """Checks the pause files of inboxes that another host serves, while this host has unpaid jobs of them."""

    def __init__(self, ports: Ports, pauses: Pauses, jobs: Jobs) -> None:
        self._ports = ports
        self._pauses = pauses
        self._jobs = jobs

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for inbox in tuple(self._jobs.tally.inboxes()):
                if not self._ports.membership.leads(inbox):
                    await self.check(inbox)
            await self._ports.clock.sleep(TICK)

    async def check(self, inbox: Path) -> None:
        """Check once; where the inbox is away, each job's own step waits for it."""
        with contextlib.suppress(FolderAway):
            await PauseFile(inbox, folders=self._ports.folders, pause=self._pauses.at(inbox, Cause.FILE)).check()


REWATCH = 60.0
"""Seconds until a watch that the system refused is asked for again."""

MOST_MISSES = 3
"""Files that only a scan found, after which a folder on `auto` is polled."""


@dataclass(frozen=True, slots=True)
class Due:
    """Hinted paths below the inbox; whether to scan; whether finding something new by that scan is no surprise."""

    hints: tuple[Path, ...]
    scan: bool
    expected: bool


def tick(inboxes: int) -> float:
    """Seconds between two checks of the same inbox, for so many inboxes."""
    return max(TICK, SHARE * inboxes)


def _together(after: float, seconds: float) -> float:
    """The next full `seconds`, the same for all inboxes: one wake-up, and one call into a thread, does for many."""
    if after < 0:
        return after
    following = (after // seconds + 1) * seconds
    # A time that rounding makes equal to now would be waited for again and again.
    return following if following - after > seconds / 1000 else following + seconds


class InboxWatch:
    """Decides when an inbox is scanned and keeps its watch alive."""

    def __init__(
        self,
        folder: HotFolder,
        *,
        watcher: Watcher,
        folders: Folders,
        clock: Clock,
        randomness: Randomness,
        emit: Emit,
        tick: float = TICK,
    ) -> None:
        self._tick = tick
        self.hinted = asyncio.Event()
        self.scanned = False
        self.missed = 0
        self._folder = folder
        self._watcher = watcher
        self._folders = folders
        self._clock = clock
        self._randomness = randomness
        self._emit = emit
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self.hinted.set)

        self._hints = Hints(wake)
        self._identity: tuple[int, int] | None = None
        self._polling = folder.watch is Watch.POLL
        self._watched = False
        self._seen_before = False
        self._lost = False
        self._checked_at = float("-inf")
        self._rewatch_at = float("inf")
        self._rest_until = float("-inf")
        self._scan_at = float("-inf")
        self._again_at = float("inf")
        self._expected = True

    @property
    def watched(self) -> bool:
        """Whether it relies on events, with rare scans beside them."""
        return self._watched and not self._polling

    async def check(self) -> InboxState | None:
        """Compare the inbox with the one that is watched; None when it is not time for it yet. Raises FolderAway."""
        now = self._clock.monotonic()
        if now < self._next_check():
            return None
        self._checked_at = now
        found = await self._present()
        why = await self._deaf_because(found.identity)
        if why is not None:
            await self._arm(found.identity, why)
        return found

    def take(self) -> Due:
        """What is to be done since the last call."""
        self.hinted.clear()
        paths, overflow = self._hints.take()
        now = self._clock.monotonic()
        if overflow or self._folder.inbox in paths:
            self._has_lost(now, by_kernel=self._folder.inbox in paths)
        expected = self._lost or self._expected or now >= self._again_at
        scan = now >= min(self._scan_at, self._again_at)
        relatives = tuple(path for path in map(self._relative, paths) if path is not None)
        return Due(relatives, scan, expected)

    def has_scanned(self, seconds: float) -> None:
        """Note that a scan is over; it took `seconds`."""
        interval = min(POLL, self._folder.scan_interval) if self._polling else self._folder.scan_interval
        jitter = 0.75 + self._randomness.fraction() / 2
        now = self._clock.monotonic()
        self._scan_at = now + max(interval * jitter, DUTY * seconds)
        if interval >= self._tick:
            self._scan_at = _together(self._scan_at, self._tick)
        if now >= self._again_at:
            self._again_at = float("inf")
        self._rest_until = now + DUTY * seconds
        self._expected = self._lost = False
        self.scanned = True

    def scan_soon(self, settle: float) -> None:
        """Scan for a new directory, whose files made no events: now, and once more when it must have settled."""
        self._scan_at = self._clock.monotonic()
        self._again_at = self._clock.monotonic() + settle
        self.hinted.set()

    def miss(self) -> None:
        """Count a settled file that no event had announced and that no scan was expected to find."""
        if self._polling:
            return
        self.missed += 1
        if self.missed >= MOST_MISSES and self._folder.watch is Watch.AUTO:
            self._polling = True
            self._emit(WatchRenewed(self._folder.inbox, "events do not arrive; the inbox is scanned instead"))

    def pause(self) -> float:
        """Seconds until the next check or scan."""
        now = self._clock.monotonic()
        return max(0.0, min(self._next_check(), self._scan_at, self._again_at) - now)

    def _next_check(self) -> float:
        # The caller waits for an inbox that is away.
        tick = TICK if self._identity is None else self._tick
        return _together(self._checked_at, min(tick, self._folder.scan_interval))

    def _relative(self, path: Path) -> Path | None:
        try:
            relative = path.relative_to(self._folder.inbox)
        except ValueError:
            return None
        deeper = len(relative.parts) > 1 and not self._folder.recursive
        return None if deeper or relative == Path() or relative.parts[0] == ".expandd" else relative

    async def _present(self) -> InboxState:
        """The state of the inbox, with a work folder of our own. Raises FolderAway while there is none."""
        try:
            return await self._folders.inbox_state(self._folder.inbox, PAUSE_NAMES)
        except FolderAway:
            await self._forget()
            raise

    async def _deaf_because(self, identity: tuple[int, int]) -> str | None:
        """Why the inbox must be watched anew, "" where that is not announced; None when it need not be."""
        if self._identity is None:
            return "the inbox is there again" if self._seen_before else ""
        if identity != self._identity:
            return "the inbox is another directory now"
        if self._watched and not await self._watcher.alive(self._folder.inbox):
            return "its watch had ended"
        return "" if self._clock.monotonic() >= self._rewatch_at else None

    def _has_lost(self, now: float, *, by_kernel: bool) -> None:
        """Scan because events were lost; after many losses with a delay."""
        if self._lost:
            return
        self._lost = True
        self._scan_at = min(self._scan_at, max(now, self._rest_until))
        if by_kernel:
            self._emit(WatchRenewed(self._folder.inbox, "the system lost events; the inbox is scanned for them"))

    async def end(self) -> None:
        """End the watch."""
        await self._forget()

    async def _forget(self) -> None:
        if self._identity is not None:
            await self._watcher.unwatch(self._folder.inbox)
        self._identity = None
        self._watched = False

    async def _arm(self, identity: tuple[int, int], why: str) -> None:
        self._identity, self._seen_before = identity, True
        self._watched = await self._watch()
        self._polling = not self._watched
        # First watch, then scan: files that arrive in between are in both.
        self._scan_at = self._clock.monotonic()
        self._expected = True
        if why:
            self._emit(WatchRenewed(self._folder.inbox, why))

    async def _watch(self) -> bool:
        if self._folder.watch is Watch.POLL:
            return False
        refused, self._rewatch_at = self._rewatch_at != float("inf"), float("inf")
        try:
            if self._folder.watch is Watch.AUTO and not await self._folders.events_reach(self._folder.inbox):
                return False
            await self._watcher.watch(self._folder.inbox, recursive=self._folder.recursive, hint=self._hints.put)
        except FolderAway as error:
            self._rewatch_at = self._clock.monotonic() + REWATCH
            if not refused:
                self._emit(WatchRenewed(self._folder.inbox, f"{error} The inbox is scanned instead."))
            return False
        if refused:
            self._emit(WatchRenewed(self._folder.inbox, "it can be watched again"))
        return True
