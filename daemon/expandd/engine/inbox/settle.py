"""Owns how candidates settle: looked at until they stop changing, then made ready, rejected, or waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from expandd.domain.errors import Fault, FileFault, Later, LookTooLong, ReaderDied
from expandd.domain.events import FileIgnored, FileSettled, FileUnfinished
from expandd.domain.file_faults import CANCELLED, MOST_DEATHS, READER_DIES
from expandd.domain.inspection import Finding, Unfinished, Unfit, Whole
from expandd.domain.offsets import resolve
from expandd.domain.selection import path_ignored_because
from expandd.domain.settings import HotFolder
from expandd.domain.settle import Look, Ripeness, Sighting, ripeness
from expandd.engine.control.holds import StandingOrders
from expandd.engine.inbox.burst_guard import BurstGuard
from expandd.engine.inbox.candidates import MOST_READY, WINDOW, Candidate, Candidates, Ready, Told
from expandd.engine.inbox.inspections import NEVER, Looks
from expandd.engine.inbox.watch import Watching
from expandd.engine.ports import Clock, Emit, Folders, Images

HELD_BACK = 5.0
"""Seconds until a file that a person has paused is looked at again."""

IsTaken = Callable[[Path, Look], bool]
"""Whether a job waits to take this very file: it is no candidate any more."""

Reject = Callable[[HotFolder, Path, Look, Fault], Awaitable[bool]]
"""Turns a file into a failed job; False when too many are under way and it must be offered again."""


class Settling:
    """The candidates of one inbox on their way to being ready. Whoever takes a ready one says so by `taken`."""

    def __init__(
        self,
        folder: HotFolder,
        *,
        folders: Folders,
        images: Images,
        watching: Watching,
        clock: Clock,
        emit: Emit,
        orders: StandingOrders,
        guard: BurstGuard,
        reject: Reject,
        is_taken: IsTaken,
        changed: asyncio.Event,
    ) -> None:
        self.candidates = Candidates()
        self.ready: deque[Ready] = deque()
        self._folder = folder
        self._folders = folders
        self._images = images
        self._watching = watching
        self._clock = clock
        self._emit = emit
        self._orders = orders
        self._guard = guard
        self._reject = reject
        self._is_taken = is_taken
        self._changed = changed
        self._looks = Looks(self.candidates, images, clock, watching.hinted.set)
        self._told = Told()

    @property
    def held_back(self) -> bool:
        """Whether a person has paused each of the candidates, and none is ready."""
        inbox = self._folder.inbox
        return not self.ready and all(self._orders.held_back(inbox, one.relative) for one in self.candidates)

    def knows(self, relative: Path) -> bool:
        """Whether this file is a candidate or ready."""
        known = self.candidates.get(relative) is not None
        return known or any(ready.relative == relative for ready in self.ready)

    def consider(self, relative: Path, *, hinted: bool) -> None:
        """Make a candidate of a name, unless it is one that is never picked up."""
        why = path_ignored_because(relative)
        if why is not None:
            self._ignore(relative, why)
            return
        self.candidates.add(Candidate(relative, self._clock.monotonic(), hinted))

    def _ignore(self, relative: Path, why: str) -> None:
        self.candidates.drop(relative)
        if self._told.is_news(relative, why):
            self._emit(FileIgnored(self._folder.inbox, relative, why))

    def _is_cancelled(self, relative: Path, look: Look) -> bool:
        return self._orders.cancelled(self._folder.inbox, relative, look.ctime_ns / 1e9)

    def reconsider(self) -> None:
        """Let every file settle anew: what people have ordered may have changed what is to become of it."""
        while self.ready:
            self.consider(self.ready.popleft().relative, hinted=True)
        self._make_room(WINDOW)

    def taken(self, ready: Ready) -> None:
        """A ready file is claimed, or is to settle anew: there is room for another one."""
        if self.ready and self.ready[0] is ready:
            self.ready.popleft()
        self._make_room(MOST_READY - len(self.ready))

    def _make_room(self, files: int) -> None:
        self.candidates.unpark(self._clock.monotonic(), files)
        self._watching.hinted.set()

    async def still_ready(self, ready: Ready) -> bool:
        """Whether the file is as it was when it was examined; if not, it settles anew."""
        look = await self._folders.look(self._folder.inbox / ready.relative)
        if look == ready.look:
            return True
        if look is not None:
            self.consider(ready.relative, hinted=True)
        return False

    async def look(self, candidate: Candidate) -> None:
        """Look at one that is due. Raises FolderAway, JournalAway."""
        if candidate.looking:
            candidate.due = NEVER
            return
        path = self._folder.inbox / candidate.relative
        look = await self._folders.look(path)
        if look is None:
            await self._not_a_file(candidate, path)
            return
        if self._is_taken(candidate.relative, look):
            self.candidates.drop(candidate.relative)
            return
        now = self._clock.monotonic()
        sighting = await self._seen(candidate, look, now)
        candidate.due = max(now, sighting.quiet_since + self._folder.settle)
        folder = self._folder
        ripe = ripeness(sighting, now, settle=folder.settle, settle_max=folder.settle_max)
        settled = ripe is not Ripeness.WAIT or candidate.fault is not None
        if settled and self._is_cancelled(candidate.relative, look):
            await self._give_up(candidate, look, CANCELLED)
        elif self._orders.held_back(folder.inbox, candidate.relative):
            candidate.due = now + HELD_BACK
            self.candidates.set_unfinished(candidate)
        elif ripe is Ripeness.EXAMINE:
            await self._examine(candidate, path, look)
        elif ripe is Ripeness.GIVE_UP and candidate.fault is not None:
            await self._give_up(candidate, look, candidate.fault)
        elif sighting.unfinished:
            candidate.due = now + max(self._folder.settle, 1.0)
        else:
            self._images.expect()

    async def _seen(self, candidate: Candidate, look: Look, now: float) -> Sighting:
        """The candidate's sighting, this look counted in."""
        before = candidate.sighting
        if before is None:
            await self._guard.arrived(look)
        sighting = candidate.sighting = before.updated(look, now) if before else Sighting(look, now)
        if sighting is not before:
            candidate.slow, candidate.deaths, candidate.examined = False, 0, None
        if candidate.fault is not None and not sighting.unfinished:
            candidate.fault = None
            self.candidates.set_fresh(candidate)
        return sighting

    def end(self) -> None:
        """Look into nothing any more."""
        self._looks.end()

    async def _not_a_file(self, candidate: Candidate, path: Path) -> None:
        self.candidates.drop(candidate.relative)
        kind = await self._folders.irregular(path)
        if kind == "a directory" and self._folder.recursive:
            self._watching.scan_soon(self._folder.settle)
        elif kind is not None:
            self._ignore(candidate.relative, f"it is {kind}, and only regular files are picked up")

    async def _examine(self, candidate: Candidate, path: Path, look: Look) -> None:
        examined, candidate.examined = candidate.examined, None
        if examined is None or examined.look != look:
            if await self._is_stuck(candidate):
                return
            if len(self.ready) + self._looks.begun >= MOST_READY:
                self.candidates.park(candidate)
            else:
                self._looks.begin(candidate, path, look)
            return
        self._make_room(1)
        if isinstance(examined.found, LookTooLong):
            candidate.slow = True
            self._looks.begin(candidate, path, look)
        elif isinstance(examined.found, ReaderDied):
            await self._reader_died(candidate, look)
        elif isinstance(examined.found, Later):
            self._look_later(candidate)
        elif isinstance(examined.found, Exception):
            raise examined.found
        else:
            await self._has_settled(candidate, look, examined.found)

    def _look_later(self, candidate: Candidate) -> None:
        candidate.due = self._clock.monotonic() + max(self._folder.settle, 1.0)

    async def _reader_died(self, candidate: Candidate, look: Look) -> None:
        candidate.deaths += 1
        if candidate.deaths >= MOST_DEATHS:
            await self._give_up(candidate, look, READER_DIES)
        else:
            self._look_later(candidate)

    async def _has_settled(self, candidate: Candidate, look: Look, finding: Finding) -> None:
        if not candidate.hinted:
            self._watching.miss()
        self._emit(FileSettled(self._folder.inbox, candidate.relative, missed=not candidate.hinted))
        await self._sort(candidate, look, finding)

    async def _is_stuck(self, candidate: Candidate) -> bool:
        """Whether somebody has shut its subfolder: such files wait, and hold up no others."""
        if candidate.relative.parent == Path():
            return False
        why = await self._folders.stuck(self._folder.inbox, candidate.relative)
        if why is None:
            return False
        candidate.due = self._clock.monotonic() + max(self._folder.settle, HELD_BACK)
        self.candidates.set_unfinished(candidate)
        if self._told.is_news(candidate.relative, why):
            self._emit(FileUnfinished(self._folder.inbox, candidate.relative, why))
        return True

    async def _sort(self, candidate: Candidate, look: Look, finding: Finding) -> None:
        if isinstance(finding, Unfinished):
            self._wait_for_the_rest(candidate, look, finding)
        elif isinstance(finding, Unfit):
            await self._give_up(candidate, look, finding.fault)
        else:
            await self._make_ready(candidate, look, finding)

    def _wait_for_the_rest(self, candidate: Candidate, look: Look, finding: Unfinished) -> None:
        assert candidate.sighting is not None
        candidate.sighting = Sighting(look, candidate.sighting.quiet_since, unfinished=finding.fault.message)
        candidate.fault = finding.fault
        candidate.due = self._clock.monotonic() + max(self._folder.settle, 1.0)
        self.candidates.set_unfinished(candidate)
        if self._told.is_news(candidate.relative, finding.fault.message):
            self._emit(FileUnfinished(self._folder.inbox, candidate.relative, finding.fault.message))

    async def _make_ready(self, candidate: Candidate, look: Look, whole: Whole) -> None:
        try:
            offsets = resolve(self._folder.preset, whole.size)
        except FileFault as error:
            await self._give_up(candidate, look, error.fault)
            return
        self.candidates.drop(candidate.relative)
        self.ready.append(Ready(relative=candidate.relative, look=look, whole=whole, offsets=offsets))
        self._changed.set()

    async def _give_up(self, candidate: Candidate, look: Look, fault: Fault) -> None:
        if await self._reject(self._folder, candidate.relative, look, fault):
            self.candidates.drop(candidate.relative)
        else:
            candidate.due = self._clock.monotonic() + 1.0
