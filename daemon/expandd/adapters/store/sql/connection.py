"""The protocols between the SQL that is common and the two databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from expandd.domain.errors import DatabaseAway, RowRefused

Value = str | bytes | int | float | None


class Row(Protocol):
    """A row by the names of its columns and by their numbers."""

    def __getitem__(self, key: Any, /) -> Any: ...


class Cursor(Protocol):
    """The rows of a query; `rowcount` is how many a change concerned."""

    @property
    def rowcount(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any: ...


class Statements(Protocol):
    """Takes SQL. Parameters are `?` by number, or `:name` by name."""

    def execute(self, query: str, values: Any = (), /) -> Cursor: ...

    def executemany(self, query: str, rows: Any, /) -> object: ...

    def lock_spending(self) -> bool:
        """Keep all others from spending until the transaction ends. Whether this version of the program may spend."""
        ...


class Connection(Statements, Protocol):
    """One to a database. Transactions are begun and ended by statements alone."""

    @property
    def in_transaction(self) -> bool: ...

    @property
    def lost(self) -> bool:
        """Whether nothing can be asked by it any more."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """A kind of database: how it is opened, and what its failures mean."""

    @property
    def begin(self) -> str:
        """The statement that begins a transaction that writes."""
        ...

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What each call of a connection may raise."""
        ...

    def connected(self) -> Connection:
        """A new connection, ready to be used. Raises DatabaseAway and `failures`."""
        ...

    def refusal(self, error: Exception) -> RowRefused | None:
        """What a failure says of that which was to be written; None where it says something of the database."""
        ...

    def may_pass(self, error: Exception) -> bool:
        """Whether the same may well succeed when it is tried again at once."""
        ...

    def away(self, error: Exception) -> DatabaseAway:
        """What a failure is for people."""
        ...
