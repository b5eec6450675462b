"""Jobs and payments as rows of the database.

A job is one column of JSON. Beside it stands what queries look for, in columns from which nothing is read.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from expandd.adapters.json_text import parsed_json
from expandd.adapters.store.job_json import from_json, to_json
from expandd.domain.errors import DatabaseAway
from expandd.domain.job import Job
from expandd.domain.offsets import Offsets
from expandd.domain.spending import Spent, Today


def to_row(job: Job) -> dict[str, Any]:
    """The row of a job, by column name. Its payments are rows of another table.

    Raises RowRefused for a value that could not be read back.
    """
    facts = to_json(job)
    del facts["payments"]
    return {
        "id": facts["id"],
        "state": facts["state"],
        "closed": facts["closed"],
        "held": facts["held"],
        "owner": facts["owner"],
        "epoch": facts["epoch"],
        "inbox": os.fsencode(job.place.inbox),
        "relative": os.fsencode(job.relative),
        "target": _path(job.target),
        "resting": _path(job.resting),
        "sha256": facts["source"]["sha256"],
        "top": job.offsets.top,
        "bottom": job.offsets.bottom,
        "left": job.offsets.left,
        "right": job.offsets.right,
        "image_id": facts["image_id"],
        "differs": None if job.result is None else job.result.differs,
        "reused_from": facts["reused_from"],
        "duplicate_of": facts["duplicate_of"],
        "changed": job.stamps[-1].at if job.stamps else 0.0,
        "facts": json.dumps(facts, separators=(",", ":")),
    }


def from_row(row: sqlite3.Row) -> Job:
    """The job of a row of `whole_jobs`. Raises DatabaseAway for one that is damaged."""
    try:
        payments = sorted(parsed_json(row["payments"]), key=itemgetter("number"))
        return from_json({**parsed_json(row["facts"]), "payments": payments})
    except (ValueError, TypeError) as error:
        raise DatabaseAway(f"The job database holds a damaged job, {row['id']} ({error}).") from error


def insert_job(connection: sqlite3.Connection, job: Job) -> None:
    """Write down a new job. Raises sqlite3.IntegrityError where there is one of its id, and RowRefused."""
    row = to_row(job)
    # Built from our own column names alone; "left" and "right" are words of SQL.
    names, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO jobs ({names}) VALUES ({values})", row)  # noqa: S608 - as said
    write_payments(connection, job)


def update_job(connection: sqlite3.Connection, job: Job, expected: str) -> bool:
    """Replace the row of a job in state `expected`, if it is of the same owner and epoch; whether there was one."""
    row = to_row(job)
    changes = ", ".join(f'"{name}" = :{name}' for name in row)
    # Whoever believes in an older state, or has lost the job to another owner, changes nothing.
    guard = "id = :id AND state = :expected AND owner = :owner AND epoch = :epoch"
    query = f"UPDATE jobs SET {changes} WHERE {guard}"  # noqa: S608 - of our own names alone
    if connection.execute(query, {**row, "expected": expected}).rowcount == 0:
        return False
    write_payments(connection, job)
    return True


def write_payments(connection: sqlite3.Connection, job: Job) -> None:
    """Write down the payments of a job: new ones, and what has become of the old ones. None goes away."""
    inbox = os.fsencode(job.place.inbox)
    connection.executemany(
        "INSERT INTO payments (job, number, inbox, at, outcome) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET outcome = excluded.outcome WHERE outcome != excluded.outcome",
        [(job.id, number, inbox, paid.at, paid.outcome.value) for number, paid in enumerate(job.payments)],
    )


def _path(path: Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


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
        "SELECT * FROM whole_jobs WHERE state = 'done' AND sha256 = ? AND id != ? AND inbox = ? AND reused_from = '' "
        "AND differs IS NOT NULL ORDER BY id DESC LIMIT 1",
        (job.source.sha256, job.id, os.fsencode(job.place.inbox)),
    ).fetchone()
    return None if found is None else from_row(found)


def paid_before(connection: sqlite3.Connection, sha256: str, offsets: Offsets, besides: str = "") -> Job | None:
    """The youngest job, `besides` the one of this id, that is done with a result for these bytes and offsets."""
    found = connection.execute(
        # `state` stands in the query because it stands in the index.
        "SELECT * FROM whole_jobs WHERE state = 'done' AND sha256 = ? AND id != ? AND differs IS NOT NULL "
        'AND "top" = ? AND "bottom" = ? AND "left" = ? AND "right" = ? ORDER BY id DESC LIMIT 1',
        (sha256, besides, offsets.top, offsets.bottom, offsets.left, offsets.right),
    ).fetchone()
    return None if found is None else from_row(found)
