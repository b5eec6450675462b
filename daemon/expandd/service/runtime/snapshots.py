"""Writes the snapshot of an engine, again and again while it works."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from expandd.adapters.locks import this_process
from expandd.domain.events import Event
from expandd.engine.supervisor import beside
from expandd.service.observability.logs import Logger
from expandd.service.reports.ledger import Price
from expandd.service.reports.snapshot import ActivePause, Due, InboxNow, LoopFailing, Reading, Snapshot, write_snapshot
from expandd.service.runtime.app import EventBus
from expandd.service.runtime.systemd import either

if TYPE_CHECKING:
    from expandd.engine.engine import Engine

WAIT = 1.0
"""The least seconds between two snapshots."""

QUIET = 5.0
"""Seconds between two snapshots while the engine emits nothing."""

ALIVE = 15.0
"""Seconds after which it is written though nothing has changed, so that readers see it is alive."""

MOST_DUE = 200
"""Jobs whose next activation is written to it."""


class Snapshots:
    """Writes the snapshot of an engine to the state directory, beside the engine's work.

    `before` is the last one of an earlier run: its credits are the last seen until the API tells of them anew.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        before: Snapshot | None,
        price: Price,
        log: Logger,
        wall: Callable[[], float],
        lost_log_lines: Callable[[], int] = lambda: 0,
        reading: Callable[[], Reading | None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._before = before
        self._price = price
        self._log = log
        self._wall = wall
        self._lost_log_lines = lost_log_lines
        self._reading = reading
        self._written: Snapshot | None = None
        self._failing = False
        self._heard = asyncio.Event()
        self._process = this_process()

    def __call__(self, event: Event) -> None:  # noqa: ARG002 - that something happened is all that matters
        """A subscriber of the event bus: each event causes a snapshot soon."""
        self.hear()

    def hear(self) -> None:
        """Cause a snapshot soon."""
        self._heard.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            snapshot = self.taken()
            if self._is_news(snapshot):
                await self._write(snapshot)
            await asyncio.sleep(WAIT)
            await either(self._heard, QUIET - WAIT)
            self._heard.clear()

    async def kept(self) -> None:
        """Write the snapshot and log any error."""
        await self._engine.supervisor.keep("snapshot", self.run)

    def taken(self) -> Snapshot:
        """The engine as it is now."""
        now = self._wall()
        self._price.observe(self._engine.account.credits, self._engine.account.at)
        left, left_at = self._credits()
        return Snapshot(
            at=now,
            process=self._process,
            stopping=self._engine.breakers.stopping,
            pauses=tuple(_shut(self._engine, now)),
            inboxes=tuple(_inboxes(self._engine)),
            due=tuple(_due(self._engine, now)),
            credits=left,
            credits_at=left_at,
            price=self._price.latest,
            failing=tuple(LoopFailing(one.name, one.since, one.why) for one in self._engine.supervisor.failing),
            account_shared_with=self._engine.account.shared_with,
            lost_log_lines=self._lost_log_lines(),
            reading=self._reading(),
        )

    def _credits(self) -> tuple[Decimal | None, float | None]:
        account, before = self._engine.account, self._before
        if account.at is None and before is not None:
            return before.credits, before.credits_at
        return account.credits, account.at

    def _is_news(self, snapshot: Snapshot) -> bool:
        last = self._written
        if last is None or not 0 <= snapshot.at - last.at < ALIVE:
            return True
        return replace(snapshot, at=last.at) != last

    async def _write(self, snapshot: Snapshot) -> None:
        state_dir = self._engine.settings.state_dir
        try:
            await asyncio.to_thread(write_snapshot, state_dir, snapshot)
        except OSError as error:
            # Nobody's work hangs on it; those who ask from beside see less until the disk is well again.
            if not self._failing:
                self._log.warning("snapshot.failed", state_dir=state_dir, why=str(error))
            self._failing = True
        else:
            self._written, self._failing = snapshot, False


@asynccontextmanager
async def published(snapshots: Snapshots, event_bus: EventBus) -> AsyncIterator[None]:
    """Write snapshots as long as the body lasts."""
    event_bus.also(snapshots)
    async with beside(snapshots.kept()):
        yield


def _shut(engine: Engine, now: float) -> Iterator[ActivePause]:
    in_use = engine.in_use
    for pause in engine.breakers.shut():
        if pause.shut is not None and (pause.inbox is None or pause.inbox in in_use):
            yield ActivePause(
                inbox=pause.inbox,
                pause=pause.name,
                reason=pause.shut.reason,
                why=pause.shut.why,
                since=pause.shut.since,
                again_at=None if math.isinf(pause.shut.probe_at) else round(now + pause.wait()),
            )


def _inboxes(engine: Engine) -> Iterator[InboxNow]:
    for inbox in engine.inboxes:
        yield InboxNow(
            inbox=inbox.folder.inbox,
            waiting=inbox.waiting,
            more=inbox.overfull,
            missed=inbox.watching.missed,
            watched=inbox.watching.watched,
            ready=tuple(ready.relative for ready in inbox.ready),
            unfinished=inbox.unfinished,
        )


def _due(engine: Engine, now: float) -> Iterator[Due]:
    for _, job in zip(range(MOST_DUE), engine.jobs, strict=False):
        seconds = engine.scheduler.due_in(job.id)
        if seconds is not None:
            yield Due(job.id, round(now + seconds))
