"""The tables of the job database, and the migration of older ones."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from expandd.adapters.store.earlier_jobs import facts_of_columns
from expandd.adapters.store.sql.rows import called
from expandd.domain.errors import DatabaseAway

# Paths are bytes: a file name need not be text. Inodes are text: they may need all 64 bits, unsigned.
_FIRST = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    closed INTEGER NOT NULL,
    held INTEGER NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    outbox BLOB NOT NULL,
    done BLOB NOT NULL,
    error BLOB NOT NULL,
    name TEXT NOT NULL,
    preset TEXT NOT NULL,
    originals TEXT NOT NULL,
    relative BLOB NOT NULL,
    device TEXT NOT NULL,
    inode TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    format TEXT,
    width INTEGER,
    height INTEGER,
    orientation INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    "top" INTEGER NOT NULL,
    "bottom" INTEGER NOT NULL,
    "left" INTEGER NOT NULL,
    "right" INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    link TEXT NOT NULL,
    notifications TEXT NOT NULL,
    result_sha256 TEXT,
    result_bytes INTEGER,
    result_format TEXT,
    result_width INTEGER,
    result_height INTEGER,
    expected_width INTEGER,
    expected_height INTEGER,
    target BLOB,
    resting BLOB,
    fault TEXT,
    message TEXT,
    what_to_do TEXT,
    note TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    uploads INTEGER NOT NULL,
    stamps TEXT NOT NULL,
    changed REAL NOT NULL
) STRICT;
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    verdict TEXT NOT NULL
) STRICT;
"""

# `ledger` keeps the counts of deleted jobs; an empty inbox means all.
_SECOND = """
ALTER TABLE jobs ADD COLUMN duplicates TEXT NOT NULL DEFAULT 'expand';
ALTER TABLE jobs ADD COLUMN sidecar INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN twin TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN spent_at REAL;
UPDATE jobs SET spent_at = (
    SELECT json_extract(value, '$[1]') FROM json_each(stamps)
    WHERE json_extract(value, '$[0]') IN ('intent', 'unknown') LIMIT 1
) WHERE state != 'failed' OR json_extract(stamps, '$[#-2][0]') != 'intent';
CREATE TABLE orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    verb TEXT NOT NULL,
    at REAL NOT NULL,
    job TEXT NOT NULL,
    inbox BLOB,
    relative BLOB
) STRICT;
INSERT INTO orders (verb, at, job) SELECT verdict, 0.0, job FROM decisions ORDER BY number;
DROP TABLE decisions;
CREATE TABLE standing_orders (
    lasting TEXT NOT NULL,
    at REAL NOT NULL,
    inbox BLOB NOT NULL,
    relative BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (lasting, inbox, relative, sha256)
) STRICT;
CREATE TABLE ledger (
    inbox BLOB NOT NULL,
    day TEXT NOT NULL,
    paid INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unknown INTEGER NOT NULL,
    saved INTEGER NOT NULL,
    PRIMARY KEY (inbox, day)
) STRICT;
"""

# A payment is a row of its own from just before its call is sent; this step converts the facts of the old stamps.
_THIRD = """
CREATE TABLE payments (
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX payments_at ON payments (at);
INSERT INTO payments SELECT id, 0, inbox, round(spent_at, 3),
    CASE WHEN state = 'intent' OR state = 'unknown' AND NOT EXISTS (
        SELECT 1 FROM json_each(stamps) WHERE json_extract(value, '$[0]') = 'accepted'
    ) THEN 'sent' ELSE 'taken' END
FROM jobs WHERE spent_at IS NOT NULL;
DROP INDEX IF EXISTS spent_jobs;
ALTER TABLE jobs DROP COLUMN spent_at;
ALTER TABLE jobs ADD COLUMN duplicate_of TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN strikes INTEGER NOT NULL DEFAULT 0;
"""

