"""Reads and writes the recovery record beside a file in work: its job, readable without the database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import RECORD_NAME
from expandd.adapters.json_text import parsed_json, read_as
from expandd.adapters.store.earlier_jobs import facts_of_columns
from expandd.adapters.store.sql.rows import facts_of
from expandd.domain.job import Job, JobState

MOST_RECORD = 1 << 18
"""Bytes of a record that are read. A usual record has two thousand, one with six paths of maximum length far more."""


def written(job: Job) -> bytes:
    """The record's text."""
    return json.dumps(facts_of(job), indent=1).encode()


def record_beside(roots: Roots, work_dir: Path) -> bytes | None:
    """The record that this user's daemon left in a job's directory, if there is one. Raises OSError.

    A work folder of an older installation may have been open to others: their files there do not count.
    """
    try:
        descriptor = roots.open_own_file(work_dir / RECORD_NAME)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MOST_RECORD)


def read(text: bytes, job_id: str) -> Job | None:
    """The job `job_id` of a record, or None where the record is unreadable or another job's.

    A record is written whole, so an unreadable one was never finished, and nothing was sent after it.
    """
    try:
        told = parsed_json(text)
        job = read_as(Job, _earlier(told) if isinstance(told, dict) and "place" not in told else told)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    leads_away = job.relative.is_absolute() or ".." in job.relative.parts
    return None if job.id != job_id or leads_away else job


def _earlier(columns: dict[str, Any]) -> dict[str, Any]:
    """The facts of a record with one field for each column, as written up to format 4."""
    facts = facts_of_columns(columns)
    if "payments" not in columns:
        # Older than the list of payments: it was written just before its paid call was sent.
        begun = [stamp["at"] for stamp in facts["stamps"] if stamp["state"] == JobState.SUBMITTING.value]
        return {**facts, "payments": [{"at": round(at, 3)} for at in begun[-1:]]}
    payments = sorted(parsed_json(columns["payments"]))
    return {**facts, "payments": [{"at": at, "outcome": outcome} for _, at, outcome in payments]}
