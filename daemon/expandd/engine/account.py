"""Owns what is known of the account: its credits, and the guard that leaves some of them."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal

from expandd.domain.errors import AccountAway, GateReason, Later
from expandd.domain.settings import Settings
from expandd.engine.barriers import Barrier, Cause
from expandd.engine.gates import Gates
from expandd.engine.ports import Api, Clock

FRESH = 60.0
"""Seconds for which the guard believes an answer, while few images are paid for meanwhile."""

ROUND = 600.0
"""Seconds between two questions for people's eyes, as long as images are paid for."""


class Account:
    """The credits as last seen `at` (epoch seconds); None while nobody has said."""

    def __init__(self, settings: Settings, *, api: Api, gates: Gates, clock: Clock) -> None:
        self.settings = settings
        self.credits: Decimal | None = None
        self.at: float | None = None
        self._api = api
        self._gates = gates
        self._clock = clock
        self._asked_at = float("-inf")
        self._paid_since = 0
        self._needed = asyncio.Event()

    def paid(self) -> None:
        """One more image is paid for."""
        self._paid_since += 1
        self._needed.set()

    async def run(self) -> None:
        """Until cancelled: ask now and then while images are paid for, and each minute while the guard is shut."""
        while True:
            await self._clock.wait(self._needed, None)
            self._needed.clear()
            guarding = self._barrier.shut is not None
            rest = self._asked_at + ROUND - self._clock.monotonic()
            await self._clock.sleep(FRESH if guarding else max(FRESH, rest))
            # A question for information is no probe: it neither opens nor shuts a gate of the service.
            if self._gates.service.shut is None:
                with contextlib.suppress(AccountAway, Later):
                    await self.ask()
            self.look()

    async def ask(self) -> None:
        """Ask for the credits. Raises AccountAway, Later."""
        account = await self._api.account()
        self._asked_at, self._paid_since = self._clock.monotonic(), 0
        self.credits, self.at = account.credits, self._clock.wall()

    async def prove(self) -> bool:
        """Whether the next image may be paid for as far as the credits go: the free question before the paid call.

        It is asked while the credits are known to be used up, and for the guard. Raises AccountAway, Later.
        """
        shut = self._gates.spending.shut
        if shut is not None and shut.reason is GateReason.CREDITS:
            await self._gates.through(self.ask())
            if self.credits is not None and self.credits <= 0:
                raise AccountAway(shut.reason, shut.why)
        if self.settings.keep_credits is None:
            return True
        old = self._clock.monotonic() - self._asked_at >= FRESH
        if old or self._paid_since >= self.settings.workers:
            await self._gates.through(self.ask())
        self.look()
        return self._barrier.shut is None

    def look(self) -> None:
        """Shut or open the guard's barrier by what is known."""
        self._judge()
        if self._barrier.shut is not None:
            self._needed.set()

    def _judge(self) -> None:
        keep = self.settings.keep_credits
        if keep is None:
            self._barrier.open()
        elif self.at is not None and self.credits is None:
            self._barrier.close(
                GateReason.LOW_CREDITS,
                "The service does not say how many credits the account has, so `keep_credits` cannot be kept.",
            )
        elif self.credits is not None and self.credits <= keep:
            self._barrier.close(
                GateReason.LOW_CREDITS,
                f"The account has no more than the {keep} credits that are to be kept. Top up, or lower keep_credits.",
            )
        else:
            self._barrier.open()

    @property
    def _barrier(self) -> Barrier:
        return self._gates.barriers.at(None, Cause.CREDITS)
