"""Owns the little that is written to the journal from beside the daemon: what people order."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from expandd.adapters.store.sqlite.commands import write_order
from expandd.adapters.store.sqlite.job_store import open_journal
from expandd.domain.commands import Order
from expandd.domain.errors import JournalAway


def write_orders(path: Path, orders: Sequence[Order]) -> None:
    """Leave orders for the daemon, running or not, all or none. Raises JournalAway."""
    if not path.exists():
        # One that is made here would hide from the next start that the old one is gone.
        raise JournalAway(f"The journal {path} is not there. Has expandd run with it, and is its disk mounted?")
    try:
        connection = open_journal(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for order in orders:
                write_order(connection, order)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise JournalAway(f"The journal {path} cannot be written: {error}.") from error
