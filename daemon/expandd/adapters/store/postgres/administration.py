"""Administers the job database of several hosts: its state, its tables, and the import of one host's database."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from expandd.adapters.store.postgres.connection import ANSWERS_WITHIN, PostgresConnection
from expandd.adapters.store.postgres.hosts import HostChanges
from expandd.adapters.store.postgres.job_store import in_a_line
from expandd.adapters.store.postgres.schema import VERSION, migrate, version
from expandd.adapters.store.postgres.tasks import make_tables
from expandd.adapters.store.sqlite.job_store import SqliteConnection, open_store
from expandd.domain.errors import DatabaseAway
from expandd.domain.hosts import HostLine

TABLES = ("jobs", "payments", "commands", "holds", "ledger")
"""The tables of a single host; those of the cluster itself begin empty."""

IMPORTED = ".imported"
"""The suffix of a file after its import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The state of the server. `tables` is the version of its tables, `known` this program's."""

    where: str
    release: str
    tables: int
    ahead: float
    """Seconds by which this machine's clock is ahead of the server's."""
    unsafe_standby: bool
    """Whether a standby may lack the last commits."""
    known: int = VERSION


def inspect_server(url: str) -> Server:
    """The state of the server. Raises DatabaseAway."""
    with _connected(url, ANSWERS_WITHIN) as connection:
        before = time.time()
        row = connection.execute(
            "SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8, "
            "(SELECT count(*) FROM pg_stat_replication), current_setting('synchronous_standby_names')"
        ).fetchone()
        assert row is not None
        return Server(
            where=connection.where,
            release=row[0].split()[0],
            tables=version(connection),
            ahead=(before + time.time()) / 2 - row[1],
            unsafe_standby=bool(row[2]) and not row[3],
        )


def bring_up_to_date(url: str) -> tuple[int, int]:
    """Migrate the tables to this program's version; the versions before and after. Raises DatabaseAway."""
    with _connected(url) as connection:
        versions = migrate(connection)
    make_tables(url)
    return versions


def hosts(url: str) -> Sequence[HostLine]:
    """The known facts of all hosts, the youngest last. Raises DatabaseAway."""
    with _connected(url, ANSWERS_WITHIN) as connection:
        return HostChanges(connection).hosts()


def drain(url: str, name: str, *, draining: bool) -> int:
    """Drain the living hosts of this name, or end that; returns how many. Raises DatabaseAway."""
    with _connected(url, ANSWERS_WITHIN) as connection:
        return HostChanges(connection).drain(name, draining=draining)


def bury(url: str, name: str) -> int:
    """Record a person's word that the dead hosts of this name never return; returns how many. Raises DatabaseAway."""
    with _connected(url, ANSWERS_WITHIN) as connection:
        return HostChanges(connection).bury(name)


def import_file(url: str, path: Path) -> dict[str, int]:
    """Import the job database of one host, all or nothing, and rename its file; returns the rows of each table.

    No daemon may use the file meanwhile. Raises DatabaseAway, also where the cluster's database is not empty.
    """
    bring_up_to_date(url)
    with _connected(url) as connection, closing(open_store(path)) as file:
        connection.execute("BEGIN")
        connection.execute(f"LOCK TABLE {', '.join(TABLES)}")
        for table in TABLES:
            if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():  # noqa: S608 - our own names
                raise DatabaseAway("It holds jobs already: only an empty one takes over what another has.")
        counts = {table: connection.copy(table, *_rows(file, table)) for table in TABLES}
        connection.execute("SELECT setval(pg_get_serial_sequence('commands', 'number'), max(number)) FROM commands")
        connection.execute("COMMIT")
    path.rename(path.with_name(path.name + IMPORTED))
    return counts


def _rows(file: SqliteConnection, table: str) -> tuple[list[str], Iterator[list[object]]]:
    """The names of the columns, and the rows without the NUL characters of older texts, which Postgres refuses."""
    cursor = file.execute(f"SELECT * FROM {table}")  # noqa: S608 - our own names
    names = [column[0] for column in cursor.description]
    return names, ([v.replace("\0", "\\x00") if isinstance(v, str) else v for v in row] for row in cursor)


@contextmanager
def _connected(url: str, patience: float | None = None) -> Iterator[PostgresConnection]:
    """A connection; its errors become DatabaseAway."""
    try:
        with closing(PostgresConnection(url, patience=patience)) as connection:
            yield connection
    except (psycopg.Error, TimeoutError) as error:
        raise DatabaseAway(f"The job database cannot be used: {in_a_line(error)}.") from error
