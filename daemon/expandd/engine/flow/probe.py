"""Asks the API the free question: whether it serves at all, when a call failed or while it counts as away."""

from __future__ import annotations

import asyncio

from expandd.domain.errors import AccountAway, Later
from expandd.engine.flow.account import Account
from expandd.engine.flow.circuit_breaker import Gates
from expandd.engine.ports import Clock

TURN = 3.0
"""Seconds for which calls wait with a probe of their own, at every other probe: the free question goes first."""


class Probing:
    """The question what the account is worth costs nothing, and no image can make it fail.

    At every other probe the calls that wait have their turn first, in case the free question itself is what fails.
    """

    def __init__(self, account: Account, gates: Gates, clock: Clock) -> None:
        self._account = account
        self._gates = gates
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._served = False
        self.needed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled: probe the service's gate whenever it is shut."""
        while True:
            await self._clock.wait(self.needed, None)
            self.needed.clear()
            await self._open_service()

    async def _open_service(self) -> None:
        gate, free = self._gates.service, True
        while gate.shut is not None:
            gate.turn = TURN if free else 0.0
            seconds = gate.due() + (0.0 if free else TURN)
            if seconds > 0:
                await self._clock.sleep(seconds)
            if gate.shut is None or gate.due() > 0:
                # It was opened, or some call has probed it.
                free = True
                continue
            gate.enter()
            try:
                await self._gates.through(self._account.ask())
            except AccountAway as error:
                self._gates.service.failed(error.reason, str(error), error.retry_after)
            except Later:
                pass  # `through` has seen to the next probe
            free = not free

    async def serves(self) -> bool | None:
        """Whether the API answers now; None where nobody can tell because it counts as away already."""
        failed_at = self._clock.monotonic()
        async with self._lock:
            if self._gates.service.shut is not None:
                return None
            if self._asked_at < failed_at:
                self._asked_at = self._clock.monotonic()
                self._served = await self._answers()
            return self._served

    async def _answers(self) -> bool:
        try:
            await self._gates.through(self._account.ask())
        except (AccountAway, Later):
            return False
        return True
