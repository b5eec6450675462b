"""The candidates of one inbox: files seen but not yet claimed, at most a window of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.errors import Fault
from expandd.domain.image import Finding, Whole
from expandd.domain.offsets import Offsets
from expandd.domain.settle import FileStat, Observation

WINDOW = 256
"""Candidates of one inbox that are watched settling at once; the rest of a backlog stays on disk, unread."""

MOST_UNFINISHED = 4096
"""Unfinished files remembered beside the window, so that they never hold up the finished ones behind them."""

MOST_READY = 16
"""Examined files that wait for a slot; examining more of a backlog would only make what is known grow old."""

MOST_HINTS = 1024
"""Hints kept between two looks; more of them mean: scan."""


@dataclass(slots=True)
class Candidate:
    """A file that may become a job; `due` is when to look at it next, monotonic seconds."""

    relative: Path
    due: float
    hinted: bool
    observation: Observation | None = None
    fault: Fault | None = None
    looking: bool = False
    """Whether somebody looks into it just now."""
    slow: bool = False
    """Whether that takes longer than others should wait."""
    deaths: int = 0
    """How often its reader ended without an answer."""
    examined: Examined | None = None
    """What the last look has found, until it is heeded."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a look into a file has found, and the file as it was then."""

    look: FileStat
    found: Finding | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A settled, whole image with its offsets, as it was when it was examined."""

    relative: Path
    look: FileStat
    whole: Whole
    offsets: Offsets


class Candidates:
    """The window of one inbox."""

    def __init__(self) -> None:
        self._fresh: dict[Path, Candidate] = {}
        self._unfinished: dict[Path, Candidate] = {}
        self._parked: OrderedDict[Path, Candidate] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._unfinished)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._all())

    @property
    def full(self) -> bool:
        return len(self._fresh) >= WINDOW or len(self._unfinished) >= MOST_UNFINISHED

    @property
    def low(self) -> bool:
        return len(self._fresh) <= WINDOW // 2 and len(self._unfinished) < MOST_UNFINISHED

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
        """Look at it only once there is room for another ready file."""
        candidate.due = float("inf")
        self._parked[candidate.relative] = candidate

    def unpark(self, now: float, most: int) -> None:
        """There is room for so many more."""
        while self._parked and most > 0:
            _, candidate = self._parked.popitem(last=False)
            candidate.due = min(candidate.due, now)
            most -= 1

    def due(self, now: float) -> list[Candidate]:
        """Those to look at now, longest due first."""
        return sorted((one for one in self._all() if one.due <= now), key=lambda one: one.due)

    def next_due(self) -> float | None:
        return min((one.due for one in self._all()), default=None)

    def _all(self) -> Iterable[Candidate]:
        yield from self._fresh.values()
        yield from self._unfinished.values()


class Hints:
    """What a watcher's thread leaves for the loop: a bounded set, and one wake-up however many hints come."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._paths: set[Path] = set()
        self._overflow = False

    def put(self, path: Path) -> None:
        """From any thread."""
        with self._lock:
            first = not self._paths and not self._overflow
            if len(self._paths) < MOST_HINTS:
                self._paths.add(path)
            else:
                self._overflow = True
        if first:
            self._wake()

    def take(self) -> tuple[set[Path], bool]:
        """The paths since the last take, and whether there were more than could be kept."""
        with self._lock:
            paths, self._paths = self._paths, set()
            overflow, self._overflow = self._overflow, False
        return paths, overflow


class Told:
    """The last things that were said about names, so that each is said once and memory stays flat."""

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
