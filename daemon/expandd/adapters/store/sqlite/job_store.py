"""SQLite in the state directory: how it is opened, what its failures mean, and what to do with a damaged one.

Also the access to it beside the daemon, which reads, and leaves commands.
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
"""Failures that say something of what was to be written, and nothing of the disk."""


_NAMES = frozenset(f"UNIQUE constraint failed: jobs.{name}" for name in ("target", "resting"))
"""What two open jobs with one path are called."""


TICK = 1_000_000_000
"""Nanoseconds after which a file that is written has another time than before."""


class SqliteConnection(sqlite3.Connection):
    """A connection to a file."""

    @property
    def lost(self) -> bool:
        return False

    def lock_spending(self) -> bool:
        """Who has begun to write is alone."""
        return True


class SqliteDatabase:
    """WAL with synchronous=FULL."""

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
        """Others are waited for within the call."""
        del error
        return False

    def away(self, error: Exception) -> DatabaseAway:
        return DatabaseAway(
            f"The job database {self._path} cannot be used ({error}). Nothing is paid until it can be written: "
            "see to its disk, and make room there; expandd goes on by itself.",
        )


class SqliteJobStore(SqlJobStore):
    """The job database of one host."""

    def __init__(self, path: Path) -> None:
        super().__init__(SqliteDatabase(path))
        self._log = path.with_name(f"{path.name}-wal")
        self._without_commands: tuple[int, int] | None = None

    async def commands(self) -> Sequence[Command]:
        """The commands that wait; the database is not asked where nothing was written since it had none."""
        as_now = self._written()
        if as_now is not None and as_now == self._without_commands:
            return ()
        found = await super().commands()
        self._without_commands = None if found else as_now
        return found

    def _written(self) -> tuple[int, int] | None:
        """What each commit changes; None where a later one might not, within the same tick of the file's clock.

        Not in a thread, which costs more than the answer: SQLite keeps such a log on local disks alone.
        """
        try:
            log = os.stat(self._log)  # noqa: PTH116 - as quick as can be: it is asked all the time
        except OSError:
            return None
        return (log.st_mtime_ns, log.st_size) if abs(time.time_ns() - log.st_mtime_ns) > TICK else None


def open_store(path: Path) -> SqliteConnection:
    """The job database at `path`, made if there is none. Raises sqlite3.Error, or DatabaseAway when it is too new."""
    # Of this user alone from its first instant, whatever the umask is; what SQLite puts beside it takes its mode. One
    # that is there is not opened: to close it again would end the locks that SQLite holds on it in this process.
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


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Queries | None]:
    """The job database at `path` for reading alone, or None when there is none yet. Raises DatabaseAway."""
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
    """Read only what is of this version: a reader changes nothing."""
    if found > VERSION:
        raise DatabaseAway(f"The job database {path} was written by a newer expandd. Use that version to read it.")
    # 0 is one that the daemon is just making.
    if 0 < found < VERSION:
        raise DatabaseAway(
            f"The job database {path} was written by an older expandd and is brought up to date when this one starts: "
            "`systemctl restart expandd`, then ask again."
        )


def write_commands(path: Path, commands: Sequence[Command]) -> None:
    """Leave commands for the daemon, running or not, all or none. Raises DatabaseAway."""
    if not path.exists():
        # One that is made here would hide from the next start that the old one is gone.
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
