"""Access to the job database beside the daemon: reads it, and leaves commands for the daemon."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sqlite.job_store import SqliteConnection, open_store
from expandd.adapters.store.sqlite.schema import VERSION, version
from expandd.domain.commands import Command
from expandd.domain.errors import DatabaseAway


@contextmanager
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
                Changes(connection).leave(command)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseAway(f"The job database {path} cannot be written: {error}.") from error
