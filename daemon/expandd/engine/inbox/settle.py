"""Settles the candidates of one inbox: observes and inspects them until they are ready, rejected or held as a burst.

Each inspection is short at first; files that take longer are inspected apart, one after the other. The number of
inspections of one folder is bounded, since the decoders serve all folders.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from expandd.domain.commands import Hold, HoldKind
from expandd.domain.errors import CANCELLED, MOST_DEATHS, READER_DIES, Fault, InspectionTooLong, Later, ReaderDied
from expandd.domain.events import FileIgnored, FileSettled, FileUnfinished
from expandd.domain.image import Incomplete, Inspection, Invalid, Valid
from expandd.domain.selection import path_ignored_because
from expandd.domain.settings import HotFolder
from expandd.domain.settle import Expandable, FileStat, Observation, SettleDecision, content_decision, settle_decision
from expandd.domain.spending import Arrivals
from expandd.engine.control.holds import Holds
from expandd.engine.inbox.candidates import (
    MOST_READY,
    WINDOW,
    Announced,
    Candidate,
    Candidates,
    Inspected,
    Position,
    Ready,
)
from expandd.engine.inbox.watch import InboxWatch
from expandd.engine.ports import Clock, Emit, Folders, Images

SHORT = 2
"""Short inspections under way at once."""
LONG = 1
"""Long inspections at once, beside them."""

WAIT = 5.0
"""Seconds after which a candidate that waits for an inspection is checked in any case."""

NEVER = float("inf")


class Inspections:
    """Inspects the files of one inbox. A candidate keeps its inspection, and is due then; `wake` is called."""

    def __init__(self, candidates: Candidates, images: Images, clock: Clock, wake: Callable[[], None]) -> None:
        self._candidates = candidates
        self._images = images
        self._clock = clock
        self._wake = wake
        self._begun: dict[Path, Candidate] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._over_now: list[Candidate] = []
        self._short = _Queue(SHORT)
        self._long = _Queue(LONG)

    @property
    def begun(self) -> int:
        """How many are under way, or have found something that nobody has taken over yet."""
        self._begun = {
            relative: one
            for relative, one in self._begun.items()
            if (one.is_inspected or one.inspected is not None) and self._candidates.get(relative) is one
        }
        return len(self._begun)

    def awaits(self, position: Position) -> bool:
        """Whether a short inspection decides about a file before this position."""
        return bool(self.begun) and any(one.position < position and not one.slow for one in self._begun.values())

    def take_over(self) -> list[Candidate]:
        """The candidates that were inspected since the last call."""
        over, self._over_now = self._over_now, []
        return over

    def must_wait(self, candidate: Candidate) -> bool:
        """Let a candidate wait where no inspection is free, unless it has waited already; whether it waits."""
        queue = self._queue(candidate)
        if queue.under_way < queue.most or candidate.relative in queue.waiting:
            return False
        self._wait(candidate, queue)
        return True

    def begin(self, candidate: Candidate, path: Path, stat: FileStat) -> None:
        """Inspect the file as soon as there is a place."""
        queue = self._queue(candidate)
        if queue.under_way >= queue.most:
            self._wait(candidate, queue)
            return
        candidate.due = NEVER
        queue.under_way += 1
        queue.waiting.pop(candidate.relative, None)
        candidate.is_inspected = True
        self._begun[candidate.relative] = candidate
        task = asyncio.get_running_loop().create_task(self._inspect(candidate, path, stat))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._over(candidate, queue)

        # Also when the task is cancelled before it has begun.
        task.add_done_callback(over)

    def end(self) -> None:
        """Cancel all running inspections."""
        for task in self._tasks:
            task.cancel()

    def _queue(self, candidate: Candidate) -> _Queue:
        return self._long if candidate.slow else self._short

    async def _inspect(self, candidate: Candidate, path: Path, stat: FileStat) -> None:
        try:
            found = await self._images.inspect(path, thorough=candidate.slow)
            candidate.inspected = Inspected(stat, found)
        except Exception as error:  # noqa: BLE001, the caller of the inspection is given it
            candidate.inspected = Inspected(stat, error)

    def _wait(self, candidate: Candidate, queue: _Queue) -> None:
        queue.waiting[candidate.relative] = candidate
        candidate.due = self._clock.monotonic() + WAIT

    def _over(self, candidate: Candidate, queue: _Queue) -> None:
        candidate.is_inspected = False
        queue.under_way -= 1
        candidate.due = self._clock.monotonic()
        self._over_now.append(candidate)
        self._let_in(queue)
        self._wake()

    def _let_in(self, queue: _Queue) -> None:
        while queue.waiting:
            relative = min(queue.waiting, key=lambda waiting: queue.waiting[waiting].position)
            candidate = queue.waiting.pop(relative)
            if self._candidates.get(relative) is candidate:
                candidate.due = min(candidate.due, self._clock.monotonic())
                return


class _Queue:
    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way = 0
        self.waiting: dict[Path, Candidate] = {}


class BurstGuard:
    """Counts files by when they were put into the inbox, which is their ctime, at their first check."""

    def __init__(self, folder: HotFolder, *, commands: Holds, clock: Clock) -> None:
        self._folder = folder
        self._commands = commands
        self._clock = clock
        self._arrivals = Arrivals()

    async def arrived(self, stat: FileStat) -> None:
        """Count a file, and hold the folder when there are too many. Raises DatabaseAway."""
        burst, inbox = self._folder.burst, self._folder.inbox
        at = stat.ctime_ns / 1e9
        released = self._commands.released_at(inbox)
        if burst is None or at <= released:
            return
        self._arrivals.forget(released)
        if self._arrivals.add(at, burst):
            await self._commands.set_hold(Hold(kind=HoldKind.HELD, at=self._clock.wall(), inbox=inbox))
            # Only now: a hold that could not be stored is tried again at the next check.
            self._arrivals.clear()


HELD_BACK = 5.0
"""Seconds until a file that a person has paused is checked again."""

IsTaken = Callable[[Path, FileStat], bool]
"""Whether a job waits to take this file, so that it is no longer a candidate."""

Reject = Callable[[HotFolder, Path, FileStat, Fault], Awaitable[bool]]
"""Turns a file into a failed job; False when too many are under way and it must be offered again."""


class Settler:
    """Brings the candidates of one inbox to ready. The caller reports a claimed file by `taken`."""

    def __init__(
        self,
        folder: HotFolder,
        *,
        folders: Folders,
        images: Images,
        watching: InboxWatch,
        clock: Clock,
        emit: Emit,
        commands: Holds,
        guard: BurstGuard,
        reject: Reject,
        is_taken: IsTaken,
        changed: asyncio.Event,
    ) -> None:
        self.candidates = Candidates()
        self.ready: list[Ready] = []
        """The ready files, in order."""
        self._folder = folder
        self._folders = folders
        self._images = images
        self._watching = watching
        self._clock = clock
        self._emit = emit
        self._commands = commands
        self._guard = guard
        self._reject = reject
        self._is_taken = is_taken
        self._changed = changed
        self._inspections = Inspections(self.candidates, images, clock, watching.hinted.set)
        self._told = Announced()

    @property
    def held_back(self) -> bool:
        """Whether a person has paused each of the candidates, and none is ready."""
        inbox = self._folder.inbox
        return not self.ready and all(self._commands.held_back(inbox, one.relative) for one in self.candidates)

    @property
    def next(self) -> Ready | None:
        """The first ready file; None without one, or while the short inspection of an earlier file runs."""
        return None if not self.ready or self._inspections.awaits(self.ready[0].position) else self.ready[0]

    def known(self) -> frozenset[str]:
        """The paths of all candidates and ready files, below the inbox."""
        return frozenset(one.position[-1] for one in (*self.candidates, *self.ready))

    def knows(self, relative: str) -> bool:
        """Whether this file is a candidate or ready."""
        known = self.candidates.get(Path(relative)) is not None
        return known or any(ready.position[-1] == relative for ready in self.ready)

    def wants(self, relative: Path) -> bool:
        """Whether the file may be picked up by its name; if not, announce it."""
        why = path_ignored_because(relative, self._folder.ignore)
        if why is not None:
            self._ignore(relative, why)
        return why is None

    def consider(self, position: Position, *, hinted: bool) -> None:
        """Make a candidate of a file that may be picked up by its name."""
        candidate = Candidate(position, self._clock.monotonic(), hinted)
        if self.wants(candidate.relative):
            self.candidates.add(candidate)

    def _ignore(self, relative: Path, why: str) -> None:
        self.candidates.drop(relative)
        if self._told.is_news(relative, why):
            self._emit(FileIgnored(self._folder.inbox, relative, why))

    def _is_cancelled(self, relative: Path, stat: FileStat) -> bool:
        return self._commands.cancelled(self._folder.inbox, relative, stat.ctime_ns / 1e9)

    def reconsider(self) -> None:
        """Let every file settle anew, as a command may have changed what is to become of it."""
        ready, self.ready = self.ready, []
        for one in ready:
            self.consider(one.position, hinted=True)
        self._make_room(WINDOW)

    def taken(self, ready: Ready) -> None:
        """Note that a ready file is claimed or settles anew, which makes room for another one."""
        self.ready = [one for one in self.ready if one is not ready]
        self._make_room(MOST_READY - len(self.ready))

    def _make_room(self, files: int) -> None:
        self.candidates.unpark(self._clock.monotonic(), files)
        self._watching.hinted.set()

    async def still_ready(self, ready: Ready) -> bool:
        """Whether the file is as it was when it was inspected; if not, it settles anew."""
        stat = await self._folders.stat(self._folder.inbox / ready.relative)
        if stat == ready.stat:
            return True
        if stat is not None:
            self.consider(ready.position, hinted=True)
        return False

    def due(self, now: float) -> Iterator[Candidate]:
        """The candidates to check now, in order; between them those whose inspection ends meanwhile."""
        for candidate in self.candidates.due(now):
            for one in (*self._inspections.take_over(), candidate):
                if one.due <= self._clock.monotonic() and self.candidates.get(one.relative) is one:
                    yield one

    async def check(self, candidate: Candidate) -> None:
        """Check a candidate that is due. Raises FolderAway, DatabaseAway."""
        if candidate.is_inspected:
            candidate.due = NEVER
            return
        if self._awaits_inspection(candidate) and self._inspections.must_wait(candidate):
            return
        path = self._folder.inbox / candidate.relative
        stat = _proven_at_the_claim(candidate) or await self._folders.stat(path)
        if stat is None:
            await self._not_a_file(candidate, path)
            return
        if self._is_taken(candidate.relative, stat):
            self.candidates.drop(candidate.relative)
            return
        now = self._clock.monotonic()
        observation = await self._seen(candidate, stat, now)
        candidate.due = max(now, observation.quiet_since + self._folder.settle)
        folder = self._folder
        decision = settle_decision(observation, now, settle=folder.settle, settle_max=folder.settle_max)
        settled = decision is not SettleDecision.WAIT or candidate.fault is not None
        if settled and self._is_cancelled(candidate.relative, stat):
            await self._give_up(candidate, stat, CANCELLED)
        elif self._commands.held_back(folder.inbox, candidate.relative):
            candidate.due = now + HELD_BACK
            self.candidates.set_unfinished(candidate)
        elif decision is SettleDecision.INSPECT:
            await self._inspect(candidate, path, stat)
        elif decision is SettleDecision.GIVE_UP and candidate.fault is not None:
            await self._give_up(candidate, stat, candidate.fault)
        elif observation.unfinished:
            candidate.due = now + max(self._folder.settle, 1.0)
        else:
            self._images.warm_up()

    def _awaits_inspection(self, candidate: Candidate) -> bool:
        """Whether a candidate that is still unchanged only lacks its inspection."""
        seen = candidate.observation
        if seen is None or seen.unfinished or candidate.inspected is not None:
            return False
        return self._clock.monotonic() >= seen.quiet_since + self._folder.settle

    async def _seen(self, candidate: Candidate, stat: FileStat, now: float) -> Observation:
        """The candidate's observation, updated by this stat."""
        before = candidate.observation
        if before is None:
            await self._guard.arrived(stat)
        observation = candidate.observation = before.updated(stat, now) if before else Observation(stat, now)
        if observation is not before:
            candidate.slow, candidate.deaths, candidate.inspected = False, 0, None
        if candidate.fault is not None and not observation.unfinished:
            candidate.fault = None
            self.candidates.set_fresh(candidate)
        return observation

    def end(self) -> None:
        """Begin no more inspections."""
        self._inspections.end()

    async def _not_a_file(self, candidate: Candidate, path: Path) -> None:
        self.candidates.drop(candidate.relative)
        kind = await self._folders.irregular(path)
        if kind == "a directory" and self._folder.recursive:
            self._watching.scan_soon(self._folder.settle)
        elif kind is not None:
            self._ignore(candidate.relative, f"it is {kind}, and only regular files are picked up")

    async def _inspect(self, candidate: Candidate, path: Path, stat: FileStat) -> None:
        inspected, candidate.inspected = candidate.inspected, None
        if inspected is None or inspected.stat != stat:
            if await self._is_stuck(candidate):
                return
            if len(self.ready) + self._inspections.begun >= MOST_READY:
                self.candidates.park(candidate)
            else:
                self._inspections.begin(candidate, path, stat)
            return
        self._make_room(1)
        # Any inspection lets the files after it be claimed now.
        self._changed.set()
        if isinstance(inspected.found, InspectionTooLong):
            candidate.slow = True
            self._inspections.begin(candidate, path, stat)
        elif isinstance(inspected.found, ReaderDied):
            await self._reader_died(candidate, stat)
        elif isinstance(inspected.found, Later):
            self._look_later(candidate)
        elif isinstance(inspected.found, Exception):
            raise inspected.found
        else:
            await self._has_settled(candidate, stat, inspected.found)

    def _look_later(self, candidate: Candidate) -> None:
        candidate.due = self._clock.monotonic() + max(self._folder.settle, 1.0)

    async def _reader_died(self, candidate: Candidate, stat: FileStat) -> None:
        candidate.deaths += 1
        if candidate.deaths >= MOST_DEATHS:
            await self._give_up(candidate, stat, READER_DIES)
        else:
            self._look_later(candidate)

    async def _has_settled(self, candidate: Candidate, stat: FileStat, inspection: Inspection) -> None:
        if not candidate.hinted:
            self._watching.miss()
        self._emit(FileSettled(self._folder.inbox, candidate.relative, missed=not candidate.hinted))
        await self._sort(candidate, stat, inspection)

    async def _is_stuck(self, candidate: Candidate) -> bool:
        """Whether its subfolder does not let it be taken: such files wait, and hold up no others."""
        if candidate.relative.parent == Path():
            return False
        why = await self._folders.cannot_take_because(self._folder.inbox, candidate.relative)
        if why is None:
            return False
        candidate.due = self._clock.monotonic() + max(self._folder.settle, HELD_BACK)
        self.candidates.set_unfinished(candidate)
        if self._told.is_news(candidate.relative, why):
            self._emit(FileUnfinished(self._folder.inbox, candidate.relative, why))
        return True

    async def _sort(self, candidate: Candidate, stat: FileStat, inspection: Inspection) -> None:
        decision = content_decision(inspection, self._folder)
        if isinstance(decision, Incomplete):
            self._wait_for_the_rest(candidate, stat, decision)
        elif isinstance(decision, Invalid):
            await self._give_up(candidate, stat, decision.fault)
        else:
            self._make_ready(candidate, stat, decision)

    def _wait_for_the_rest(self, candidate: Candidate, stat: FileStat, inspection: Incomplete) -> None:
        assert candidate.observation is not None
        candidate.observation = Observation(
            stat, candidate.observation.quiet_since, unfinished=inspection.fault.message
        )
        candidate.fault = inspection.fault
        candidate.due = self._clock.monotonic() + max(self._folder.settle, 1.0)
        self.candidates.set_unfinished(candidate)
        if self._told.is_news(candidate.relative, inspection.fault.message):
            self._emit(FileUnfinished(self._folder.inbox, candidate.relative, inspection.fault.message))

    def _make_ready(self, candidate: Candidate, stat: FileStat, found: Expandable) -> None:
        self.candidates.drop(candidate.relative)
        ready = Ready(position=candidate.position, stat=stat, whole=found.image, offsets=found.offsets)
        insort(self.ready, ready, key=lambda one: one.position)

    async def _give_up(self, candidate: Candidate, stat: FileStat, fault: Fault) -> None:
        if await self._reject(self._folder, candidate.relative, stat, fault):
            self.candidates.drop(candidate.relative)
        else:
            candidate.due = self._clock.monotonic() + 1.0


def _proven_at_the_claim(candidate: Candidate) -> FileStat | None:
    """The stat of a file when it was found whole; the claim checks whether it has changed."""
    inspected = candidate.inspected
    return inspected.stat if inspected is not None and isinstance(inspected.found, Valid) else None
