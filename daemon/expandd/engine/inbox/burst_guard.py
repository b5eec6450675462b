"""Owns the burst guard of one inbox: files that come by the hundred are held until a person has looked."""

from __future__ import annotations

from expandd.domain.burst import Arrivals
from expandd.domain.commands import Lasting, StandingOrder
from expandd.domain.settings import HotFolder
from expandd.domain.settle import Look
from expandd.engine.control.holds import StandingOrders
from expandd.engine.ports import Clock


class BurstGuard:
    """Counts files by when they were put into the inbox, which is their ctime, when they are first looked at."""

    def __init__(self, folder: HotFolder, *, orders: StandingOrders, clock: Clock) -> None:
        self._folder = folder
        self._orders = orders
        self._clock = clock
        self._arrivals = Arrivals()

    async def arrived(self, look: Look) -> None:
        """Count a file, and hold the folder when it is one too many. Raises JournalAway."""
        burst, inbox = self._folder.burst, self._folder.inbox
        at = look.ctime_ns / 1e9
        released = self._orders.released_at(inbox)
        if burst is None or at <= released:
            return
        self._arrivals.forget(released)
        if self._arrivals.add(at, burst):
            await self._orders.stand(StandingOrder(lasting=Lasting.HELD, at=self._clock.wall(), inbox=inbox))
            # Only now: a hold that could not be written down is tried again with the next look.
            self._arrivals.clear()