# Renames states, tables and columns to their present names. Stamps contain only numbers and names of states.
_FOURTH = """
ALTER TABLE jobs RENAME COLUMN twin TO reused_from;
UPDATE jobs SET
    state = CASE state WHEN 'intent' THEN 'submitting' WHEN 'vaulted' THEN 'downloaded' WHEN 'withdrawn' THEN 'returned'
        ELSE state END,
    stamps = replace(replace(replace(
        stamps, '"intent"', '"submitting"'), '"vaulted"', '"downloaded"'), '"withdrawn"', '"returned"');
ALTER TABLE orders RENAME TO commands;
ALTER TABLE standing_orders RENAME TO holds;
ALTER TABLE holds RENAME COLUMN lasting TO kind;
"""

# A job is one JSON text. The other columns serve the conditions of queries; `differs` is NULL without a result.
_FIFTH = """
ALTER TABLE jobs RENAME TO earlier_jobs;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    closed INTEGER NOT NULL,
    held INTEGER NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    relative BLOB NOT NULL,
    target BLOB,
    resting BLOB,
    sha256 TEXT NOT NULL,
    "top" INTEGER NOT NULL,
    "bottom" INTEGER NOT NULL,
    "left" INTEGER NOT NULL,
    "right" INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    differs INTEGER,
    reused_from TEXT NOT NULL,
    duplicate_of TEXT NOT NULL,
    changed REAL NOT NULL,
    facts TEXT NOT NULL
) STRICT;
"""

_INTO_THE_FIFTH = """
INSERT INTO jobs SELECT id, state, closed, held, owner, epoch, inbox, relative, target, resting, sha256,
    "top", "bottom", "left", "right", image_id,
    CASE WHEN result_sha256 IS NOT NULL THEN result_width != expected_width OR result_height != expected_height END,
    reused_from, duplicate_of, changed, ?
FROM earlier_jobs WHERE id = ?
"""

_INDEXES_OF_THE_FIFTH = """
DROP TABLE earlier_jobs;
CREATE INDEX over_jobs ON jobs (changed) WHERE closed = 1;
CREATE INDEX open_jobs ON jobs (id) WHERE closed = 0;
CREATE INDEX by_image_id ON jobs (image_id) WHERE image_id != '';
CREATE INDEX by_relative ON jobs (relative);
CREATE INDEX by_content ON jobs (sha256) WHERE state = 'done';
CREATE INDEX failed_jobs ON jobs (id) WHERE state = 'failed';
CREATE INDEX differing_jobs ON jobs (id) WHERE differs = 1;
CREATE INDEX duplicates_paid ON jobs (changed) WHERE duplicate_of != '';
"""

# No two open jobs have the same path for their results, or their originals. `shares` marks older jobs that do, except
# the first of each path. `called` is the text for searches by name.
_SIXTH = """
ALTER TABLE jobs ADD COLUMN dismissed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN called TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN shares INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET called = called(relative, target);
UPDATE jobs SET dismissed = 1 WHERE state = 'failed' AND CASE WHEN json_valid(facts) THEN facts ->> '$.dismissed' END;
UPDATE jobs SET shares = 1 WHERE closed = 0 AND (
    target IS NOT NULL AND id NOT IN (
        SELECT min(id) FROM jobs WHERE closed = 0 AND target IS NOT NULL GROUP BY target
    ) OR resting IS NOT NULL AND id NOT IN (
        SELECT min(id) FROM jobs WHERE closed = 0 AND resting IS NOT NULL GROUP BY resting
    )
);
CREATE UNIQUE INDEX open_target ON jobs (target) WHERE closed = 0 AND shares = 0 AND target IS NOT NULL;
CREATE UNIQUE INDEX open_resting ON jobs (resting) WHERE closed = 0 AND shares = 0 AND resting IS NOT NULL;
CREATE INDEX paying ON jobs (sha256) WHERE closed = 0
    AND state IN ('submitting', 'accepted', 'unknown', 'rendered', 'downloaded', 'delivered');
DROP INDEX payments_at;
CREATE INDEX counted_at ON payments (at, outcome) WHERE outcome IN ('sent', 'taken');
CREATE INDEX ledger_days ON ledger (day);
CREATE INDEX counted_of_inbox ON payments (inbox, at, outcome) WHERE outcome IN ('sent', 'taken');
"""

