"""The account: its credits and the guard that keeps some of them, and the free call that probes the API."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from decimal import Decimal

from expandd.domain.errors import AccountAway, Later
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Settings
from expandd.domain.spending import Cap
from expandd.engine.control.holds import Cause, Pause
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.ports import Api, Clock

FRESH = 60.0
"""Seconds for which an answer counts as current, while few images are paid for meanwhile."""

ROUND = 600.0
"""Seconds between two questions while the credits are short and nothing waits for them."""


REMEMBERED = 8
"""Prices that are remembered: other spending from the account makes an image look more expensive than it is."""


NO_DAY = "9999-12-31"
"""No day: payments that were pruned are older than the last known credits."""


class Account:
    """The credits as last seen `at` (epoch seconds); None while nobody has said.

    `waiting` says whether anything waits to be paid for.
    """

    def __init__(self, settings: Settings, *, api: Api, breakers: CircuitBreakers, clock: Clock) -> None:
        self.settings = settings
        self.credits: Decimal | None = None
        self.at: float | None = None
        self.shared_with = ""
        """Which other instance of this machine used the same account at the start, in words; "" for none."""
        self.waiting: Callable[[], bool] = lambda: True
        self.needed = asyncio.Event()
        """Set when the credits may have changed, or are short."""
        self._api = api
        self._breakers = breakers
        self._clock = clock
        self._asked_at = float("-inf")
        self._told_at = 0.0
        self._reconciler = asyncio.Lock()
        self._under_way: set[str] = set()
        self._answered: set[str] = set()
        """Paid calls that were answered after the credits were asked for: the last answer may not include them."""
        self._prices: deque[Decimal] = deque(maxlen=REMEMBERED)

    def begun(self, job_id: str) -> None:
        """Reserve the price of a paid call that begins now, until a later answer includes it."""
        self._under_way.add(job_id)
        self.needed.set()

    def answered(self, job_id: str) -> None:
        """Note that the paid call is over, with any outcome."""
        if job_id in self._under_way:
            self._under_way.discard(job_id)
            self._answered.add(job_id)

    def not_begun(self, job_id: str) -> None:
        """Release the reservation of a paid call that was not begun."""
        self._under_way.discard(job_id)

    def caps(self, hindsight: float) -> tuple[Cap, ...]:
        """What is to be kept, for the job database: how many images may be paid for since the credits were told.

        Paid calls of other hosts that were begun up to `hindsight` seconds before may not be counted in them.
        """
        keep = self.settings.keep_credits
        if keep is None or self.credits is None or not hindsight:
            return ()
        most = int((self.credits - keep) / self._price)
        since = self._told_at - hindsight
        return (Cap(inbox=None, since=since, day=NO_DAY, most=max(0, most)),)

    async def run(self) -> None:
        """Until cancelled: ask each minute while images are paid for or wait for credits, now and then while short."""
        while True:
            await self._clock.wait(self.needed, None)
            self.needed.clear()
            await self._clock.sleep(FRESH)
            ago = self._clock.monotonic() - self._asked_at
            # The probe of the circuit breaker makes the same call: one a minute is enough for both.
            wanted = ago >= ROUND or (ago >= FRESH and (self._reserved or (self._short and self.waiting())))
            # A question for information is no probe: it neither opens nor shuts a circuit breaker of the API.
            if self._breakers.service.shut is None and wanted:
                with contextlib.suppress(AccountAway, Later):
                    await self._ask_for_more()
            self.update_pauses()
            if self._short or self._reserved:
                self.needed.set()

    async def _ask_for_more(self) -> None:
        """Ask for the credits; where the account was topped up, jobs that wait for credits go on now."""
        before = self.credits
        await self.ask()
        shut = self._breakers.spending.shut
        topped_up = self.credits is not None and before is not None and self.credits > max(before, Decimal(0))
        if shut is not None and shut.reason is PauseReason.NO_CREDITS and topped_up:
            self._breakers.spending.passed()

    async def ask(self) -> None:
        """Ask for the credits. Raises AccountAway, Later."""
        told, began = frozenset(self._answered), self._clock.wall()
        account = await self._api.account()
        self._learn_price(account.credits, len(told))
        self._answered -= told
        self._asked_at = self._clock.monotonic()
        self.credits, self.at, self._told_at = account.credits, self._clock.wall(), began

    def _learn_price(self, now: Decimal | None, images: int) -> None:
        if images and now is not None and self.credits is not None and now < self.credits:
            self._prices.append((self.credits - now) / images)

    @property
    def _price(self) -> Decimal:
        """The estimated credits that an image costs; at least one."""
        return max(Decimal(1), min(self._prices, default=Decimal(1)))

    @property
    def _reserved(self) -> int:
        """Paid calls that the last known credits may not include."""
        return len(self._under_way | self._answered)

    @property
    def _short(self) -> bool:
        shut = self._breakers.spending.shut
        return self._pause.shut is not None or (shut is not None and shut.reason is PauseReason.NO_CREDITS)

    @property
    def _near(self) -> bool:
        """Whether what all workers may begin at once could take what is to be kept, or nobody knows what that costs.

        Then one image is paid for after the other, with a question in between.
        """
        keep = self.settings.keep_credits
        if keep is None or self.credits is None:
            return False
        return not self._prices or self.credits - keep < self._price * (self.settings.workers + self._reserved)

    async def prove(self) -> bool:
        """Whether the next image may be paid for as far as the credits go: the free question before the paid call.

        It is asked while the credits are known to be used up, and for the guard. Raises AccountAway, Later.
        """
        shut = self._breakers.spending.shut
        if shut is not None and shut.reason is PauseReason.NO_CREDITS:
            await self._breakers.through(self.ask())
            if self.credits is not None and self.credits <= 0:
                raise AccountAway(shut.reason, shut.why)
        if self.settings.keep_credits is None:
            return True
        async with self._reconciler:
            if self._clock.monotonic() - self._asked_at >= FRESH or (self._near and self._answered):
                await self._breakers.through(self.ask())
        self.update_pauses()
        return self._pause.shut is None and self.may_pay()

    def may_pay(self) -> bool:
        """Whether one more image leaves the credits to be kept, at any price of the images in progress."""
        keep = self.settings.keep_credits
        if keep is None:
            return True
        if self.credits is None or (self._near and self._reserved):
            return False
        return self.credits - self._price * (self._reserved + 1) >= keep

    def update_pauses(self) -> None:
        """Shut or open the pause of the credit guard by the credits as last known."""
        self._judge()
        if self._pause.shut is not None:
            self.needed.set()

    def _judge(self) -> None:
        keep = self.settings.keep_credits
        if keep is None:
            self._pause.open()
        elif self.at is not None and self.credits is None:
            self._pause.close(
                PauseReason.CREDITS_RESERVED,
                "The API does not say how many credits the account has, so `keep_credits` cannot be kept. Take it out "
                "to go on all the same.",
            )
        elif self.credits is not None and self.credits - self._price < keep:
            self._pause.close(
                PauseReason.CREDITS_RESERVED,
                f"One more image would leave fewer than the {keep} credits that are to be kept. "
                "Top up, or lower keep_credits.",
            )
        else:
            self._pause.open()

    @property
    def _pause(self) -> Pause:
        return self._breakers.pauses.at(None, Cause.CREDITS)


TURN = 3.0
"""Seconds by which, at every other probe, calls wait for the free account call to probe first."""


class Probe:
    """Probes the API by its free account call, which no image can make fail.

    At every other probe the calls that wait have their turn first, in case the free question itself is what fails.
    """

    def __init__(self, account: Account, breakers: CircuitBreakers, clock: Clock) -> None:
        self._account = account
        self._breakers = breakers
        self._clock = clock
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._served = False
        self.needed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled: probe the API's circuit breaker whenever it is shut."""
        while True:
            await self._clock.wait(self.needed, None)
            self.needed.clear()
            await self._open_service()

    async def _open_service(self) -> None:
        breaker, free = self._breakers.service, True
        while breaker.shut is not None:
            breaker.turn = TURN if free else 0.0
            seconds = breaker.due() + (0.0 if free else TURN)
            if seconds > 0:
                await self._clock.sleep(seconds)
            if breaker.shut is None or breaker.due() > 0:
                # The breaker was opened, or another call has probed it.
                free = True
                continue
            breaker.enter()
            try:
                await self._breakers.through(self._account.ask())
            except AccountAway as error:
                self._breakers.service.failed(error.reason, str(error), error.retry_after)
            except Later:
                pass  # `through` has seen to the next probe
            free = not free

    async def serves(self) -> bool | None:
        """Whether the API answers now; None where nobody can tell because it counts as away already."""
        failed_at = self._clock.monotonic()
        async with self._lock:
            if self._breakers.service.shut is not None:
                return None
            if self._asked_at < failed_at:
                self._asked_at = self._clock.monotonic()
                self._served = await self._answers()
            return self._served

    async def _answers(self) -> bool:
        try:
            await self._breakers.through(self._account.ask())
        except (AccountAway, Later):
            return False
        return True
