"""Commands and holds as rows of the job database."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from expandd.domain.commands import Lasting, Order, StandingOrder, Verb


def write_order(connection: sqlite3.Connection, order: Order) -> None:
    connection.execute(
        "INSERT INTO orders (verb, at, job, inbox, relative) VALUES (?, ?, ?, ?, ?)",
        (order.verb.value, order.at, order.job_id, _maybe_bytes(order.inbox), _maybe_bytes(order.relative)),
    )


def orders(connection: sqlite3.Connection) -> list[Order]:
    """All that nobody has carried out yet, oldest first."""
    rows = connection.execute("SELECT * FROM orders ORDER BY number")
    return [
        Order(
            verb=Verb(row["verb"]),
            at=row["at"],
            job_id=row["job"],
            inbox=_maybe_path(row["inbox"]),
            relative=_maybe_path(row["relative"]),
            number=row["number"],
        )
        for row in rows
    ]


def forget_order(connection: sqlite3.Connection, order: Order) -> None:
    connection.execute("DELETE FROM orders WHERE number = ?", (order.number,))


def standing_orders(connection: sqlite3.Connection) -> list[StandingOrder]:
    rows = connection.execute("SELECT * FROM standing_orders ORDER BY at")
    return [
        StandingOrder(
            lasting=Lasting(row["lasting"]),
            at=row["at"],
            inbox=_maybe_path(row["inbox"]),
            relative=_maybe_path(row["relative"]),
            sha256=row["sha256"],
        )
        for row in rows
    ]


def stand(connection: sqlite3.Connection, order: StandingOrder) -> None:
    """Write down an order that lasts; one that stands already is as old as the new one."""
    connection.execute("INSERT OR REPLACE INTO standing_orders VALUES (?, ?, ?, ?, ?)", _row(order))


def lift(connection: sqlite3.Connection, order: StandingOrder) -> None:
    lasting, _, inbox, relative, sha256 = _row(order)
    connection.execute(
        "DELETE FROM standing_orders WHERE lasting = ? AND inbox = ? AND relative = ? AND sha256 = ?",
        (lasting, inbox, relative, sha256),
    )


def _row(order: StandingOrder) -> tuple[str, float, bytes, bytes, str]:
    """Empty bytes where there is no path: a key has no NULL."""
    inbox, relative = _maybe_bytes(order.inbox) or b"", _maybe_bytes(order.relative) or b""
    return order.lasting.value, order.at, inbox, relative, order.sha256


def _maybe_bytes(path: Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _maybe_path(raw: bytes | None) -> Path | None:
    return Path(os.fsdecode(raw)) if raw else None
