"""Owns the orders that last: written down first, then gone by, also after a restart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from expandd.domain.commands import Lasting, StandingOrder
from expandd.domain.job import Job
from expandd.domain.pauses import PauseReason
from expandd.engine.control.pauses import Barriers, Cause
from expandd.engine.ports import Journal

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
