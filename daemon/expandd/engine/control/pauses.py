"""Owns the gates that no probe opens: they are shut and opened by orders, guards, budgets and the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from expandd.domain.events import GateOpened, GateShut
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Clock, Emit

LOOK = 5.0
"""Seconds until what waits at a barrier looks again; whatever opens one wakes it sooner."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Why and since when a gate is shut: wall time for people, monotonic seconds for the next probe."""

    reason: PauseReason
    why: str
    since: float
    since_monotonic: float
    probe_at: float


class Cause(Enum):
    """What can shut a barrier; each has one of its own for each folder, and one for all."""

    ORDER = "order"
    FILE = "file"
    BURST = "burst"
    BUDGET = "budget"
    CREDITS = "credits"


class Barrier:
    """Open, or shut until whoever shut it opens it again. `inbox` is None where it stands before everything."""

    def __init__(self, inbox: Path | None, cause: Cause, clock: Clock, emit: Emit) -> None:
        self.name = "everything" if inbox is None else f"folder {printable(inbox)}"
        self.inbox = inbox
        self.cause = cause
        self.shut: Shut | None = None
        self._clock = clock
        self._emit = emit

    def wait(self, beyond: float = 0.0) -> float:  # noqa: ARG002 - as a gate's; nobody passes as a probe
        """Seconds until the caller looks again; 0 when it may go ahead now."""
        return LOOK if self.shut is not None else 0.0

    def enter(self) -> None:
        """Nobody passes as a probe."""

    def close(self, reason: PauseReason, why: str, since: float | None = None) -> None:
        """Shut it, `since` then (epoch seconds) when that is known better than now; say so once for each `why`."""
        if self.shut is not None and (self.shut.reason, self.shut.why) == (reason, why):
            return
        now = self._clock.monotonic()
        self.shut = Shut(reason, why, self._clock.wall() if since is None else since, now, float("inf"))
        self._emit(GateShut(self.name, reason, why))

    def open(self) -> None:
        if self.shut is not None:
            shut, self.shut = self.shut, None
            self._emit(GateOpened(self.name, shut.reason, self._clock.monotonic() - shut.since_monotonic))


class Barriers:
    """All of them, made when they are first asked for."""

    def __init__(self, clock: Clock, emit: Emit) -> None:
        self._clock = clock
        self._emit = emit
        self._barriers: dict[tuple[Path | None, Cause], Barrier] = {}
        self._before: dict[Path, tuple[Barrier, ...]] = {}

    def __iter__(self) -> Iterator[Barrier]:
        return iter(tuple(self._barriers.values()))

    def at(self, inbox: Path | None, cause: Cause) -> Barrier:
        key = (inbox, cause)
        if key not in self._barriers:
            self._barriers[key] = Barrier(inbox, cause, self._clock, self._emit)
        return self._barriers[key]

    def before(self, inbox: Path) -> tuple[Barrier, ...]:
        """Those that stand before a file of this folder: its own and everybody's."""
        if inbox not in self._before:
            self._before[inbox] = tuple(self.at(where, cause) for where in (None, inbox) for cause in Cause)
        return self._before[inbox]

    def stop(self, inbox: Path) -> bool:
        """Whether any of them stops the files of this folder."""
        return any(barrier.shut is not None for barrier in self.before(inbox))

    def leave(self, inboxes: frozenset[Path]) -> None:
        """Forget the barriers of folders that are not served any more."""
        gone = [key for key in self._barriers if key[0] is not None and key[0] not in inboxes]
        for key in gone:
            del self._barriers[key]
        self._before = {inbox: before for inbox, before in self._before.items() if inbox in inboxes}
