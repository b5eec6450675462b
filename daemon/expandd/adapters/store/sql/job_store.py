"""Runs all access to the job database in one writer thread that commits in groups."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from expandd.adapters.bulkheads import begun
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.connection import Connection, Database
from expandd.adapters.store.sql.queries import Queries
from expandd.domain.commands import Command, Hold
from expandd.domain.errors import DatabaseAway
from expandd.domain.job import Job, JobState
from expandd.domain.spending import Denied, Limits, Spent, Today

T = TypeVar("T")

TRIES = 4
"""Tries of a write that others block; the last failure is passed to the caller."""


@dataclass(frozen=True, slots=True)
class _Write:
    """One request to the writer thread, with the future of its outcome. One that only `reads` needs no transaction."""

    work: Callable[[Changes], Any]
    reads: bool
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


_Outcome = tuple[_Write, object, BaseException | None]
"""The result of a request, or its error."""


class SqlJobStore:
    """The job store over SQL. A write that returned survives a power cut. Close it to end its thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._requests: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        try:
            self._thread = begun(self._serve, name="store")
        except OSError as error:
            raise DatabaseAway(f"The job database cannot be opened: {error.strerror}.") from error

    async def add(self, job: Job) -> None:
        await self._do(lambda database: database.add(job))

    async def save(self, job: Job, expected: JobState) -> None:
        await self._do(lambda database: database.save(job, expected))

    async def submit(self, job: Job, expected: JobState, limits: Limits) -> Denied | None:
        return await self._do(lambda database: database.submit(job, expected, limits))

    async def get(self, job_id: str) -> Job | None:
        return await self._asked(lambda database: database.job(job_id))

    async def open_jobs(self) -> Sequence[Job]:
        return await self._asked(Changes.open_jobs)

    async def by_image_id(self, image_id: str) -> Job | None:
        return await self._asked(lambda database: database.by_image_id(image_id))

    async def accepted_elsewhere(self, job: Job) -> float | None:
        return await self._asked(lambda database: database.accepted_elsewhere(job))

    async def reused_from(self, job: Job) -> Job | None:
        return await self._asked(lambda database: database.paid_before(job.source.sha256, job.offsets, job.id))

    async def done_last(self, most: int) -> Sequence[Job]:
        return await self._asked(lambda database: database.done(most))

    async def paid_here(self, job: Job) -> Job | None:
        return await self._asked(lambda database: database.paid_here(job))

    async def failed(self, inbox: Path | None) -> Sequence[Job]:
        return await self._asked(lambda database: database.failed_in(inbox))

    async def spent(self, today: Today) -> Sequence[Spent]:
        return await self._asked(lambda database: database.spent(today))

    async def commands(self) -> Sequence[Command]:
        return await self._asked(Changes.commands)

    async def carried_out(self, command: Command) -> None:
        await self._do(lambda database: database.forget(command))

    async def holds(self) -> Sequence[Hold]:
        return await self._asked(Changes.holds)

    async def holds_changed(self) -> bool:
        """Always False: only this process sets or lifts holds."""
        return False

    async def set_hold(self, command: Hold) -> None:
        await self._do(lambda database: database.set_hold(command))

    async def lift_hold(self, command: Hold) -> None:
        await self._do(lambda database: database.lift_hold(command))

    async def prove(self) -> None:
        await self._do(Changes.prove)

    async def prune(self, before: float) -> int:
        return await self._do(lambda database: database.prune(before))

    def close(self) -> None:
        """Finish the pending requests, then end the thread."""
        self._requests.put(None)
        self._thread.join()

    def _changes(self, connection: Connection) -> Changes:
        """The changes that each request gets."""
        return Changes(connection)

    async def _asked(self, question: Callable[[Queries], T]) -> T:
        return await self._do(question, reads=True)

    async def _do(self, work: Callable[[Changes], T], *, reads: bool = False) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # A failed read whose caller has gone needs no report: it changed nothing.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._requests.put(_Write(work, reads, loop, future))
        # Shielded: a write whose caller was cancelled still happens, and no caller may act as if it had not.
        return await asyncio.shield(future)

    def _serve(self) -> None:
        closing = False
        while not closing:
            group = self._next_group()
            closing = group[-1] is None
            requests = [request for request in group if request is not None]
            try:
                if requests:
                    self._commit(requests)
            except Exception as error:  # noqa: BLE001 - each write gets the error, and the thread lives on
                self._tell_away(requests, error)
        self._let_go()

    def _next_group(self) -> list[_Write | None]:
        """All pending requests, at least one; a None ends the thread."""
        group = [self._requests.get()]
        while group[-1] is not None and not self._requests.empty():
            group.append(self._requests.get())
        return group

    def _commit(self, requests: Sequence[_Write]) -> None:
        """Run all requests in one transaction, or one by one where that fails: a failure reaches only its caller."""
        try:
            outcomes = self._transacted(requests)
        except self._database.failures:
            # While the database is away, each of them would wait in vain.
            if len(requests) == 1 or self._connection is None or self._connection.lost:
                raise
            for request in requests:
                self._commit_alone(request)
            return
        for request, outcome, failure in outcomes:
            request.tell(outcome, failure)

    def _commit_alone(self, request: _Write) -> None:
        try:
            self._commit([request])
        except self._database.failures as error:
            self._tell_away([request], error)

    def _tell_away(self, requests: Sequence[_Write], error: Exception) -> None:
        for request in requests:
            away = self._database.away(error)
            away.__cause__ = error
            request.tell(None, away)

    def _transacted(self, requests: Sequence[_Write]) -> list[_Outcome]:
        for left in reversed(range(TRIES)):
            try:
                return self._once(requests)
            except self._database.failures as error:
                if not left or not self._database.may_pass(error):
                    raise
        raise AssertionError

    def _once(self, requests: Sequence[_Write]) -> list[_Outcome]:
        """Run the requests on a connection, a new one where the last one turns out to be lost."""
        reading = all(request.reads for request in requests)
        if self._connection is not None:
            try:
                if reading:
                    return self._read(self._connection, requests)
                self._connection.execute(self._database.begin)
            except self._database.failures as error:
                if isinstance(error, TimeoutError) or not self._connection.lost:
                    raise
            else:
                return self._tried(self._connection, requests)
        self._let_go()
        self._connection = self._database.connected()
        if reading:
            return self._read(self._connection, requests)
        self._connection.execute(self._database.begin)
        return self._tried(self._connection, requests)

    def _read(self, connection: Connection, requests: Sequence[_Write]) -> list[_Outcome]:
        return [(request, *self._worked(connection, request)) for request in requests]

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _tried(self, connection: Connection, requests: Sequence[_Write]) -> list[_Outcome]:
        try:
            if len(requests) == 1:
                return [(requests[0], *self._outcome_alone(connection, requests[0]))]
            outcomes = [(request, *self._outcome(connection, request)) for request in requests]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes

    def _outcome_alone(self, connection: Connection, request: _Write) -> tuple[object, BaseException | None]:
        outcome, failure = self._worked(connection, request)
        connection.execute("ROLLBACK" if failure else "COMMIT")
        return outcome, failure

    def _outcome(self, connection: Connection, request: _Write) -> tuple[object, BaseException | None]:
        """The outcome of one request. A stale or refused one changes nothing."""
        connection.execute("SAVEPOINT request")
        outcome, failure = self._worked(connection, request)
        if failure is not None:
            connection.execute("ROLLBACK TO request")
        connection.execute("RELEASE request")
        return outcome, failure

    def _worked(self, connection: Connection, request: _Write) -> tuple[object, BaseException | None]:
        """The result, or the reason why it is refused. Raises the errors of a failing disk."""
        try:
            return request.work(self._changes(connection)), None
        except Exception as error:
            refusal = self._database.refusal(error)
            if refusal is not None:
                refusal.__cause__ = error
                return None, refusal
            if isinstance(error, self._database.failures):
                raise
            return None, error
