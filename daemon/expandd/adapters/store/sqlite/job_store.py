"""Opens SQLite in the state directory, interprets its errors, and replaces a damaged database.

Reports and verbs beside the daemon also use it to read, and to store commands.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.job_store import SqlJobStore
from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sqlite.schema import VERSION, bring_up_to_date, version
from expandd.domain.commands import Command
from expandd.domain.errors import DatabaseAway, NameTaken, RowRefused

_OF_THE_ROW = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    OverflowError,
)
"""Errors that are about the written value, not about the disk."""


_NAMES = frozenset(f"UNIQUE constraint failed: jobs.{name}" for name in ("target", "resting"))
"""The messages of SQLite for two open jobs with the same path."""


TICK = 1_000_000_000
"""Nanoseconds after which a write changes the time of a file."""


class SqliteConnection(sqlite3.Connection):
    """A connection to a file."""

    @property
    def lost(self) -> bool:
        return False

    def lock_spending(self) -> bool:
        """SQLite allows only one writing transaction at a time."""
        return True


class SqliteDatabase:
    """SQLite in WAL mode with synchronous=FULL."""

    begin = "BEGIN IMMEDIATE"
    failures = (sqlite3.Error, OSError)

    def __init__(self, path: Path) -> None:
        self._path = path

    def connected(self) -> SqliteConnection:
        return open_store(self._path)

    def refusal(self, error: Exception) -> RowRefused | None:
        if not isinstance(error, _OF_THE_ROW):
            return None
        if str(error) in _NAMES:
            return NameTaken(f"Another job has this name for its file already: {error}.")
        return RowRefused(f"The job database does not take this change: {error}.")

    def may_pass(self, error: Exception) -> bool:
        """False, as each call itself waits for others."""
        del error
        return False

    def away(self, error: Exception) -> DatabaseAway:
        return DatabaseAway(
            f"The job database {self._path} cannot be used ({error}). Nothing is paid until it can be written: "
            "check its disk, and make room there; expandd goes on by itself.",
        )


class SqliteJobStore(SqlJobStore):
    """The job database of one host."""

    def __init__(self, path: Path) -> None:
        super().__init__(SqliteDatabase(path))
        self._log = path.with_name(f"{path.name}-wal")
        self._without_commands: tuple[int, int] | None = None

    async def commands(self) -> Sequence[Command]:
        """The waiting commands; without a query where nothing was written since there were none."""
        as_now = self._written()
        if as_now is not None and as_now == self._without_commands:
            return ()
        found = await super().commands()
        self._without_commands = None if found else as_now
        return found

    def _written(self) -> tuple[int, int] | None:
        """Facts of the log that each commit changes; None where a later commit might fall into the same clock tick.

        Not in a thread, which costs more than the call: SQLite keeps this log on local disks only.
        """
        try:
            log = os.stat(self._log)  # noqa: PTH116 - the fastest way, as this is called all the time
        except OSError:
            return None
        return (log.st_mtime_ns, log.st_size) if abs(time.time_ns() - log.st_mtime_ns) > TICK else None


def open_store(path: Path) -> SqliteConnection:
    """The job database at `path`, made if there is none. Raises sqlite3.Error, or DatabaseAway when it is too new."""
    # Private to this user from the start, with any umask; SQLite's files beside it get the same mode. An existing one
    # is not opened, because closing it would end the locks that SQLite has on it in this process.
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=10.0, factory=SqliteConnection
    )
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


_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def damage(path: Path) -> str:
    """The damage of the job database, or "". A busy one, or one on a full disk, is not damaged."""
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
    """Rename the damaged file at `path` and make an empty job database. Raises DatabaseAway."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        for ending in ("", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(path.with_name(f"{path.name}.broken-{stamp}{ending}"))
        open_store(path).close()
    except (OSError, sqlite3.Error) as error:
        raise DatabaseAway(f"No new job database could be made at {path}: {error}.") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Queries | None]:
    """The job database at `path` for reading only, or None when there is none yet. Raises DatabaseAway."""
    if not path.exists():
        yield None
        return
    try:
        connection = sqlite3.connect(path, timeout=5.0, factory=SqliteConnection)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = ON")
            found = version(connection)
            _prove_version(path, found)
            yield Queries(connection) if found else None
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseAway(f"The job database {path} cannot be read: {error}.") from error


def _prove_version(path: Path, found: int) -> None:
    """Raise DatabaseAway for tables of another version, because a reader never migrates them."""
    if found > VERSION:
        raise DatabaseAway(f"The job database {path} was written by a newer expandd. Use that version to read it.")
    # The daemon is just making a database of version 0.
    if 0 < found < VERSION:
        raise DatabaseAway(
            f"The job database {path} was written by an older expandd and is brought up to date when this one starts: "
            "`systemctl restart expandd`, then ask again."
        )


def write_commands(path: Path, commands: Sequence[Command]) -> None:
    """Store commands for the daemon, running or not, all or none. Raises DatabaseAway."""
    if not path.exists():
        # A new one made here would hide from the next start that the old one has gone.
        raise DatabaseAway(f"The job database {path} is not there. Has expandd run with it, and is its disk mounted?")
    try:
        connection = open_store(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for command in commands:
                Changes(connection).add_command(command)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseAway(f"The job database {path} cannot be written: {error}.") from error
