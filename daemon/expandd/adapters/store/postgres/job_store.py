"""Opens, reads and writes the job database of several hosts, and translates its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from expandd.adapters.store.postgres.connection import ANSWERS_WITHIN, PostgresConnection
from expandd.adapters.store.postgres.schema import VERSION, version
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.connection import Connection
from expandd.adapters.store.sql.job_store import SqlJobStore
from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sql.rows import columns_of, text_of
from expandd.domain.commands import Command, Hold
from expandd.domain.errors import DatabaseAway, NameTaken, RowRefused
from expandd.domain.job import Job

SETTLED = frozenset({"id", "place", "relative", "source", "offsets", "prepared"})
"""The facts of a job that do not change after its file is uploaded."""

_NOTHING: tuple[object, ...] = ("", None, 0, [])
"""Default values of facts, which are not written."""


class PostgresChanges(Changes):
    """Writes over a connection, within the transaction of its caller. Each change is logged and sent to standbys.

    Where a row changes within its page, Postgres logs only the range from the first to the last changed byte. So the
    facts of a job are in two columns: those that hardly ever change come before all changing columns, the rest behind
    them, newest first.
    """

    def add(self, job: Job) -> None:
        # No index spans both the open and the finished jobs.
        if self._connection.execute("SELECT 1 FROM jobs_over WHERE id = ?", (job.id,)).fetchone():
            raise RowRefused(f"The job database does not take this change: there has been a job {job.id}.")
        super().add(job)

    def _row(self, job: Job) -> dict[str, Any]:
        columns, facts = columns_of(job)
        settled = {name: facts[name] for name in facts if name in SETTLED}
        # A job's later fields mostly become known last, and its state changes with each step.
        moving = {"state": facts["state"]}
        moving |= {name: facts[name] for name in reversed(facts) if name not in SETTLED and facts[name] not in _NOTHING}
        return {**columns, "settled": text_of(settled), "facts": text_of(moving)}

    def _write_payments(self, job: Job) -> None:
        # An upsert without a change is still logged, because it locks its row.
        known = self._connection.execute("SELECT number, outcome FROM payments WHERE job = ?", (job.id,))
        outcomes = {row[0]: row[1] for row in known}
        if any(outcomes.get(number) != paid.outcome.value for number, paid in enumerate(job.payments)):
            super()._write_payments(job)


_OF_THE_ROW = (psycopg.IntegrityError, psycopg.DataError)
_OTHERS_IN_THE_WAY = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
_NAMES = frozenset({"open_target", "open_resting"})


class PostgresDatabase:
    """The Postgres of a cluster. Its address is a secret: no error shows it."""

    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    failures = (psycopg.Error, OSError)

    def __init__(self, url: str, patience: float = ANSWERS_WITHIN) -> None:
        self._url = url
        self._patience = patience

    def connected(self, *, for_reading: bool = False) -> PostgresConnection:
        connection = PostgresConnection(self._url, for_reading=for_reading, patience=self._patience)
        try:
            _prove_version(version(connection))
        except BaseException:
            connection.close()
            raise
        return connection

    def refusal(self, error: Exception) -> RowRefused | None:
        if not isinstance(error, _OF_THE_ROW):
            return None
        said = in_a_line(error)
        if isinstance(error, psycopg.errors.UniqueViolation) and error.diag.constraint_name in _NAMES:
            return NameTaken(f"Another job has this name for its file already: {said}.")
        return RowRefused(f"The job database does not take this change: {said}.")

    def may_pass(self, error: Exception) -> bool:
        return isinstance(error, _OTHERS_IN_THE_WAY)

    def away(self, error: Exception) -> DatabaseAway:
        return DatabaseAway(
            f"The job database cannot be used: {in_a_line(error)}. Nothing is paid until it can: check Postgres, and "
            "to the network between; expandd goes on by itself."
        )


class PostgresJobStore(SqlJobStore):
    """The job database that several hosts share."""

    def __init__(self, url: str, patience: float = ANSWERS_WITHIN) -> None:
        super().__init__(PostgresDatabase(url, patience))
        self._known: dict[object, Hold] = {}
        """The holds as this process has read and changed them."""

    def _changes(self, connection: Connection) -> Changes:
        return PostgresChanges(connection)

    async def holds(self) -> Sequence[Hold]:
        found = await super().holds()
        self._known = held(found)
        return found

    async def holds_changed(self) -> bool:
        return held(await super().holds()) != self._known

    async def set_hold(self, command: Hold) -> None:
        await super().set_hold(command)
        self._known[command.key] = command

    async def lift_hold(self, command: Hold) -> None:
        await super().lift_hold(command)
        self._known.pop(command.key, None)


def held(holds: Sequence[Hold]) -> dict[object, Hold]:
    """Holds by their kind and subject."""
    return {hold.key: hold for hold in holds}


READ_WITHIN = 30.0
"""Seconds that a report's query may take, as some read the whole database."""


@contextmanager
def reading(url: str) -> Iterator[Queries]:
    """The job database for reading only. Raises DatabaseAway."""
    database = PostgresDatabase(url, READ_WITHIN)
    try:
        with closing(database.connected(for_reading=True)) as connection:
            yield Queries(connection)
    except (psycopg.Error, TimeoutError) as error:
        raise DatabaseAway(
            f"The job database cannot be read: {in_a_line(error)}. Nothing is paid until it can: check Postgres, and "
            "to the network between; the daemons go on by themselves."
        ) from error


def write_commands(url: str, commands: Sequence[Command]) -> None:
    """Store commands for the daemons, running or not, all or none. Raises DatabaseAway."""
    database = PostgresDatabase(url)
    try:
        with closing(database.connected()) as connection:
            connection.execute(database.begin)
            for command in commands:
                PostgresChanges(connection).add_command(command)
            connection.execute("COMMIT")
    except (psycopg.Error, TimeoutError) as error:
        raise DatabaseAway(f"The job database cannot be written: {in_a_line(error)}.") from error


def _prove_version(found: int) -> None:
    """Raise DatabaseAway for tables of an older version. Newer ones can be used, except for paying."""
    if found < VERSION:
        state = f"has tables of version {found}, this expandd needs {VERSION}" if found else "has no tables yet"
        raise DatabaseAway(f"The job database {state}: run `expandd cluster migrate` once, on one host.")


def in_a_line(error: Exception) -> str:
    """The message of an error in one line, without the address, which is a secret."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
