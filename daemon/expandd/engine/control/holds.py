"""Holds and pauses that no probe lifts: set and lifted by people, guards, budgets and the calendar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from expandd.domain.commands import Lasting, StandingOrder
from expandd.domain.events import GateOpened, GateShut
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Clock, Emit, Journal

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


_PAUSED = "A person has paused this. What is paid for is still fetched and delivered."
_HELD = (
    "More files came at once than the folder's burst guard allows. Those that are not begun yet wait for a person: "
    "`expandd release` lets them go on, `expandd cancel` sends them to the error folder."
)


class StandingOrders:
    """What stands now. The barriers of pauses and bursts are shut and opened here and nowhere else."""

    def __init__(self, journal: Journal, barriers: Barriers) -> None:
        self._journal = journal
        self._barriers = barriers
        self._served: frozenset[Path] = frozenset()
        self._paused_files: dict[Path, set[Path]] = {}
        self._standing: dict[tuple[Lasting, Path | None, Path | None, str], StandingOrder] = {}

    async def load(self) -> None:
        for order in await self._journal.standing_orders():
            self._keep(order)

    def show(self, inboxes: frozenset[Path]) -> None:
        """Shut the barriers of what stands for everything and for these, the ones that are served from now on."""
        self._served = inboxes
        for order in self._standing.values():
            self._show(order)

    def of(self, lasting: Lasting) -> tuple[StandingOrder, ...]:
        return tuple(order for order in self._standing.values() if order.lasting is lasting)

    async def stand(self, order: StandingOrder) -> None:
        await self._journal.stand(order)
        self._keep(order)
        self._show(order)

    async def lift(self, order: StandingOrder) -> None:
        await self._journal.lift(order)
        self._standing.pop(order.key, None)
        if order.lasting is Lasting.PAUSED and order.inbox is not None and order.relative is not None:
            self._paused_files.get(order.inbox, set()).discard(order.relative)
        if order.relative is None:
            self._open(order)

    def paused(self, inbox: Path, relative: Path) -> bool:
        """Whether this one file, its folder or everything is paused by an order."""
        return any(self._has(Lasting.PAUSED, *what) for what in ((None, None), (inbox, None), (inbox, relative)))

    def stops(self, job: Job) -> bool:
        """Whether a job is paused, by an order or by what lies in its inbox."""
        return self.stops_all_of(job.place.inbox) or self.held_back(job.place.inbox, job.relative)

    def stops_all_of(self, inbox: Path) -> bool:
        """Whether this whole folder is paused, by an order or by what lies in its inbox."""
        by_file = self._barriers.at(inbox, Cause.FILE).shut is not None
        return by_file or any(self._has(Lasting.PAUSED, where, None) for where in (None, inbox))

    def paused_files(self, inbox: Path) -> Iterable[Path]:
        """The single files of this folder that are paused."""
        return self._paused_files.get(inbox, ())

    def held_back(self, inbox: Path, relative: Path) -> bool:
        """Whether this one file is paused, its folder aside."""
        return self._has(Lasting.PAUSED, inbox, relative)

    def cancelled(self, inbox: Path, relative: Path, arrived: float) -> bool:
        """Whether a file that arrived then (epoch seconds) is to go to the error folder."""
        orders = (self._get(Lasting.CANCELLED, inbox, None), self._get(Lasting.CANCELLED, inbox, relative))
        return any(order is not None and arrived <= order.at for order in orders)

    def released_at(self, inbox: Path) -> float:
        """Until when files of this folder have been released, epoch seconds."""
        order = self._get(Lasting.RELEASED, inbox, None)
        return order.at if order is not None else 0.0

    def again(self, sha256: str) -> StandingOrder | None:
        """The order to expand these bytes once more."""
        return self._standing.get((Lasting.AGAIN, None, None, sha256))

    def _keep(self, order: StandingOrder) -> None:
        self._standing[order.key] = order
        if order.lasting is Lasting.PAUSED and order.inbox is not None and order.relative is not None:
            self._paused_files.setdefault(order.inbox, set()).add(order.relative)

    def _has(self, lasting: Lasting, inbox: Path | None, relative: Path | None) -> bool:
        return self._get(lasting, inbox, relative) is not None

    def _get(self, lasting: Lasting, inbox: Path | None, relative: Path | None) -> StandingOrder | None:
        return self._standing.get((lasting, inbox, relative, ""))

    def _show(self, order: StandingOrder) -> None:
        if order.relative is not None or not (order.inbox is None or order.inbox in self._served):
            return
        if order.lasting is Lasting.PAUSED:
            self._barriers.at(order.inbox, Cause.ORDER).close(PauseReason.PAUSED, _PAUSED, order.at)
        elif order.lasting is Lasting.HELD:
            self._barriers.at(order.inbox, Cause.BURST).close(PauseReason.BURST, _HELD, order.at)

    def _open(self, order: StandingOrder) -> None:
        cause = {Lasting.PAUSED: Cause.ORDER, Lasting.HELD: Cause.BURST}.get(order.lasting)
        if cause is not None:
            self._barriers.at(order.inbox, cause).open()
