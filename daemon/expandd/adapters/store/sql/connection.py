"""The protocols between the shared SQL and the two databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from expandd.domain.errors import DatabaseAway, RowRefused

Value = str | bytes | int | float | None


class Row(Protocol):
    """A row, accessed by the names or numbers of its columns."""

    def __getitem__(self, key: Any, /) -> Any: ...


class Cursor(Protocol):
    """The rows of a query; `rowcount` is the number of changed rows."""

    @property
    def rowcount(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any: ...


class Statements(Protocol):
    """Runs SQL statements. Parameters are `?` by position, or `:name` by name."""

    def execute(self, query: str, values: Any = (), /) -> Cursor: ...

    def executemany(self, query: str, rows: Any, /) -> object: ...

    def lock_spending(self) -> bool:
        """Keep all others from spending until the transaction ends; returns whether this version may spend."""
        ...


class Connection(Statements, Protocol):
    """A connection to a database. Transactions begin and end by statements only."""

    @property
    def in_transaction(self) -> bool: ...

    @property
    def lost(self) -> bool:
        """Whether it cannot be used any more."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """A kind of database: opens connections and interprets errors."""

    @property
    def begin(self) -> str:
        """The statement that begins a transaction that writes."""
        ...

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The errors that each call of a connection may raise."""
        ...

    def connected(self) -> Connection:
        """A new connection, ready to be used. Raises DatabaseAway and `failures`."""
        ...

    def refusal(self, error: Exception) -> RowRefused | None:
        """The refusal of a value, for an error caused by it; None where the database itself has failed."""
        ...

    def may_pass(self, error: Exception) -> bool:
        """Whether an immediate second try may succeed."""
        ...

    def away(self, error: Exception) -> DatabaseAway:
        """The error as DatabaseAway, with a sentence for people."""
        ...
