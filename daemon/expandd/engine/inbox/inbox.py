"""One inbox: makes candidates from hints and scans, and checks each candidate when it is due."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from expandd.domain.errors import DatabaseAway, FolderAway
from expandd.domain.events import BugFound
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.domain.selection import is_pause
from expandd.domain.settings import HotFolder
from expandd.domain.settle import Found, InboxState
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.inbox.candidates import WINDOW, Backlog, Candidate, Ready
from expandd.engine.inbox.settle import Settler
from expandd.engine.inbox.watch import InboxWatch, PauseFile
from expandd.engine.job.work_folder import Presence
from expandd.engine.ports import Clock, Emit, Folders

ALLOWANCE = 300.0
"""Seconds that one check of a file, or one batch of a scan, may take: shares hang, watching large trees is slow."""

AWAY_WAIT = 1.0
"""Seconds until a folder, or a job database, that is away is tried again."""

STUCK_WAIT = 60.0
"""Seconds until a work folder that could not be fully recovered is compared again."""

LONGEST_SCAN = 3.0
"""Seconds after which a scan with enough files is interrupted, so that the work on them can begin."""

ENOUGH = 2 * WINDOW
"""Files that are enough for a while."""

LookAfter = Callable[[HotFolder], Awaitable[bool]]
"""Compares the work folder with the jobs and corrects differences; whether all could be corrected."""


BAFFLED = 60.0
"""Seconds until a file is checked again after an unforeseen error."""


class Emptied:
    """Removes each subfolder whose files are all over, once it has been empty and unchanged for `settle`."""

    def __init__(self, folder: HotFolder, folders: Folders, clock: Clock, in_progress: Callable[[Path], bool]) -> None:
        self._folder = folder
        self._folders = folders
        self._clock = clock
        self._in_progress = in_progress
        self._due: dict[Path, float] = {}
        self._changed: dict[Path, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._due)

    @property
    def next_due(self) -> float | None:
        return min(self._due.values(), default=None)

    def add(self, subfolder: Path) -> None:
        """Watch a subfolder of which a file is over, unless other files of it are in progress."""
        if self._folder.recursive and subfolder != Path() and not self._in_progress(subfolder):
            self._due.setdefault(subfolder, self._clock.monotonic())

    async def check(self) -> None:
        """Check the subfolders that are due. Raises FolderAway."""
        now = self._clock.monotonic()
        for subfolder in [one for one, due in self._due.items() if due <= now]:
            path = self._folder.inbox / subfolder
            before = self._changed.get(subfolder)
            changed = None if self._in_progress(subfolder) else await self._folders.emptied(path)
            if changed is not None and changed != before:
                self._changed[subfolder] = changed
                self._due[subfolder] = now + self._folder.settle
                continue
            del self._due[subfolder]
            self._changed.pop(subfolder, None)
            if changed is not None and await self._folders.remove_emptied(path, changed):
                self.add(subfolder.parent)


class Inbox:
    """One hot folder's inbox, from the first hint to a ready image."""

    def __init__(
        self,
        folder: HotFolder,
        *,
        folders: Folders,
        watching: InboxWatch,
        settling: Settler,
        breakers: CircuitBreakers,
        clock: Clock,
        look_after: LookAfter,
        presence: Presence,
        pause_file: PauseFile,
        emptied: Emptied,
        emit: Emit,
    ) -> None:
        self.folder = folder
        self._folders = folders
        self.watching = watching
        self._settler = settling
        self._candidates = settling.candidates
        self._breaker = breakers.inbox(folder.inbox)
        self._breakers = breakers
        self._clock = clock
        self._pause_file = pause_file
        self._emptied = emptied
        self._look_after = look_after
        self._presence = presence
        self._looked_after: tuple[tuple[int, int], ...] = ()
        self._look_after_at = float("inf")
        self._emit = emit
        self._troubled: set[Path] = set()
        self._backlog = Backlog()
        self._hints = itertools.count()
        self._scanned_at = 0.0
        self._more = True
        self._ending = False
        self.heartbeat = Heartbeat(ALLOWANCE)
        self.started = asyncio.Event()
        """Set once the inbox is watched, or known to be away."""

    @property
    def ready(self) -> Sequence[Ready]:
        """The settled images, in order."""
        return self._settler.ready

    @property
    def next(self) -> Ready | None:
        """The settled image that may be claimed now."""
        return self._settler.next

    @property
    def idle(self) -> bool:
        """Whether each file of the inbox is done or in error."""
        left = self._more or self._backlog or self._candidates or self.ready or self._emptied
        return self.watching.scanned and not left

    @property
    def held_back(self) -> bool:
        """Whether each known waiting file is paused by a command about it."""
        left = self._more or self._backlog or self._emptied
        return self._settler.held_back and not left

    @property
    def is_baffled(self) -> bool:
        """Whether only files are left that cannot be checked."""
        left = [candidate.relative for candidate in self._candidates]
        waits = self._more or self._backlog or self.ready
        return bool(left) and not waits and self._troubled.issuperset(left)

    @property
    def waiting(self) -> int:
        """The known waiting files; of a long backlog only the first."""
        return len(self._backlog) + len(self._candidates) + len(self.ready)

    @property
    def unfinished(self) -> int:
        """The waiting files that are not whole, are paused, or cannot be taken for another reason."""
        return self._candidates.unfinished

    @property
    def overfull(self) -> bool:
        """Whether more files wait than are known."""
        return self._more and bool(self._backlog)

    def end(self) -> None:
        """Stop as soon as the running step is done."""
        self._ending = True
        self.watching.hinted.set()

    async def look_for_pause(self) -> None:
        """Check whether a file in the inbox pauses it, before any work on it goes on.

        An inbox that is known to be away is checked when it is back.
        """
        if self._breaker.shut is not None:
            return
        try:
            await self._pause_file.check()
        except FolderAway as error:
            self._breaker.away(error)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - at the start one folder must not keep the others back
            self._emit(BugFound(f"the check of {printable(self.folder.inbox)}", error))
            self._breaker.away(
                FolderAway(PauseReason.INBOX_UNAVAILABLE, "It could not be looked into; that is tried again by itself.")
            )

    async def run(self) -> None:
        """Until cancelled, or ended."""
        try:
            await self._run()
        finally:
            self._settler.end()

    async def _run(self) -> None:
        while not self._ending:
            self.heartbeat()
            try:
                await self._tick()
            except FolderAway as error:
                self.started.set()
                self._breaker.away(error)
                await self._clock.sleep(AWAY_WAIT)
            except DatabaseAway:
                await self._clock.sleep(AWAY_WAIT)
            else:
                await self._clock.wait(self.watching.hinted, 0.0 if self._ending else self._pause())
        self._presence.away(self.folder.inbox)
        await self.watching.end()

    async def _tick(self) -> None:
        try:
            found = await self.watching.check()
        except FolderAway:
            self._presence.away(self.folder.inbox)
            self._looked_after = ()
            raise
        self.started.set()
        if found is not None:
            await self._recover(found)
        due = self.watching.take()
        if pauses := [relative for relative in due.hints if is_pause(relative)]:
            await self._pause_file.check(pauses)
        elif found is not None:
            await self._pause_file.found(found.marker)
        for relative in due.hints:
            self._hint(relative)
        if self._more and len(self._backlog) >= WINDOW:
            # Files that a scan finds now would have to stay on the disk all the same.
            if due.scan:
                self.watching.has_scanned(0.0)
        elif due.scan or self._more:
            await self._scan(expected=due.expected or self._more)
        self._promote()
        await self._look_at_due()
        await self._emptied.check()
        if found is not None:
            # Only now: what went away with the inbox does not go on before it is known that nothing pauses it, and an
            # inbox that is there but cannot be scanned does not seem to come back at each check.
            self._breaker.passed()

    def _promote(self) -> None:
        """Make candidates of the first files in line, as long as there is room in the window."""
        while self._backlog and not self._candidates.full:
            position, hinted = self._backlog.pop()
            if not self._settler.knows(position[-1]):
                self._settler.consider(position, hinted=hinted)

    async def _look_at_due(self) -> None:
        for candidate in self._settler.due(self._clock.monotonic()):
            if not (self._breakers.stopping or self._ending):
                self.heartbeat()
                await self._check(candidate)

    async def _check(self, candidate: Candidate) -> None:
        """Check one file. An unforeseen error delays this file alone."""
        try:
            await self._settler.check(candidate)
            self._troubled.discard(candidate.relative)
        except FolderAway as error:
            if not error.may_be_file:
                raise
            # The folder is fine, so this file alone is at fault.
            await self._folders.prove(self.folder.inbox, 0)
            self._troubles(candidate)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - one file's bug must not stop its folder
            self._emit(BugFound(f"the check of {printable(self.folder.inbox / candidate.relative)}", error))
            self._troubles(candidate)

    def _troubles(self, candidate: Candidate) -> None:
        candidate.due = self._clock.monotonic() + BAFFLED
        self._candidates.set_unfinished(candidate)
        self._troubled = {one.relative for one in self._candidates if one.relative in self._troubled}
        self._troubled.add(candidate.relative)

    async def _recover(self, found: InboxState) -> None:
        """Compare the work folder with the jobs whenever it, or the inbox, is another directory than before."""
        now, is_now = self._clock.monotonic(), (found.identity, found.work)
        if is_now != self._looked_after:
            self._presence.away(self.folder.inbox)
        elif now < self._look_after_at:
            self._presence.here(self.folder.inbox)
            return
        all_right = await self._look_after(self.folder)
        self._looked_after = is_now
        self._look_after_at = float("inf") if all_right else now + STUCK_WAIT
        self._presence.here(self.folder.inbox)

    def _pause(self) -> float:
        """Seconds until something is due, unless a hint comes first."""
        now = self._clock.monotonic()
        due = self._candidates.next_due()
        pauses = [self.watching.pause()]
        if self._emptied.next_due is not None:
            pauses.append(max(0.0, self._emptied.next_due - now))
        if due is not None and not self._breakers.stopping:
            pauses.append(max(0.0, due - now))
        return min(pauses)

    def _hint(self, relative: Path) -> None:
        candidate = self._candidates.get(relative)
        if candidate is not None:
            candidate.hinted = True
            # It may have been closed just now: the settle time counts from here, not from the next check.
            candidate.due = min(candidate.due, self._clock.monotonic())
        elif not self._backlog.hint(str(relative)):
            self._wait(Found(next(self._hints), str(relative)), self._clock.monotonic(), hinted=True)

    async def _scan(self, *, expected: bool) -> None:
        started = self._clock.monotonic()
        # Files that were left on the disk came no later than those found with them.
        self._scanned_at = self._scanned_at if self._backlog.cut else started
        self._more = self._backlog.cut = False
        known = self._settler.known()
        async for batch in self._folders.scan(self.folder.inbox, recursive=self.folder.recursive):
            self.heartbeat()
            if pauses := [Path(found.relative) for found in batch if is_pause(found.relative)]:
                await self._pause_file.check(pauses)
            for found in batch:
                if found.relative not in known:
                    self._wait(found, self._scanned_at, hinted=expected)
            if self._clock.monotonic() >= started + LONGEST_SCAN and len(self._backlog) >= ENOUGH:
                self._backlog.cut = True
                break
            await self._look_at_due()
        self._more = self._backlog.cut
        self.watching.has_scanned(self._clock.monotonic() - started)

    def _wait(self, found: Found, arrived: float, *, hinted: bool) -> None:
        """Put a file in line, unless it is known or never picked up."""
        position = (arrived, found.mtime_ns, found.relative)
        if (
            self._backlog.takes(position)
            and not self._settler.knows(found.relative)
            and self._settler.wants(Path(found.relative))
        ):
            self._backlog.put(position, hinted=hinted)
        self._more |= self._backlog.cut

    def is_over(self, relative: Path) -> None:
        """Note that a file of this inbox is over: its subfolder may be empty now."""
        self._emptied.add(relative.parent)
        if self._emptied:
            self.watching.hinted.set()

    def look_again(self) -> None:
        """Scan soon, as a file has come back."""
        self._more = True
        self.watching.hinted.set()

    def reconsider(self) -> None:
        """Let every file settle anew, as a command may have changed what is to become of it."""
        self._settler.reconsider()
        self.look_again()

    def taken(self, ready: Ready) -> None:
        """Note that a ready file is claimed or settles anew, which makes room for another one."""
        self._settler.taken(ready)

    def put_back(self, ready: Ready) -> None:
        """Note that a ready file could not be claimed: it settles anew, after a while."""
        self._settler.taken(ready)
        again = Candidate(ready.position, self._clock.monotonic() + BAFFLED, hinted=True)
        self._candidates.set_unfinished(again)

    async def still_ready(self, ready: Ready) -> bool:
        """Whether the file is as it was when it was inspected; if not, it settles anew."""
        return await self._settler.still_ready(ready)