# Recreated after the last step, as they read the final tables. In `job_lines` a paid call counts on the day when it
# began, everything else on the day when the job ended.
_VIEWS = """
CREATE VIEW counted_payments AS
    SELECT job, inbox, at, date(at, 'unixepoch', 'localtime') AS day FROM payments WHERE outcome IN ('sent', 'taken');
CREATE VIEW whole_jobs AS
    SELECT jobs.*, (
        SELECT json_group_array(json_object('number', number, 'at', at, 'outcome', outcome))
        FROM payments WHERE job = jobs.id
    ) AS payments, CAST(inbox || x'2F' || relative AS BLOB) AS path
    FROM jobs;
CREATE VIEW hours AS
    SELECT changed, state, strftime('%Y-%m-%d %H', changed, 'unixepoch', 'localtime') AS hour
    FROM jobs WHERE closed = 1;
CREATE VIEW job_lines AS
    SELECT job AS id, inbox, day, 1 AS paid, 0 AS delivered, 0 AS failed, 0 AS unknown, 0 AS saved
    FROM counted_payments
    UNION ALL
    SELECT id, inbox, date(changed, 'unixepoch', 'localtime'), 0, state = 'done' AND target IS NOT NULL,
           state = 'failed', state = 'unknown', state = 'done' AND reused_from != ''
    FROM jobs WHERE closed = 1 OR state = 'unknown';
CREATE VIEW ledger_lines AS
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM job_lines
    UNION ALL
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM ledger;
"""

_NO_VIEWS = """
DROP VIEW IF EXISTS hours;
DROP VIEW IF EXISTS ledger_lines;
DROP VIEW IF EXISTS job_lines;
DROP VIEW IF EXISTS whole_jobs;
DROP VIEW IF EXISTS counted_payments;
"""


def _run(connection: sqlite3.Connection, statements: str) -> None:
    # One by one, because executescript commits first.
    for statement in statements.split(";"):
        connection.execute(statement)


def _into_the_fifth(connection: sqlite3.Connection) -> None:
    _run(connection, _FIFTH)
    rows = connection.execute("SELECT * FROM earlier_jobs")
    names = [column[0] for column in rows.description]
    told = (dict(zip(names, row, strict=True)) for row in rows)
    connection.executemany(_INTO_THE_FIFTH, ((_facts(row), row["id"]) for row in told))
    _run(connection, _INDEXES_OF_THE_FIFTH)


def _into_the_sixth(connection: sqlite3.Connection) -> None:
    connection.create_function("called", 2, called, deterministic=True)
    _run(connection, _SIXTH)


def _facts(row: dict[str, Any]) -> str:
    try:
        return json.dumps(facts_of_columns(row))
    except (ValueError, TypeError):
        # A damaged job is kept for a person to inspect, and each reader reports it.
        return json.dumps(row, default=repr)


STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    *(partial(_run, statements=statements) for statements in (_FIRST, _SECOND, _THIRD, _FOURTH)),
    _into_the_fifth,
    _into_the_sixth,
)
"""The migration of each version to the next."""

VERSION = len(STEPS)


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Migrate an empty or older job database in one transaction, after a copy of the older one.

    Raises DatabaseAway when it is newer, sqlite3.Error or OSError when it cannot be copied: then it stays unchanged.
    """
    if not _missing(connection):
        return
    if version(connection):
        _back_up(connection)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        _run(connection, _NO_VIEWS)
        # Checked again, because another process may have migrated it meanwhile.
        for step in _missing(connection):
            step(connection)
        _run(connection, _VIEWS)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _back_up(connection: sqlite3.Connection) -> None:
    """Write a private copy beside it for a way back to an older expandd, such as journal.sqlite.format-4."""
    path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
    backup = path.with_name(f"{path.name}.format-{version(connection)}")
    spare = backup.with_name(f".{backup.name}")
    spare.unlink(missing_ok=True)
    spare.touch(mode=0o600)
    connection.execute("VACUUM INTO ?", (str(spare),))
    descriptor = os.open(spare, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    spare.replace(backup)


def _missing(connection: sqlite3.Connection) -> tuple[Callable[[sqlite3.Connection], None], ...]:
    found = version(connection)
    if found > VERSION:
        raise DatabaseAway(f"it was written by a newer expandd (format {found}, this one knows {VERSION})")
    return STEPS[found:]


def version(connection: sqlite3.Connection) -> int:
    """The format of a job database; 0 for an empty one."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found
