"""Circuit breakers: why everything, or one folder, waits, and the careful tries that end the wait.

One probe at a time finds out when it can, so that a thousand files that wait cost no more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from expandd.domain.backoff import ACCOUNT, FOLDER, Backoff
from expandd.domain.errors import AccountAway, DecoderAway, FileFault, FolderAway, ImageIdRefused, Later
from expandd.domain.events import PauseEnded, PauseStarted
from expandd.domain.finishing import Finishing
from expandd.domain.image import Inspection, Prepared
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.control.holds import Pause, Pauses, Shut
from expandd.engine.ports import Clock, Emit, Images, Randomness

T = TypeVar("T")

PATIENCE = 3
"""Failures in a row, of any jobs, after which the API counts as unreachable for all."""

LEAST = 1e-6
"""Seconds below which a wait counts as none: a shorter one could be lost in rounding and repeat without end."""

OTHERS_FIRST = 3.0
"""Seconds by which a file that has failed lets others probe a shut circuit breaker first."""


class CircuitBreaker:
    """Open, or shut until a probe gets through. While it is shut, one caller at a time may probe, ever more rarely.

    `inbox` is None where it stops everything.
    """

    def __init__(
        self,
        name: str,
        backoff: Backoff,
        clock: Clock,
        randomness: Randomness,
        emit: Emit,
        *,
        inbox: Path | None = None,
    ) -> None:
        self.name = name
        self.inbox = inbox
        self.shut: Shut | None = None
        self._backoff = backoff
        self._clock = clock
        self._randomness = randomness
        self._emit = emit
        self.turn = 0.0
        """Seconds after the time of the next probe during which only the free account call may probe."""
        self._failures = 0
        self._probing = False

    def wait(self, beyond: float = 0.0) -> float:
        """Seconds until the caller may go ahead, `beyond` seconds after the others; 0 when it may now."""
        return self._from_now(self.turn + beyond)

    def due(self) -> float:
        """Seconds until the next probe; 0 when it is time."""
        return self._from_now(0.0)

    def _from_now(self, beyond: float) -> float:
        if self.shut is None:
            return 0.0
        seconds = self.shut.probe_at + beyond - self._clock.monotonic()
        return seconds if seconds > LEAST else 0.0

    def enter(self) -> None:
        """Pass; if the circuit breaker is shut, as its probe, for whose outcome the others wait."""
        if self.shut is not None:
            self._probing = True
            self._probe_later(self.shut, self._backoff.cap)

    def let_go(self) -> None:
        """End the probe. Where its outcome is inconclusive, the next one follows after a back-off."""
        if self.shut is not None and self._probing:
            self._probing = False
            self._probe_later(self.shut, self._backoff.wait(max(self._failures, 1), self._randomness.fraction()))

    def away(self, error: FolderAway) -> None:
        self.failed(error.reason, str(error))

    def failed(self, reason: PauseReason, why: str, retry_after: float | None = None, *, is_want: bool = False) -> None:
        """Count a failure. Most shut the breaker at once; an unreachable API and a lack of resources if they last."""
        self._failures += 1
        self._probing = False
        if (reason is PauseReason.API_UNREACHABLE or is_want) and self._failures < PATIENCE and self.shut is None:
            return
        seconds = self._backoff.wait(self._failures, self._randomness.fraction())
        if retry_after is not None:
            seconds = max(retry_after, seconds)
        self._close(reason, why, seconds)

    def passed(self) -> None:
        """Open the breaker after a successful call: the waiting jobs go on."""
        self._failures = 0
        if self.shut is not None:
            waited = self._clock.monotonic() - self.shut.since_monotonic
            reason, self.shut = self.shut.reason, None
            self._emit(PauseEnded(self.name, reason, waited))

    def _close(self, reason: PauseReason, why: str, seconds: float) -> None:
        now = self._clock.monotonic()
        if self.shut is None or self.shut.reason is not reason:
            self.shut = Shut(reason, why, self._clock.wall(), now, now + seconds)
            self._emit(PauseStarted(self.name, reason, why))
        else:
            self._probe_later(self.shut, seconds)

    def _probe_later(self, shut: Shut, seconds: float) -> None:
        probe_at = self._clock.monotonic() + seconds
        self.shut = Shut(shut.reason, shut.why, shut.since, shut.since_monotonic, probe_at)


class CircuitBreakers:
    """All circuit breakers: the API (every call), spending (uploads and paid calls), two for each hot folder.

    `database` is shut from a change that the job database does not take to the next that it takes.
    The decoder's circuit breaker is shut while no process that decodes can be started.
    A folder's inbox breaker is shut while its inbox is away, its storage breaker while nothing can be archived for it.

    `draining` is True from the start until the first poll, while an earlier run's paid results may wait to be
    fetched: nothing is paid before they are known. `stopping` ends all new work.
    """

    def __init__(self, clock: Clock, randomness: Randomness, emit: Emit) -> None:
        self._made = (clock, randomness, emit)
        self.service = CircuitBreaker("service", ACCOUNT, *self._made)
        self.spending = CircuitBreaker("spending", ACCOUNT, *self._made)
        self.decoder = CircuitBreaker("decoder", FOLDER, *self._made)
        self._inboxes: dict[Path, CircuitBreaker] = {}
        self._storages: dict[Path, CircuitBreaker] = {}
        self.pauses = Pauses(clock, emit)
        self.database = Pause(None, clock, emit, "job database")
        self.draining = False
        self.stopping = False

    def inbox(self, inbox: Path) -> CircuitBreaker:
        return self._folder_breaker(self._inboxes, "inbox", inbox)

    def storage(self, inbox: Path) -> CircuitBreaker:
        return self._folder_breaker(self._storages, "storage of", inbox)

    def _folder_breaker(self, breakers: dict[Path, CircuitBreaker], what: str, inbox: Path) -> CircuitBreaker:
        if inbox not in breakers:
            breakers[inbox] = CircuitBreaker(f"{what} {printable(inbox)}", FOLDER, *self._made, inbox=inbox)
        return breakers[inbox]

    def account_failed(self, error: AccountAway) -> None:
        breaker = self.spending if error.reason.of_account else self.service
        breaker.failed(error.reason, str(error), error.retry_after)

    @staticmethod
    def enter(*breakers: CircuitBreaker | Pause, after_others: bool = False) -> float:
        """Seconds until the caller may pass all of `breakers`; 0 when it may now, as their probe if they are shut.

        With `after_others` others may be the probe first: a file that has failed would say little.
        """
        seconds = max(breaker.wait(OTHERS_FIRST if after_others else 0.0) for breaker in breakers)
        if seconds == 0.0:
            for breaker in breakers:
                breaker.enter()
        return seconds

    async def through(self, call: Awaitable[T]) -> T:
        """Take the outcome of an API call; any outcome that shows that the API serves opens its circuit breaker.

        The caller judges what a failed call says of the API: it may be about one image.
        """
        was_open = self.service.shut is None
        try:
            answer = await call
        except (AccountAway, Later):
            self.service.let_go()
            raise
        except (FileFault, ImageIdRefused):
            self._served(was_open=was_open)
            raise
        self._served(was_open=was_open)
        return answer

    def _served(self, *, was_open: bool) -> None:
        # A call that was in progress when the API asked for a pause does not end the pause.
        shut = self.service.shut
        if not (was_open and shut is not None and shut.reason is PauseReason.RATE_LIMITED):
            self.service.passed()

    def made(self, job: Job) -> None:
        """A result has come: if it was paid for after spending was shut, what shut it is over.

        It is the only sign where the answers to paid calls are empty.
        """
        shut, paid_at = self.spending.shut, job.entered(JobState.SUBMITTING)
        if shut is not None and paid_at is not None and paid_at >= shut.since:
            self.spending.passed()

    def claim_wait(self, inbox: Path) -> float:
        """Seconds until a file of this folder may be claimed."""
        return max(breaker.wait() for breaker in self.of(inbox))

    def of(self, inbox: Path) -> tuple[CircuitBreaker | Pause, ...]:
        """All circuit breakers that a new file of this folder must pass."""
        own = (self.inbox(inbox), self.storage(inbox))
        return self.service, self.spending, *own, *self.pauses.before(inbox)

    def shut(self) -> tuple[CircuitBreaker | Pause, ...]:
        breakers = (
            self.service,
            self.spending,
            self.decoder,
            self.database,
            *self._inboxes.values(),
            *self._storages.values(),
            *self.pauses,
        )
        return tuple(breaker for breaker in breakers if breaker.shut is not None)


class Decoders:
    """The images port behind a circuit breaker; the rest of the engine uses it instead of the port."""

    def __init__(self, images: Images, breaker: CircuitBreaker, clock: Clock) -> None:
        self._images = images
        self._breaker = breaker
        self._clock = clock
        self._away = asyncio.Event()

    def warm_up(self) -> None:
        if self._breaker.shut is None:
            self._images.warm_up()

    async def prove(self) -> object:
        return await self._images.prove()

    async def inspect(self, path: Path, *, thorough: bool = True) -> Inspection:
        return await self._through(lambda: self._images.inspect(path, thorough=thorough))

    async def inspect_result(self, path: Path) -> Inspection:
        return await self._through(lambda: self._images.inspect_result(path))

    async def prepare(self, source: Path, target: Path) -> Prepared:
        return await self._through(lambda: self._images.prepare(source, target))

    async def finish(self, original: Path, made: Path, target: Path, plan: Finishing) -> bool:
        return await self._through(lambda: self._images.finish(original, made, target, plan))

    async def run(self) -> None:
        """Until cancelled: retry to start a decoder while none can be started."""
        while True:
            await self._clock.wait(self._away, None)
            while self._breaker.shut is not None:
                await self._clock.sleep(self._breaker.wait())
                await self._probe()
            self._away.clear()

    async def _through(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._breaker.shut is not None:
            raise DecoderAway(self._breaker.shut.why)
        try:
            return await call()
        except DecoderAway as error:
            self._breaker.failed(PauseReason.DECODER_UNAVAILABLE, str(error))
            self._away.set()
            raise

    async def _probe(self) -> None:
        try:
            await self._images.prove()
        except DecoderAway as error:
            self._breaker.failed(PauseReason.DECODER_UNAVAILABLE, str(error))
        else:
            self._breaker.passed()
