"""The snapshot: what only the running daemon knows, written to the state directory for other processes."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from expandd.adapters.json_text import read_json
from expandd.adapters.locks import holder, this_process
from expandd.domain.events import Event
from expandd.domain.pauses import PauseReason
from expandd.engine.engine import Engine
from expandd.service.reports.ledger import Price
from expandd.service.runtime.app import EventBus
from expandd.service.runtime.systemd import either

FILE = "snapshot.json"
LOCK = "lock"
MOST_BYTES = 16 << 20
"""Of the file: it names every job in progress, and the files of each inbox that come next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePause:
    """A pause that is shut for one folder, or for all (`inbox` is None). Times are epoch seconds."""

    inbox: Path | None
    pause: str
    reason: PauseReason
    why: str
    since: float
    again_at: float | None
    """When it is tried again at the latest; None where nobody tries, because a person or the calendar opens it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxNow:
    """One inbox as its watch sees it. `waiting` are the files known, `more` whether others wait behind them.

    `ready` are examined and next in line, relative to the inbox. `missed` files had to be found by a scan.
    """

    inbox: Path
    waiting: int
    more: bool
    missed: int
    watched: bool
    ready: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Due:
    """When a job in progress is looked at next, epoch seconds."""

    job_id: str
    at: float


@dataclass(frozen=True, slots=True)
class LoopFailing:
    """A part of the daemon that fails again and again: since when (epoch seconds), and what it met last."""

    name: str
    since: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it, as it was `at` (epoch seconds) in `process`, the words of the lock's holder.

    `credits` are those that the API told last, at `credits_at`; `price` is what one image took of them lately.
    """

    at: float
    process: str
    stopping: bool = False
    pauses: tuple[ActivePause, ...] = ()
    inboxes: tuple[InboxNow, ...] = ()
    due: tuple[Due, ...] = ()
    credits: Decimal | None = None
    credits_at: float | None = None
    price: Decimal | None = None
    failing: tuple[LoopFailing, ...] = ()
    account_shared_with: str = ""
    """Who of this machine works with the same account, in words; "" for nobody."""
    lost_log_lines: int = 0
    """Lines of the log that could not be written since the start."""

    def inbox(self, path: Path) -> InboxNow | None:
        return next((one for one in self.inboxes if one.inbox == path), None)


def write_snapshot(state_dir: Path, snapshot: Snapshot) -> None:
    """Put the snapshot where readers find it, whole, for this user's eyes only. Raises OSError."""
    text = json.dumps(asdict(snapshot), default=_plain).encode()
    spare = state_dir / f".{FILE}"
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    # Not synced: after a power cut nobody holds the lock, and then nobody believes it.
    spare.replace(state_dir / FILE)


def live_snapshot(state_dir: Path) -> tuple[str, Snapshot | None]:
    """Who holds the state directory, "" for nobody, and what that process has told; None where it has not yet."""
    running = holder(state_dir / LOCK)
    found = last_snapshot(state_dir) if running else None
    return running, found if found is not None and found.process == running else None


def last_snapshot(state_dir: Path) -> Snapshot | None:
    """The snapshot of whichever process left one last; None when there is none that can be read."""
    try:
        with (state_dir / FILE).open("rb") as file:
            return _snapshot(read_json(file, MOST_BYTES))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return None


def _plain(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


def _snapshot(found: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        at=float(found["at"]),
        process=str(found["process"]),
        stopping=bool(found["stopping"]),
        pauses=tuple(_pauses(found["pauses"])),
        inboxes=tuple(_read_inboxes(found["inboxes"])),
        due=tuple(Due(str(one["job_id"]), float(one["at"])) for one in found["due"]),
        credits=_decimal(found["credits"]),
        credits_at=None if found["credits_at"] is None else float(found["credits_at"]),
        price=_decimal(found["price"]),
        failing=tuple(LoopFailing(**one) for one in found.get("failing", ())),
        account_shared_with=str(found.get("account_shared_with", "")),
        lost_log_lines=int(found.get("lost_log_lines", 0)),
    )


def _pauses(found: list[Mapping[str, Any]]) -> Iterator[ActivePause]:
    for one in found:
        inbox = None if one["inbox"] is None else Path(one["inbox"])
        yield ActivePause(**{**one, "inbox": inbox, "reason": PauseReason(one["reason"])})


def _read_inboxes(found: list[Mapping[str, Any]]) -> Iterator[InboxNow]:
    for one in found:
        yield InboxNow(**{**one, "inbox": Path(one["inbox"]), "ready": tuple(Path(name) for name in one["ready"])})


def _decimal(found: str | None) -> Decimal | None:
    return None if found is None else Decimal(found)


PAUSE = 1.0
"""Seconds between two looks, at least."""

QUIET = 5.0
"""Seconds between two looks while nothing is heard of the engine."""

ALIVE = 15.0
"""Seconds after which it is written though nothing has changed, so that readers see it is alive."""

MOST_DUE = 200
"""Jobs of which it is told when they are looked at next."""


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
        log: FilteringBoundLogger,
        wall: Callable[[], float],
        lost_log_lines: Callable[[], int] = lambda: 0,
    ) -> None:
        self._engine = engine
        self._before = before
        self._price = price
        self._log = log
        self._wall = wall
        self._lost_log_lines = lost_log_lines
        self._written: Snapshot | None = None
        self._failing = False
        self._heard = asyncio.Event()
        self._process = this_process()

    def __call__(self, event: Event) -> None:  # noqa: ARG002 - that something happened is all that matters
        """A subscriber like any other: what happens is told soon."""
        self._heard.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            snapshot = self.taken()
            if self._is_news(snapshot):
                await self._write(snapshot)
            await asyncio.sleep(PAUSE)
            await either(self._heard, QUIET - PAUSE)
            self._heard.clear()

    async def kept(self) -> None:
        """The same, whatever it meets."""
        await self._engine.supervisor.keep("snapshot", self.run)

    def taken(self) -> Snapshot:
        """The engine as it is now."""
        now = self._wall()
        self._price.look(self._engine.account.credits, self._engine.account.at)
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
    task = asyncio.create_task(snapshots.kept())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.result()


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
        )


def _due(engine: Engine, now: float) -> Iterator[Due]:
    for _, job in zip(range(MOST_DUE), engine.jobs, strict=False):
        seconds = engine.scheduler.due_in(job.id)
        if seconds is not None:
            yield Due(job.id, round(now + seconds))
