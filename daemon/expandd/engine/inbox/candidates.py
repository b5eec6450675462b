"""The candidates of one inbox: files seen but not yet claimed, at most a window of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from expandd.domain.errors import Fault
from expandd.domain.image import Inspection, Valid
from expandd.domain.offsets import Offsets
from expandd.domain.settle import FileStat, Observation

WINDOW = 256
"""Candidates of one inbox that settle at once; of the rest of a backlog at most the position is known."""

MOST_IN_TURN = 10_000
"""Files of a backlog that are kept in exact order; the files behind them follow in batches of so many."""

MOST_UNFINISHED = 4096
"""Unfinished files remembered beside the window, so that they never hold up the finished ones behind them."""

MOST_READY = 16
"""Inspected files that wait for a slot; inspections of more files would only become out of date."""

MOST_HINTS = 1024
"""Hints kept between two rounds; if there are more, the inbox is scanned."""


Position = tuple[float, int, str]
"""The sort key of files in line: when a file was first seen, monotonic seconds; then, for files of one scan, the mtime,
and for hints their number; then the path below the inbox."""


@dataclass(slots=True)
class Candidate:
    """A file that may become a job; `due` is when to check it next, monotonic seconds."""

    position: Position
    due: float
    hinted: bool
    observation: Observation | None = None
    fault: Fault | None = None
    is_inspected: bool = False
    """Whether it is being inspected."""
    slow: bool = False
    """Whether its inspection takes longer than others should wait."""
    deaths: int = 0
    """How often its decoder ended without an answer."""
    inspected: Inspected | None = None
    """What the last inspection has found, until it is taken over."""

    relative: Path = field(init=False)

    def __post_init__(self) -> None:
        self.relative = Path(self.position[-1])


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the inspection of a file has found, and the file as it was then."""

    stat: FileStat
    found: Inspection | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A settled, whole image with its offsets, as it was when it was inspected."""

    position: Position
    stat: FileStat
    whole: Valid
    offsets: Offsets

    @property
    def relative(self) -> Path:
        return Path(self.position[-1])


class Backlog:
    """Files that are not candidates yet, unread; if there are too many, those that come first."""

    def __init__(self) -> None:
        self._positions: list[Position] = []
        self._hinted: dict[str, bool] = {}
        self._end: Position | None = None
        self._sorted = True
        self.cut = False
        """Whether there were more files than it could hold; reset from outside."""

    def __len__(self) -> int:
        return len(self._positions)

    def hint(self, relative: str) -> bool:
        """Whether it has this file, which then counts as hinted."""
        if relative in self._hinted:
            self._hinted[relative] = True
        return relative in self._hinted

    def takes(self, position: Position) -> bool:
        """Whether there is room for this file, and it is not here yet."""
        if position[-1] in self._hinted:
            return False
        self.cut |= self._end is not None and position >= self._end
        return self._end is None or position < self._end

    def put(self, position: Position, *, hinted: bool) -> None:
        self._positions.append(position)
        self._hinted[position[-1]] = hinted
        self._sorted = False
        # Sorting now and then costs less than keeping the order with each file.
        if len(self._positions) >= 2 * MOST_IN_TURN:
            self._sort()
            over, self._positions = self._positions[:-MOST_IN_TURN], self._positions[-MOST_IN_TURN:]
            for each in over:
                del self._hinted[each[-1]]
            self._end, self.cut = self._positions[0], True

    def pop(self) -> tuple[Position, bool]:
        """The first file in line, and whether it was hinted."""
        self._sort()
        position = self._positions.pop()
        if len(self._positions) < MOST_IN_TURN:
            self._end = None
        return position, self._hinted.pop(position[-1])

    def _sort(self) -> None:
        if not self._sorted:
            self._positions.sort(reverse=True)
            self._sorted = True


class Candidates:
    """The window of one inbox."""

    def __init__(self) -> None:
        self._fresh: dict[Path, Candidate] = {}
        self._unfinished: dict[Path, Candidate] = {}
        self._parked: dict[Path, Candidate] = {}

    def __len__(self) -> int:
        return len(self._fresh) + len(self._unfinished)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._all())

    @property
    def unfinished(self) -> int:
        """Candidates that are not whole, or cannot be taken for another reason."""
        return len(self._unfinished)

    @property
    def full(self) -> bool:
        return len(self._fresh) >= WINDOW or len(self._unfinished) >= MOST_UNFINISHED

    def get(self, relative: Path) -> Candidate | None:
        return self._fresh.get(relative) or self._unfinished.get(relative)

    def add(self, candidate: Candidate) -> None:
        self._fresh[candidate.relative] = candidate

    def drop(self, relative: Path) -> None:
        self._fresh.pop(relative, None)
        self._unfinished.pop(relative, None)
        self._parked.pop(relative, None)

    def set_unfinished(self, candidate: Candidate) -> None:
        self._fresh.pop(candidate.relative, None)
        self._unfinished[candidate.relative] = candidate

    def set_fresh(self, candidate: Candidate) -> None:
        self._unfinished.pop(candidate.relative, None)
        self._fresh[candidate.relative] = candidate

    def park(self, candidate: Candidate) -> None:
        """Check the candidate only once there is room for another ready file."""
        candidate.due = float("inf")
        self._parked[candidate.relative] = candidate

    def unpark(self, now: float, most: int) -> None:
        """Let so many more candidates be checked, as there is room for them."""
        while self._parked and most > 0:
            candidate = self._parked.pop(min(self._parked, key=lambda relative: self._parked[relative].position))
            candidate.due = min(candidate.due, now)
            most -= 1

    def due(self, now: float) -> list[Candidate]:
        """Those to check now, in their order."""
        return sorted((one for one in self._all() if one.due <= now), key=lambda one: one.position)

    def next_due(self) -> float | None:
        return min((one.due for one in self._all()), default=None)

    def _all(self) -> Iterable[Candidate]:
        yield from self._fresh.values()
        yield from self._unfinished.values()


class Hints:
    """Hints from the watcher's thread to the loop: a bounded number of paths in order, and one wake-up for all."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: dict[Path, None] = {}
        self._overflow = False

    def put(self, path: Path) -> None:
        """From any thread."""
        with self._lock:
            first = not self._paths and not self._overflow
            if len(self._paths) < MOST_HINTS:
                self._paths[path] = None
            else:
                self._overflow = True
        if first:
            self._wake()

    def take(self) -> tuple[Collection[Path], bool]:
        """The paths since the last call, oldest first, and whether there were more than could be kept."""
        with self._lock:
            paths, self._paths = self._paths, {}
            overflow, self._overflow = self._overflow, False
        return paths, overflow


class Announced:
    """The latest announcements about names, so that each is made once and memory stays flat."""

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._known: OrderedDict[Path, str] = OrderedDict()

    def is_news(self, relative: Path, why: str) -> bool:
        if self._known.get(relative) == why:
            return False
        self._known[relative] = why
        self._known.move_to_end(relative)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return True
