"""The job database: SQLite in one writer thread that commits in groups; and what to do with a damaged one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from expandd.adapters.bulkheads import begun
from expandd.adapters.store.sqlite.changes import Changes
from expandd.adapters.store.sqlite.schema import bring_up_to_date
from expandd.domain.commands import Command, Hold
from expandd.domain.errors import DatabaseAway, RowRefused
from expandd.domain.job import Job, JobState
from expandd.domain.spending import Spent, Today

T = TypeVar("T")

_OF_THE_ROW = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""Failures that say something of what was to be written, and nothing of the disk."""


@dataclass(frozen=True, slots=True)
class _Write:
    """A piece of work for the writer thread, and where its outcome goes."""

    work: Callable[[Changes], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def tell(self, outcome: object, error: BaseException | None) -> None:
        def settle() -> None:
            if self.future.cancelled():
                return
            if error is None:
                self.future.set_result(outcome)
            else:
                self.future.set_exception(error)

        self.loop.call_soon_threadsafe(settle)


class SqliteJobStore:
    """WAL with synchronous=FULL: a write that returned survives a power cut. Close it to end its thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._requests: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        try:
            self._thread = begun(self._serve, name="store")
        except OSError as error:
            raise DatabaseAway(f"The job database cannot be opened: {error.strerror}.") from error

    async def add(self, job: Job) -> None:
        await self._do(lambda database: database.add(job))

    async def save(self, job: Job, expected: JobState) -> None:
        await self._do(lambda database: database.save(job, expected))

    async def get(self, job_id: str) -> Job | None:
        return await self._do(lambda database: database.job(job_id))

    async def open_jobs(self) -> Sequence[Job]:
        return await self._do(Changes.open_jobs)

    async def by_image_id(self, image_id: str) -> Job | None:
        return await self._do(lambda database: database.by_image_id(image_id))

    async def accepted_elsewhere(self, job: Job) -> float | None:
        return await self._do(lambda database: database.accepted_elsewhere(job))

    async def reused_from(self, job: Job) -> Job | None:
        return await self._do(lambda database: database.paid_before(job.source.sha256, job.offsets, job.id))

    async def paid_here(self, job: Job) -> Job | None:
        return await self._do(lambda database: database.paid_here(job))

    async def failed(self, inbox: Path | None) -> Sequence[Job]:
        return await self._do(lambda database: database.failed_in(inbox))

    async def spent(self, today: Today) -> Sequence[Spent]:
        return await self._do(lambda database: database.spent(today))

    async def commands(self) -> Sequence[Command]:
        return await self._do(Changes.commands)

    async def carried_out(self, command: Command) -> None:
        await self._do(lambda database: database.forget(command))

    async def holds(self) -> Sequence[Hold]:
        return await self._do(Changes.holds)

    async def holds_changed(self) -> bool:
        """Nobody but this process sets or lifts one."""
        return False

    async def stand(self, command: Hold) -> None:
        await self._do(lambda database: database.stand(command))

    async def lift(self, command: Hold) -> None:
        await self._do(lambda database: database.lift(command))

    async def prune(self, before: float) -> int:
        return await self._do(lambda database: database.prune(before))

    def close(self) -> None:
        """Finish what was asked for, then end the thread."""
        self._requests.put(None)
        self._thread.join()

    async def _do(self, work: Callable[[Changes], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._requests.put(_Write(work, loop, future))
        # Shielded: a write whose caller was cancelled still happens, and nobody may act as if it had not.
        return await asyncio.shield(future)

    def _serve(self) -> None:
        connection: sqlite3.Connection | None = None
        closing = False
        while not closing:
            group = self._next_group()
            closing = group[-1] is None
            requests = [request for request in group if request is not None]
            try:
                connection = connection or open_store(self._path)
                _commit(connection, requests, self._path)
            except Exception as error:  # noqa: BLE001 - whatever it is, each write hears of it, and the thread lives on
                for request in requests:
                    request.tell(None, _away(self._path, error))
        if connection is not None:
            connection.close()

    def _next_group(self) -> list[_Write | None]:
        """All that is asked for by now, at least one; a None ends it."""
        group = [self._requests.get()]
        while group[-1] is not None and not self._requests.empty():
            group.append(self._requests.get())
        return group


def open_store(path: Path) -> sqlite3.Connection:
    """The job database at `path`, made if there is none. Raises sqlite3.Error, or DatabaseAway when it is too new."""
    # Of this user alone from its first instant, whatever the umask is; what SQLite puts beside it takes its mode. One
    # that is there is not opened: to close it again would end the locks that SQLite holds on it in this process.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    bring_up_to_date(connection)


def _commit(connection: sqlite3.Connection, requests: Sequence[_Write], path: Path) -> None:
    """All wishes in one transaction. Where that fails each has one of its own: a failure is told to nobody else."""
    try:
        outcomes = _transacted(connection, requests)
    except (sqlite3.Error, OSError):
        if len(requests) == 1:
            raise
        for request in requests:
            _commit_alone(connection, request, path)
        return
    for request, outcome, failure in outcomes:
        request.tell(outcome, failure)


def _commit_alone(connection: sqlite3.Connection, request: _Write, path: Path) -> None:
    try:
        _commit(connection, [request], path)
    except (sqlite3.Error, OSError) as error:
        request.tell(None, _away(path, error))


def _away(path: Path, error: Exception) -> DatabaseAway:
    away = DatabaseAway(
        f"The job database {path} cannot be used ({error}). Nothing is paid until it can be written: "
        "see to its disk, and make room there; expandd goes on by itself.",
    )
    away.__cause__ = error
    return away


def _transacted(
    connection: sqlite3.Connection, requests: Sequence[_Write]
) -> list[tuple[_Write, object, BaseException | None]]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        outcomes = [(request, *_outcome(connection, request)) for request in requests]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcomes


def _outcome(connection: sqlite3.Connection, request: _Write) -> tuple[object, BaseException | None]:
    """What one wish comes to. One that is stale or cannot be written changes nothing; a failing disk raises."""
    connection.execute("SAVEPOINT wish")
    outcome: object = None
    failure: BaseException | None = None
    try:
        outcome = request.work(Changes(connection))
    except (*_OF_THE_ROW, OverflowError) as error:
        failure = RowRefused(f"The job database does not take this change: {error}.")
        failure.__cause__ = error
    except (sqlite3.Error, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - it is the asker's, who gets it; the thread must live on
        failure = error
    if failure is not None:
        connection.execute("ROLLBACK TO wish")
    connection.execute("RELEASE wish")
    return outcome, failure


_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def damage(path: Path) -> str:
    """What is wrong with the job database, or "". One that is busy or on a full disk is not broken."""
    try:
        connection = open_store(path)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error) if getattr(error, "sqlite_errorname", "") in _CORRUPT else ""
    return "" if found == "ok" else str(found)


def begin_anew(path: Path) -> None:
    """Put what lies at `path` aside, under a name that says so, and make an empty job database. Raises DatabaseAway."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        for ending in ("", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(path.with_name(f"{path.name}.broken-{stamp}{ending}"))
        open_store(path).close()
    except (OSError, sqlite3.Error) as error:
        raise DatabaseAway(f"No new job database could be made at {path}: {error}.") from error
