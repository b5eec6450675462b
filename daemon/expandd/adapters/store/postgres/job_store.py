"""The job database of several hosts: how it is opened, read and steered, and what its failures mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg

from expandd.adapters.store.postgres.changes import PostgresChanges
from expandd.adapters.store.postgres.connection import ANSWERS_WITHIN, PostgresConnection
from expandd.adapters.store.postgres.schema import VERSION, version
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.connection import Connection
from expandd.adapters.store.sql.job_store import SqlJobStore
from expandd.adapters.store.sql.queries import Queries
from expandd.domain.commands import Command, Hold
from expandd.domain.errors import DatabaseAway, NameTaken, RowRefused

_OF_THE_ROW = (psycopg.IntegrityError, psycopg.DataError)
_OTHERS_IN_THE_WAY = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
_NAMES = frozenset({"open_target", "open_resting"})


class PostgresDatabase:
    """Its address is a secret: no error shows it."""

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
            f"The job database cannot be used: {in_a_line(error)}. Nothing is paid until it can: see to Postgres, and "
            "to the network between; expandd goes on by itself."
        )


class PostgresJobStore(SqlJobStore):
    """The job database that several hosts share."""

    def __init__(self, url: str, patience: float = ANSWERS_WITHIN) -> None:
        super().__init__(PostgresDatabase(url, patience))
        self._known: dict[object, Hold] = {}
        """The holds as this process has been told of them, and has changed them."""

    def _changes(self, connection: Connection) -> Changes:
        return PostgresChanges(connection)

    async def holds(self) -> Sequence[Hold]:
        found = await super().holds()
        self._known = held(found)
        return found

    async def holds_changed(self) -> bool:
        return held(await super().holds()) != self._known

    async def stand(self, command: Hold) -> None:
        await super().stand(command)
        self._known[command.key] = command

    async def lift(self, command: Hold) -> None:
        await super().lift(command)
        self._known.pop(command.key, None)


def held(holds: Sequence[Hold]) -> dict[object, Hold]:
    """Holds by what they are about."""
    return {hold.key: hold for hold in holds}


READ_WITHIN = 30.0
"""Seconds that a question of a report may take: some look at all there is."""


@contextmanager
def reading(url: str) -> Iterator[Queries]:
    """The job database for reading alone. Raises DatabaseAway."""
    database = PostgresDatabase(url, READ_WITHIN)
    try:
        with closing(database.connected(for_reading=True)) as connection:
            yield Queries(connection)
    except (psycopg.Error, TimeoutError) as error:
        raise DatabaseAway(
            f"The job database cannot be read: {in_a_line(error)}. Nothing is paid until it can: see to Postgres, and "
            "to the network between; the daemons go on by themselves."
        ) from error


def write_commands(url: str, commands: Sequence[Command]) -> None:
    """Leave commands for the daemons, running or not, all or none. Raises DatabaseAway."""
    database = PostgresDatabase(url)
    try:
        with closing(database.connected()) as connection:
            connection.execute(database.begin)
            for command in commands:
                PostgresChanges(connection).leave(command)
            connection.execute("COMMIT")
    except (psycopg.Error, TimeoutError) as error:
        raise DatabaseAway(f"The job database cannot be written: {in_a_line(error)}.") from error


def _prove_version(found: int) -> None:
    """A newer one can be worked with, but for paying."""
    if found < VERSION:
        state = f"has tables of version {found}, this expandd needs {VERSION}" if found else "has no tables yet"
        raise DatabaseAway(f"The job database {state}: run `expandd cluster migrate` once, on one host.")


def in_a_line(error: Exception) -> str:
    """What a failure says; never the address, which is a secret."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
