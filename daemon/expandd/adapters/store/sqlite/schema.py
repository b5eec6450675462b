"""The tables of the job database, and the migration of older ones."""

from __future__ import annotations

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
CREATE INDEX over_jobs ON jobs (changed) WHERE closed = 1;
CREATE INDEX open_jobs ON jobs (id) WHERE closed = 0;
CREATE INDEX by_image_id ON jobs (image_id) WHERE image_id != '';
CREATE INDEX by_relative ON jobs (relative);
"""

# `ledger` keeps what is counted of jobs that are forgotten; an empty inbox means: all. In `ledger_lines` a paid call
# counts on the day it was begun, everything else on the day the job was over.
_SECOND = """
ALTER TABLE jobs ADD COLUMN duplicates TEXT NOT NULL DEFAULT 'expand';
ALTER TABLE jobs ADD COLUMN sidecar INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN twin TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN spent_at REAL;
UPDATE jobs SET spent_at = (
    SELECT json_extract(value, '$[1]') FROM json_each(stamps)
    WHERE json_extract(value, '$[0]') IN ('intent', 'unknown') LIMIT 1
) WHERE state != 'failed' OR json_extract(stamps, '$[#-2][0]') != 'intent';
CREATE INDEX spent_jobs ON jobs (spent_at) WHERE spent_at IS NOT NULL;
CREATE INDEX by_content ON jobs (sha256) WHERE state = 'done';
CREATE INDEX failed_jobs ON jobs (id) WHERE state = 'failed';
CREATE INDEX differing_jobs ON jobs (id) WHERE result_width != expected_width OR result_height != expected_height;
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
CREATE VIEW job_lines AS
    SELECT id, inbox, date(spent_at, 'unixepoch', 'localtime') AS day,
           1 AS paid, 0 AS delivered, 0 AS failed, 0 AS unknown, 0 AS saved
    FROM jobs WHERE spent_at IS NOT NULL
    UNION ALL
    SELECT id, inbox, date(changed, 'unixepoch', 'localtime'),
           0, state = 'done' AND target IS NOT NULL, state = 'failed', state = 'unknown', state = 'done' AND twin != ''
    FROM jobs WHERE closed = 1 OR state = 'unknown';
CREATE VIEW ledger_lines AS
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM job_lines
    UNION ALL
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM ledger;
"""

# A payment is a row of its own from the instant before its call is sent; what the old stamps tell is taken over once.
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
DROP VIEW ledger_lines;
DROP VIEW job_lines;
DROP INDEX spent_jobs;
ALTER TABLE jobs DROP COLUMN spent_at;
ALTER TABLE jobs ADD COLUMN duplicate_of TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN strikes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX duplicates_paid ON jobs (changed) WHERE duplicate_of != '';
CREATE VIEW counted_payments AS SELECT job, inbox, at FROM payments WHERE outcome IN ('sent', 'taken');
CREATE VIEW whole_jobs AS
    SELECT jobs.*, (SELECT json_group_array(json_array(number, at, outcome)) FROM payments WHERE job = jobs.id)
        AS payments
    FROM jobs;
CREATE VIEW job_lines AS
    SELECT job AS id, inbox, date(at, 'unixepoch', 'localtime') AS day,
           1 AS paid, 0 AS delivered, 0 AS failed, 0 AS unknown, 0 AS saved
    FROM counted_payments
    UNION ALL
    SELECT id, inbox, date(changed, 'unixepoch', 'localtime'),
           0, state = 'done' AND target IS NOT NULL, state = 'failed', state = 'unknown', state = 'done' AND twin != ''
    FROM jobs WHERE closed = 1 OR state = 'unknown';
CREATE VIEW ledger_lines AS
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM job_lines
    UNION ALL
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM ledger;
"""

# The words of today: states, tables and columns were called otherwise. Stamps hold names of states and numbers alone.
_FOURTH = """
DROP VIEW ledger_lines;
DROP VIEW job_lines;
DROP VIEW whole_jobs;
ALTER TABLE jobs RENAME COLUMN twin TO reused_from;
UPDATE jobs SET
    state = CASE state WHEN 'intent' THEN 'submitting' WHEN 'vaulted' THEN 'downloaded' WHEN 'withdrawn' THEN 'returned'
        ELSE state END,
    stamps = replace(replace(replace(
        stamps, '"intent"', '"submitting"'), '"vaulted"', '"downloaded"'), '"withdrawn"', '"returned"');
ALTER TABLE orders RENAME TO commands;
ALTER TABLE standing_orders RENAME TO holds;
ALTER TABLE holds RENAME COLUMN lasting TO kind;
CREATE VIEW whole_jobs AS
    SELECT jobs.*, (SELECT json_group_array(json_array(number, at, outcome)) FROM payments WHERE job = jobs.id)
        AS payments
    FROM jobs;
CREATE VIEW job_lines AS
    SELECT job AS id, inbox, date(at, 'unixepoch', 'localtime') AS day,
           1 AS paid, 0 AS delivered, 0 AS failed, 0 AS unknown, 0 AS saved
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

STEPS = (_FIRST, _SECOND, _THIRD, _FOURTH)
"""What leads from each version to the next."""

VERSION = len(STEPS)


def steps_from(version: int) -> str:
    """The statements that make a job database of `version` (0: an empty file) one of today, in one transaction."""
    return f"BEGIN IMMEDIATE; {''.join(STEPS[version:])} PRAGMA user_version = {VERSION}; COMMIT;"
