"""Owns what the journal says of money: what was spent when, and what was paid for before."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from expandd.adapters.journal_rows import from_row
from expandd.domain.calendar import Spent, Today
from expandd.domain.job import Job
from expandd.domain.offsets import Offsets


def spent(connection: sqlite3.Connection, today: Today, *, over: bool) -> Sequence[Spent]:
    """What was paid for since the month began, by inbox and day; by jobs that are `over` alone, or by all."""
    rows = connection.execute(
        "SELECT inbox, date(spent_at, 'unixepoch', 'localtime') AS day, count(*) FROM jobs "
        "WHERE spent_at >= ? AND closed >= ? GROUP BY inbox, day "
        "UNION ALL SELECT inbox, day, paid FROM ledger WHERE day >= ? AND paid > 0",
        (today.month_began, int(over), f"{today.month}-01"),
    )
    return [Spent(Path(os.fsdecode(row[0])), row[1], row[2]) for row in rows]


def paid_before(connection: sqlite3.Connection, sha256: str, offsets: Offsets, besides: str = "") -> Job | None:
    """The youngest job, `besides` the one of this id, that is done with a result for these bytes and offsets."""
    found = connection.execute(
        # `state` stands in the query because it stands in the index.
        "SELECT * FROM jobs WHERE state = 'done' AND sha256 = ? AND id != ? AND result_sha256 IS NOT NULL "
        'AND "top" = ? AND "bottom" = ? AND "left" = ? AND "right" = ? ORDER BY id DESC LIMIT 1',
        (sha256, besides, offsets.top, offsets.bottom, offsets.left, offsets.right),
    ).fetchone()
    return None if found is None else from_row(found)
