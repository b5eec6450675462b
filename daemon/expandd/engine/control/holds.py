"""Holds and pauses that no probe lifts: set and lifted by people, guards, budgets and the calendar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from expandd.domain.commands import Hold, HoldKind
from expandd.domain.events import PauseEnded, PauseStarted
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Clock, Emit, JobStore

LOOK = 5.0
"""Seconds until a job that waits for a pause is activated again; opening the pause wakes it sooner."""


@dataclass(frozen=True, slots=True)
class Shut:
    """Why and since when a circuit breaker is shut: wall time for people, monotonic seconds for the next probe."""

    reason: PauseReason
    why: str
    since: float
    since_monotonic: float
    probe_at: float


class Cause(Enum):
    """What can shut a pause; each cause has its own pause for each folder and one for everything."""

    COMMAND = "hold"
    FILE = "file"
    BURST = "burst"
    BUDGET = "budget"
    CREDITS = "credits"


class Pause:
    """A pause, open or shut; the part that shuts it also opens it. `inbox` is None where it stops everything."""

    def __init__(self, inbox: Path | None, clock: Clock, emit: Emit, name: str = "") -> None:
        self.name = name or ("everything" if inbox is None else f"folder {printable(inbox)}")
        self.inbox = inbox
        self.shut: Shut | None = None
        self._clock = clock
        self._emit = emit

    def wait(self, beyond: float = 0.0) -> float:  # noqa: ARG002 - as a circuit breaker's; nobody passes as a probe
        """Seconds until the caller checks again; 0 when it may go ahead now."""
        return LOOK if self.shut is not None else 0.0

    def enter(self) -> None:
        """Do nothing: a pause has no probe."""

    def close(self, reason: PauseReason, why: str, since: float | None = None) -> None:
        """Shut it, `since` then (epoch seconds) when that is known better than now; say so once for each `why`."""
        if self.shut is not None and (self.shut.reason, self.shut.why) == (reason, why):
            return
        now = self._clock.monotonic()
        self.shut = Shut(reason, why, self._clock.wall() if since is None else since, now, float("inf"))
        self._emit(PauseStarted(self.name, reason, why))

    def open(self) -> None:
        if self.shut is not None:
            shut, self.shut = self.shut, None
            self._emit(PauseEnded(self.name, shut.reason, self._clock.monotonic() - shut.since_monotonic))


class Pauses:
    """All pauses; each is made when it is first asked for."""

    def __init__(self, clock: Clock, emit: Emit) -> None:
        self._clock = clock
        self._emit = emit
        self._pauses: dict[tuple[Path | None, Cause], Pause] = {}
        self._before: dict[Path, tuple[Pause, ...]] = {}

    def __iter__(self) -> Iterator[Pause]:
        return iter(tuple(self._pauses.values()))

    def at(self, inbox: Path | None, cause: Cause) -> Pause:
        key = (inbox, cause)
        if key not in self._pauses:
            self._pauses[key] = Pause(inbox, self._clock, self._emit)
        return self._pauses[key]

    def before(self, inbox: Path) -> tuple[Pause, ...]:
        """The pauses that can stop a file of this folder: its own and those of everything."""
        if inbox not in self._before:
            self._before[inbox] = tuple(self.at(where, cause) for where in (None, inbox) for cause in Cause)
        return self._before[inbox]

    def stop(self, inbox: Path) -> bool:
        """Whether any of them stops the files of this folder."""
        return any(pause.shut is not None for pause in self.before(inbox))

    def forget_all_but(self, inboxes: frozenset[Path]) -> None:
        """Forget the pauses of folders that are not served any more."""
        gone = [key for key in self._pauses if key[0] is not None and key[0] not in inboxes]
        for key in gone:
            del self._pauses[key]
        self._before = {inbox: before for inbox, before in self._before.items() if inbox in inboxes}


_PAUSED = "A person has paused this. What is paid for is still fetched and delivered."
_HELD = (
    "More files came at once than the folder's burst guard allows. Those that are not begun yet wait for a person: "
    "`expandd release` lets them go on, `expandd cancel` sends them to the error folder."
)
_PAUSES = {
    HoldKind.PAUSED: (Cause.COMMAND, PauseReason.PAUSED, _PAUSED),
    HoldKind.HELD: (Cause.BURST, PauseReason.BURST, _HELD),
}
"""The pause that a hold of each of these kinds shuts: its cause, its reason and what people are told."""


class Holds:
    """The holds in force. Only this class opens and shuts the pauses of commands and of the burst guard."""

    def __init__(self, store: JobStore, pauses: Pauses) -> None:
        self._store = store
        self._pauses = pauses
        self._served: frozenset[Path] = frozenset()
        self._paused_files: dict[Path, set[Path]] = {}
        self._holds: dict[tuple[HoldKind, Path | None, Path | None, str], Hold] = {}

    async def load(self) -> None:
        for hold in await self._store.holds():
            self._keep(hold)

    async def keep_up(self) -> None:
        """Take over the holds that other hosts have set or lifted."""
        if not await self._store.holds_changed():
            return
        now = {hold.key: hold for hold in await self._store.holds()}
        for key, hold in tuple(self._holds.items()):
            if key not in now:
                self._forget(hold)
        for hold in now.values():
            self._keep(hold)
            self._show(hold)

    def show(self, inboxes: frozenset[Path]) -> None:
        """Shut the pauses of the holds on everything and on these inboxes, which are served from now on."""
        self._served = inboxes
        for hold in self._holds.values():
            self._show(hold)

    def of(self, kind: HoldKind) -> tuple[Hold, ...]:
        return tuple(hold for hold in self._holds.values() if hold.kind is kind)

    async def set_hold(self, hold: Hold) -> None:
        await self._store.set_hold(hold)
        self._keep(hold)
        self._show(hold)

    async def lift_hold(self, hold: Hold) -> None:
        await self._store.lift_hold(hold)
        self._forget(hold)

    def _forget(self, hold: Hold) -> None:
        self._holds.pop(hold.key, None)
        if hold.kind is HoldKind.PAUSED and hold.inbox is not None and hold.relative is not None:
            self._paused_files.get(hold.inbox, set()).discard(hold.relative)
        if hold.relative is None:
            self._open(hold)

    def paused(self, inbox: Path, relative: Path) -> bool:
        """Whether this one file, its folder or everything is paused by a hold."""
        return any(self._has(HoldKind.PAUSED, *what) for what in ((None, None), (inbox, None), (inbox, relative)))

    def stops(self, job: Job) -> bool:
        """Whether a job is paused, by a hold or by what lies in its inbox."""
        return self.stops_all_of(job.folder.inbox) or self.held_back(job.folder.inbox, job.relative)

    def stops_all_of(self, inbox: Path) -> bool:
        """Whether this whole folder is paused, by a hold or by what lies in its inbox."""
        by_file = self._pauses.at(inbox, Cause.FILE).shut is not None
        return by_file or any(self._has(HoldKind.PAUSED, where, None) for where in (None, inbox))

    def paused_files(self, inbox: Path) -> Iterable[Path]:
        """The single files of this folder that are paused."""
        return self._paused_files.get(inbox, ())

    def held_back(self, inbox: Path, relative: Path) -> bool:
        """Whether this one file is paused, its folder aside."""
        return self._has(HoldKind.PAUSED, inbox, relative)

    def cancelled(self, inbox: Path, relative: Path, arrived: float) -> bool:
        """Whether a file that arrived then (epoch seconds) is to go to the error folder."""
        holds = (self._get(HoldKind.CANCELLED, inbox, None), self._get(HoldKind.CANCELLED, inbox, relative))
        return any(hold is not None and arrived <= hold.at for hold in holds)

    def released_at(self, inbox: Path) -> float:
        """The time up to which files of this folder are released, epoch seconds."""
        hold = self._get(HoldKind.RELEASED, inbox, None)
        return hold.at if hold is not None else 0.0

    def again(self, sha256: str) -> Hold | None:
        """The hold by which these bytes are to be expanded once more, if there is one."""
        return self._holds.get((HoldKind.AGAIN, None, None, sha256))

    def _keep(self, hold: Hold) -> None:
        self._holds[hold.key] = hold
        if hold.kind is HoldKind.PAUSED and hold.inbox is not None and hold.relative is not None:
            self._paused_files.setdefault(hold.inbox, set()).add(hold.relative)

    def _has(self, kind: HoldKind, inbox: Path | None, relative: Path | None) -> bool:
        return self._get(kind, inbox, relative) is not None

    def _get(self, kind: HoldKind, inbox: Path | None, relative: Path | None) -> Hold | None:
        return self._holds.get((kind, inbox, relative, ""))

    def _show(self, hold: Hold) -> None:
        served = hold.inbox is None or hold.inbox in self._served
        if hold.relative is None and served and hold.kind in _PAUSES:
            cause, reason, why = _PAUSES[hold.kind]
            self._pauses.at(hold.inbox, cause).close(reason, why, hold.at)

    def _open(self, hold: Hold) -> None:
        if hold.kind in _PAUSES:
            cause, _, _ = _PAUSES[hold.kind]
            self._pauses.at(hold.inbox, cause).open()
