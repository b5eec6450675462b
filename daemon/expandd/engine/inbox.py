"""Owns one inbox: hints and scans make candidates, candidates settle, and settled pictures become ready to claim."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from expandd.domain.errors import Fault, FileFault, FolderAway, JournalAway, Later
from expandd.domain.events import FileIgnored, FileSettled, FileUnfinished
from expandd.domain.faults import CANCELLED
from expandd.domain.findings import Unfinished, Unfit, Whole
from expandd.domain.offsets import resolve
from expandd.domain.selection import is_pause, path_ignored_because
from expandd.domain.settings import HotFolder
from expandd.domain.settle import Look, Ripeness, Sighting, ripeness
from expandd.engine.burst_guard import BurstGuard
from expandd.engine.candidates import MOST_READY, WINDOW, Candidate, Candidates, Ready, Told
from expandd.engine.gates import Gates
from expandd.engine.pause_file import PauseFile
from expandd.engine.ports import Clock, Emit, Folders, Images
from expandd.engine.pulse import Beat
from expandd.engine.standing_orders import StandingOrders
from expandd.engine.watching import Watching

ALLOWANCE = 300.0
"""Seconds that one look at a file, or one batch of a scan, may take: shares hang, large trees are watched slowly."""

AWAY_PAUSE = 1.0
"""Seconds until a folder, or a journal, that is away is tried again."""

HELD_BACK = 5.0
"""Seconds until a file that a person has paused is looked at again."""

Reject = Callable[[HotFolder, Path, Look, Fault], Awaitable[bool]]
"""Turns a file into a failed job; False when too many are under way and it must be offered again."""


class Inbox:
    """One hot folder's inbox, from the first hint to a ready picture."""

    def __init__(
        self,
        folder: HotFolder,
        *,
        folders: Folders,
        images: Images,
        watching: Watching,
        gates: Gates,
        clock: Clock,
        emit: Emit,
        orders: StandingOrders,
        guard: BurstGuard,
        pause_file: PauseFile,
        reject: Reject,
        changed: asyncio.Event,
    ) -> None:
        self.folder = folder
        self.ready: deque[Ready] = deque()
        self._folders = folders
        self._images = images
        self._watching = watching
        self._gate = gates.inbox(folder.inbox)
        self._gates = gates
        self._clock = clock
        self._emit = emit
        self._orders = orders
        self._guard = guard
        self._pause_file = pause_file
        self._reject = reject
        self._changed = changed
        self._candidates = Candidates()
        self._told = Told()
        self._more = True
        self._ending = False
        self.beat = Beat(ALLOWANCE)
        self.started = asyncio.Event()
        """Set once it is known whether the inbox is there, and if it is, it is watched."""

    @property
    def idle(self) -> bool:
        """Whether everything that lay in the inbox has been answered."""
        return self._watching.scanned and not self._more and not self._candidates and not self.ready

    @property
    def waiting(self) -> int:
        """Files known to wait; a backlog beyond the window is not counted."""
        return len(self._candidates) + len(self.ready)

    @property
    def overfull(self) -> bool:
        """Whether more files wait than are known."""
        return self._more and self._candidates.full

    @property
    def missed(self) -> int:
        """Files that no event had announced."""
        return self._watching.missed

    @property
    def watched(self) -> bool:
        """Whether file events are used; if not, the inbox is scanned for what comes."""
        return self._watching.watched

    def end(self) -> None:
        """Stop as soon as the step under way is done."""
        self._ending = True
        self._watching.hinted.set()

    async def run(self) -> None:
        """Until cancelled, or ended."""
        while not self._ending:
            self.beat()
            try:
                await self._tick()
            except FolderAway as error:
                self.started.set()
                self._gate.away(error)
                await self._clock.sleep(AWAY_PAUSE)
            except JournalAway:
                await self._clock.sleep(AWAY_PAUSE)
            else:
                await self._clock.wait(self._watching.hinted, 0.0 if self._ending else self._pause())
        await self._watching.end()

    async def _tick(self) -> None:
        checked = await self._watching.check()
        self.started.set()
        due = self._watching.take()
        if checked or any(is_pause(relative) for relative in due.hints):
            await self._pause_file.look()
        for relative in due.hints:
            self._hint(relative)
        if due.scan or (self._more and self._candidates.low):
            await self._scan(expected=due.expected or self._more)
        now = self._clock.monotonic()
        for candidate in self._candidates.due(now):
            if not (self._gates.stopping or self._ending):
                self.beat()
                await self._look(candidate)

    def _pause(self) -> float:
        """Seconds until something is due, unless a hint comes first."""
        now = self._clock.monotonic()
        due = self._candidates.next_due()
        pauses = [self._watching.pause()]
        if due is not None and not self._gates.stopping:
            pauses.append(max(0.0, due - now))
        return min(pauses)

    def _hint(self, relative: Path) -> None:
        candidate = self._candidates.get(relative)
        if candidate is not None:
            candidate.hinted = True
        elif self._candidates.full:
            self._more = True
        elif not self._is_ready(relative):
            self._consider(relative, hinted=True)

    async def _scan(self, *, expected: bool) -> None:
        started = self._clock.monotonic()
        self._more = False
        async for batch in self._folders.scan(self.folder.inbox, recursive=self.folder.recursive):
            self.beat()
            for relative in batch:
                if self._candidates.full:
                    self._more = True
                    break
                if self._candidates.get(relative) is None and not self._is_ready(relative):
                    self._consider(relative, hinted=expected)
            if self._more:
                break
        self._watching.has_scanned(self._clock.monotonic() - started)

    def _consider(self, relative: Path, *, hinted: bool) -> None:
        why = path_ignored_because(relative)
        if why is not None:
            self._ignore(relative, why)
            return
        self._candidates.add(Candidate(relative, self._clock.monotonic(), hinted))

    def _ignore(self, relative: Path, why: str) -> None:
        self._candidates.drop(relative)
        if self._told.is_news(relative, why):
            self._emit(FileIgnored(self.folder.inbox, relative, why))

    def _is_cancelled(self, relative: Path, look: Look) -> bool:
        return self._orders.cancelled(self.folder.inbox, relative, look.ctime_ns / 1e9)

    def _is_ready(self, relative: Path) -> bool:
        return any(ready.relative == relative for ready in self.ready)

    async def _look(self, candidate: Candidate) -> None:
        path = self.folder.inbox / candidate.relative
        look = await self._folders.look(path)
        if look is None:
            await self._not_a_file(candidate, path)
            return
        now = self._clock.monotonic()
        before = candidate.sighting
        if before is None:
            await self._guard.arrived(look)
        candidate.sighting = before.updated(look, now) if before else Sighting(look, now)
        if candidate.fault is not None and not candidate.sighting.unfinished:
            candidate.fault = None
            self._candidates.set_fresh(candidate)
        candidate.due = max(now, candidate.sighting.quiet_since + self.folder.settle)
        folder = self.folder
        ripe = ripeness(candidate.sighting, now, settle=folder.settle, settle_max=folder.settle_max)
        if self._orders.held_back(folder.inbox, candidate.relative):
            candidate.due = now + HELD_BACK
        elif ripe is Ripeness.EXAMINE and self._is_cancelled(candidate.relative, look):
            await self._give_up(candidate, look, CANCELLED)
        elif ripe is Ripeness.EXAMINE:
            await self._examine(candidate, path, look)
        elif ripe is Ripeness.GIVE_UP and candidate.fault is not None:
            await self._give_up(candidate, look, candidate.fault)
        elif candidate.sighting.unfinished:
            candidate.due = now + max(self.folder.settle, 1.0)

    async def _not_a_file(self, candidate: Candidate, path: Path) -> None:
        self._candidates.drop(candidate.relative)
        kind = await self._folders.irregular(path)
        if kind == "a directory" and self.folder.recursive:
            self._watching.scan_soon(self.folder.settle)
        elif kind is not None:
            self._ignore(candidate.relative, f"it is {kind}, and only regular files are picked up")

    async def _examine(self, candidate: Candidate, path: Path, look: Look) -> None:
        if len(self.ready) >= MOST_READY:
            self._candidates.park(candidate)
            return
        try:
            finding = await self._images.examine(path)
        except Later:
            candidate.due = self._clock.monotonic() + max(self.folder.settle, 1.0)
            return
        if await self._folders.look(path) != look:
            candidate.due = self._clock.monotonic()
            return
        if not candidate.hinted:
            self._watching.miss()
        self._emit(FileSettled(self.folder.inbox, candidate.relative, missed=not candidate.hinted))
        await self._sort(candidate, look, finding)

    async def _sort(self, candidate: Candidate, look: Look, finding: Whole | Unfinished | Unfit) -> None:
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
        candidate.due = self._clock.monotonic() + max(self.folder.settle, 1.0)
        self._candidates.set_unfinished(candidate)
        if self._told.is_news(candidate.relative, finding.fault.message):
            self._emit(FileUnfinished(self.folder.inbox, candidate.relative, finding.fault.message))

    async def _make_ready(self, candidate: Candidate, look: Look, whole: Whole) -> None:
        try:
            offsets = resolve(self.folder.preset, whole.size)
        except FileFault as error:
            await self._give_up(candidate, look, error.fault)
            return
        self._candidates.drop(candidate.relative)
        self.ready.append(Ready(relative=candidate.relative, look=look, whole=whole, offsets=offsets))
        self._changed.set()

    async def _give_up(self, candidate: Candidate, look: Look, fault: Fault) -> None:
        if await self._reject(self.folder, candidate.relative, look, fault):
            self._candidates.drop(candidate.relative)
        else:
            candidate.due = self._clock.monotonic() + 1.0

    def look_again(self) -> None:
        """Scan soon: something has come back."""
        self._more = True
        self._watching.hinted.set()

    def reconsider(self) -> None:
        """Let every file settle anew: what people have ordered may have changed what is to become of it."""
        while self.ready:
            self._consider(self.ready.popleft().relative, hinted=True)
        self._make_room(WINDOW)
        self.look_again()

    def taken(self, ready: Ready) -> None:
        """A ready file is claimed, or is to settle anew: there is room for another one."""
        if self.ready and self.ready[0] is ready:
            self.ready.popleft()
        self._make_room(MOST_READY - len(self.ready))

    def _make_room(self, files: int) -> None:
        self._candidates.unpark(self._clock.monotonic(), files)
        self._watching.hinted.set()

    async def still_ready(self, ready: Ready) -> bool:
        """Whether the file is as it was when it was examined; if not, it settles anew."""
        look = await self._folders.look(self.folder.inbox / ready.relative)
        if look == ready.look:
            return True
        if look is not None:
            self._consider(ready.relative, hinted=True)
        return False
