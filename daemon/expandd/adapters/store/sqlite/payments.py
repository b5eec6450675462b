"""Owns what the journal says of money: the payments, what was spent when, and what was paid for before."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expandd.adapters.store.sqlite.rows import from_row
from expandd.domain.calendar import Spent, Today
from expandd.domain.job import Job
from expandd.domain.offsets import Offsets


def write_payments(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Write down the payments of a job's row: new ones, and what has become of the old ones. None goes away."""
    connection.executemany(
        "INSERT INTO payments (job, number, inbox, at, outcome) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET outcome = excluded.outcome WHERE outcome != excluded.outcome",
        [(row["id"], number, row["inbox"], at, outcome) for number, at, outcome in json.loads(row["payments"])],
    )


def spent(connection: sqlite3.Connection, today: Today) -> Sequence[Spent]:
    """What was paid for since the month began, by inbox and day."""
    rows = connection.execute(
        "SELECT inbox, date(at, 'unixepoch', 'localtime') AS day, count(*) FROM counted_payments "
        "WHERE at >= ? GROUP BY inbox, day "
        "UNION ALL SELECT inbox, day, paid FROM ledger WHERE day >= ? AND paid > 0",
        (today.month_began, f"{today.month}-01"),
    )
    return [Spent(Path(os.fsdecode(row[0])), row[1], row[2]) for row in rows]


def paid_here(connection: sqlite3.Connection, job: Job) -> Job | None:
    """The youngest other job of the same inbox that is done with a result for the same bytes."""
    found = connection.execute(
        "SELECT * FROM whole_jobs WHERE state = 'done' AND sha256 = ? AND id != ? AND inbox = ? AND twin = '' "
        "AND result_sha256 IS NOT NULL ORDER BY id DESC LIMIT 1",
        (job.source.sha256, job.id, os.fsencode(job.place.inbox)),
    ).fetchone()
    return None if found is None else from_row(found)


def paid_before(connection: sqlite3.Connection, sha256: str, offsets: Offsets, besides: str = "") -> Job | None:
    """The youngest job, `besides` the one of this id, that is done with a result for these bytes and offsets."""
    found = connection.execute(
        # `state` stands in the query because it stands in the index.
        "SELECT * FROM whole_jobs WHERE state = 'done' AND sha256 = ? AND id != ? AND result_sha256 IS NOT NULL "
        'AND "top" = ? AND "bottom" = ? AND "left" = ? AND "right" = ? ORDER BY id DESC LIMIT 1',
        (sha256, besides, offsets.top, offsets.bottom, offsets.left, offsets.right),
    ).fetchone()
    return None if found is None else from_row(found)
