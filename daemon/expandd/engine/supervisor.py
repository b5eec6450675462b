"""Supervises loops: one that raises an unforeseen error logs it, backs off and begins again, alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from expandd.domain.backoff import Backoff
from expandd.domain.errors import DatabaseAway, ExpanddError, HostFenced
from expandd.domain.events import BugFound
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.ports import Clock, Emit, Randomness

LOOP = Backoff(base=1.0, cap=30.0)
"""The cap is below the time that any loop may take for a round: a loop that backs off does not count as stuck."""

WELL = 60.0
"""Seconds without a failure after which a loop counts as healthy again."""


@dataclass(frozen=True, slots=True)
class FailingLoop:
    """A loop that fails: since when (wall), how often in a row, and with which last error."""

    name: str
    since: float
    times: int
    why: str


class Supervisor:
    """The one place where a loop is supervised. What it is given to keep may fail in any way, and harms nothing else.

    Cancellation ends a loop as always. A job database that is away is no bug: the write has announced it.
    """

    def __init__(self, clock: Clock, randomness: Randomness, emit: Emit) -> None:
        self._clock = clock
        self._randomness = randomness
        self._emit = emit
        self._failing: dict[str, FailingLoop] = {}
        self._begun: dict[str, float] = {}
        self._without_store: set[str] = set()

    @property
    def failing(self) -> tuple[FailingLoop, ...]:
        """The loops that have failed by an unforeseen error and are not healthy again."""
        return tuple(
            self._failing[name]
            for name in tuple(self._failing)
            if not self._is_well(name) and name not in self._without_store
        )

    @property
    def kept(self) -> frozenset[str]:
        """The names of the loops that are kept going now."""
        return frozenset(self._begun)

    async def keep(self, name: str, loop: Callable[[], Awaitable[object]], heartbeat: Heartbeat | None = None) -> None:
        """Run `loop` until it ends by itself or is cancelled; restart it each time it fails.

        Its task bears its name from now on.
        """
        if task := asyncio.current_task():
            task.set_name(name)
        while True:
            self._begun[name] = self._clock.monotonic()
            try:
                await loop()
            except HostFenced:
                # All loops of this run end with it.
                raise
            except DatabaseAway as error:
                self._without_store.add(name)
                self._failed(name, error)
            except Exception as error:  # noqa: BLE001 - the one place where a loop's bug must not stop the others
                self._without_store.discard(name)
                self._failed(name, error)
                self._emit(BugFound(name, error))
            else:
                self._forget(name)
                return
            await self._rest(name, heartbeat)

    def _failed(self, name: str, error: Exception) -> None:
        before = None if self._is_well(name) else self._failing.get(name)
        since = before.since if before else self._clock.wall()
        times = before.times + 1 if before else 1
        self._failing[name] = FailingLoop(name, since, times, f"{type(error).__name__}: {error}")
        # The back-off does not count as healthy time.
        self._begun[name] = float("inf")

    async def _rest(self, name: str, heartbeat: Heartbeat | None) -> None:
        if heartbeat is not None:
            heartbeat()
        await self._clock.sleep(LOOP.wait(self._failing[name].times, self._randomness.fraction()))
        if heartbeat is not None:
            heartbeat()

    def _is_well(self, name: str) -> bool:
        if name in self._failing and self._clock.monotonic() - self._begun.get(name, float("inf")) < WELL:
            return False
        self._failing.pop(name, None)
        return True

    def _forget(self, name: str) -> None:
        self._failing.pop(name, None)
        self._begun.pop(name, None)


@contextlib.asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do these as long as the body lasts. What fails in one comes out at the end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


@contextlib.contextmanager
def alone(kind: type[ExpanddError]) -> Iterator[None]:
    """Raise an error of this kind as it is, not as one of a group."""
    try:
        yield
    except BaseExceptionGroup as group:
        if (found := group.subgroup(kind)) is None:
            raise
        raise found.exceptions[0] from None
