"""Connects to Postgres: gives up on a server without an answer, and accepts the SQL of all job databases."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from expandd.adapters.store.postgres.schema import VERSION

T = TypeVar("T")

ANSWERS_WITHIN = 10.0
"""Seconds after which a server without an answer counts as away: it hangs, or the network drops everything.

A host that freezes within a transaction blocks the others for half of that.
"""

_DEFAULTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
    "application_name": "expandd",
    "client_encoding": "UTF8",
}
"""Defaults for parts that the address of the database leaves out."""

# The server became a standby, or tables have changed since a statement was prepared.
_OF_THE_CONNECTION = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.FeatureNotSupported)

_SPENDING = 0x6578_7061_6E65
"""The number of the advisory lock of each transaction that spends."""


class _Row:
    """A row, accessed by the names or numbers of its columns."""

    __slots__ = ("_names", "_values")

    def __init__(self, names: Mapping[str, int], values: Sequence[Any]) -> None:
        self._names = names
        self._values = values

    def __getitem__(self, key: int | str) -> Any:
        return self._values[self._names[key] if isinstance(key, str) else key]


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    names = {column.name: number for number, column in enumerate(cursor.description or ())}
    return lambda values: _Row(names, values)


class _Impatient(psycopg.Connection[_Row]):
    """A psycopg connection that waits for each answer at most `patience` seconds."""

    patience: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        return super().wait(gen, interval, timeout if timeout is not None else self.patience)


class PostgresConnection:
    """A connection whose transactions begin and end by statements."""

    def __init__(self, url: str, *, for_reading: bool = False, patience: float | None = ANSWERS_WITHIN) -> None:
        """Connect. Without `patience` statements have no time limit. Raises psycopg.Error."""
        self._connection = _Impatient.connect(
            completed(url, for_reading=for_reading), autocommit=True, row_factory=_rows
        )
        self._connection.patience = patience
        try:
            self._begin_session(patience, for_reading=for_reading)
        except BaseException:
            self._connection.close()
            raise

    def _begin_session(self, patience: float | None, *, for_reading: bool) -> None:
        # The server gives up before its client, so that its error says why.
        timeouts = {"statement_timeout": 0.8, "lock_timeout": 0.6, "idle_in_transaction_session_timeout": 0.5}
        settings = {name: f"{part * patience * 1000:.0f}ms" for name, part in timeouts.items()} if patience else {}
        if for_reading:
            settings["default_transaction_read_only"] = "on"
        if self._connection.execute("SHOW synchronous_commit").fetchone()[0] in {"off", "local"}:  # type: ignore[index]  # SHOW has a row
            settings["synchronous_commit"] = "on"
        if settings:
            calls = ", ".join(["set_config(%s, %s, false)"] * len(settings))
            self._connection.execute(f"SELECT {calls}".encode(), [part for pair in settings.items() for part in pair])
        if zone := _time_zone():
            # The server does not know this time zone: its own days serve as well.
            with contextlib.suppress(psycopg.DataError):
                self._connection.execute("SELECT set_config('timezone', %s, false)", [zone])

    @property
    def in_transaction(self) -> bool:
        return self._connection.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}

    @property
    def lost(self) -> bool:
        return self._connection.closed

    @property
    def where(self) -> str:
        """The server and the database, for people."""
        info = self._connection.info
        return f"{info.dbname} at {info.host}:{info.port}"

    def execute(self, query: str, values: Any = (), /) -> psycopg.Cursor[_Row]:
        try:
            return self._connection.execute(_as_psycopg_takes_it(query) if values else query.encode(), values or None)
        except psycopg.Error as error:
            raise self._judged(error) from error

    def executemany(self, query: str, rows: Any, /) -> None:
        try:
            self._connection.cursor().executemany(_as_psycopg_takes_it(query), rows)
        except psycopg.Error as error:
            raise self._judged(error) from error

    def copy(self, table: str, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Add rows to a table; returns how many. Names are our own."""
        columns, count = ", ".join(f'"{name}"' for name in names), 0
        with self._connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copying:
            for count, row in enumerate(rows, 1):  # noqa: B007 - it is what is told
                copying.write_row(row)
        return count

    def _judged(self, error: psycopg.Error) -> Exception:
        """Close the connection if it cannot be used any more: an answer is outstanding, or its server is wrong."""
        waits = self._connection.info.transaction_status is TransactionStatus.ACTIVE
        if waits or isinstance(error, _OF_THE_CONNECTION):
            self.close()
        return TimeoutError(f"the server has not answered for {self._connection.patience:g} s") if waits else error

    def lock_spending(self) -> bool:
        self.execute("SELECT pg_advisory_xact_lock(?)", (_SPENDING,))
        row = self.execute("SELECT version FROM expandd_schema").fetchone()
        return row is not None and row[0] <= VERSION

    def close(self) -> None:
        self._connection.close()


def completed(url: str, *, for_reading: bool = False) -> str:
    """The address, completed by the defaults. Raises psycopg.Error."""
    # Of several servers in the address, one that accepts writes.
    defaults: dict[str, Any] = {**_DEFAULTS, **({} if for_reading else {"target_session_attrs": "read-write"})}
    said = conninfo_to_dict(url)
    return make_conninfo(url, **{name: value for name, value in defaults.items() if name not in said})


@lru_cache(maxsize=256)
def _as_psycopg_takes_it(query: str) -> bytes:
    return re.sub(r"(?<![:\w]):([a-z]\w*)", r"%(\1)s", query.replace("%", "%%").replace("?", "%s")).encode()


def _time_zone() -> str:
    """The name of this machine's time zone, by which the server counts days and hours; "" where it is unknown."""
    _, _, name = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")
    return os.environ.get("TZ", "").removeprefix(":") or name
