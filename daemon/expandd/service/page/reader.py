"""What the page reads and commands: overview, jobs, past and commands, in threads and with time-outs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from expandd.adapters.files.scan import FolderCounter
from expandd.adapters.responsiveness import lying
from expandd.adapters.store.database import reading, write_commands
from expandd.adapters.store.sql.queries import Hour, LedgerLine, Queries
from expandd.domain.commands import Command
from expandd.domain.job import Job, JobState
from expandd.domain.settings import Settings
from expandd.service.page.drawings import HOURS, SECONDS
from expandd.service.page.job_view import KINDS, LISTED, Asked, Over
from expandd.service.reports.overview import Overview, build_overview

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that a reading may take before the browser is told that it has failed."""
FRESH, FRESH_LEDGER = 5.0, 600.0
"""Seconds for which hours, and days, are not read again: in a large job database the days take a second."""
MONTHS = 12
"""Of the ledger that are shown; all that are known can be downloaded."""


@dataclass(frozen=True, slots=True)
class Past:
    """The hours of the last day, and the ledger of the last months; what was paid today the overview knows better."""

    hours: tuple[Hour, ...] = ()
    ledger: tuple[LedgerLine, ...] = ()


class Records(Protocol):
    """What the page reads and writes. Each call may raise DatabaseAway, or TimeoutError when a disk is silent."""

    async def overview(self) -> Overview: ...
    async def past(self) -> Past: ...
    async def ledger(self) -> Sequence[LedgerLine]: ...
    async def over(self, asked: Asked) -> Over: ...
    async def job(self, job_id: str) -> Job | None: ...
    async def command(self, command: Command) -> None: ...
    async def budget(self) -> int | None: ...


class DatabaseRecords:
    """The real ones, read beside the engine: a page that hangs on a dead disk holds nobody else up."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._counting = FolderCounter()
        # Threads of its own: those of the loop do the work.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="page")
        self._hours = _Kept(FRESH, lambda: self._aside(lambda: self._read(_hours) or ()))
        self._ledger = _Kept(FRESH_LEDGER, lambda: self._aside(lambda: self._read(_ledger) or ()))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def overview(self) -> Overview:
        return await self._aside(lambda: _still_failed(build_overview(self._settings(), self._counting)))

    async def past(self) -> Past:
        return Past(await self._hours(), await self._ledger())

    async def ledger(self) -> Sequence[LedgerLine]:
        """All of it."""
        return await self._aside(lambda: self._read(lambda store: store.ledger("0000")) or ())

    async def over(self, asked: Asked) -> Over:
        return await self._aside(lambda: self._read(lambda store: _over(store, asked)) or Over())

    async def job(self, job_id: str) -> Job | None:
        return await self._aside(lambda: self._read(lambda store: store.job(job_id)))

    async def command(self, command: Command) -> None:
        await self._aside(lambda: write_commands(self._settings(), [command]))

    async def budget(self) -> int | None:
        return self._settings().budget.day

    def _read(self, look: Callable[[Queries], T]) -> T | None:
        with reading(self._settings()) as store:
            return look(store) if store else None

    async def _aside(self, call: Callable[[], T]) -> T:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _still_failed(overview: Overview) -> Overview:
    """Without those whose file has left the error folder: it was tried again, or taken out."""
    away = {folder.inbox for folder in overview.folders if not folder.counted}
    there = lying(job.archived_to for job in overview.failed if job.archived_to is not None)
    return replace(
        overview, failed=tuple(job for job in overview.failed if job.folder.inbox in away or job.archived_to in there)
    )


def _hours(store: Queries) -> tuple[Hour, ...]:
    return tuple(store.hours(time.time() - HOURS * SECONDS))


def _ledger(store: Queries) -> tuple[LedgerLine, ...]:
    now = time.localtime()
    years, month = divmod(now.tm_mon - MONTHS, 12)
    return tuple(store.ledger(f"{now.tm_year + years}-{month + 1:02}-01"))


def _over(store: Queries, asked: Asked) -> Over:
    state = KINDS[asked.kind]
    found = tuple(store.over(state, asked.name, asked.skip, LISTED + 1))
    listed = found[:LISTED]
    archived_to = {job.archived_to for job in listed if job.archived_to is not None and state is JobState.FAILED}
    return Over(jobs=listed, more=len(found) > LISTED, there=frozenset(lying(archived_to)))


class _Kept(Generic[T]):
    """The last reading, kept for `fresh` seconds."""

    def __init__(self, fresh: float, read: Callable[[], Awaitable[T]]) -> None:
        self._fresh = fresh
        self._read = read
        self._last: tuple[float, T] | None = None

    async def __call__(self) -> T:
        now = time.monotonic()
        if self._last is None or now - self._last[0] > self._fresh:
            self._last = now, await self._read()
        return self._last[1]
