"""The recovery record beside a file in work: its job, readable without the database."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import MARK
from expandd.adapters.json_text import parsed_json
from expandd.adapters.store.sqlite.rows import from_row, to_row
from expandd.domain.job import Job, JobState
from expandd.domain.settings import Duplicates
from expandd.domain.spending import Outcome

MOST_MARK = 1 << 16
"""Bytes of a mark that are read; it has a few hundred."""

_SINCE_THEN = (
    ("duplicates", Duplicates.EXPAND.value),
    ("sidecar", 0),
    ("reused_from", ""),
    ("duplicate_of", ""),
    ("strikes", 0),
)
"""What marks of earlier versions do not tell."""


_EARLIER_STATES = {"intent": "submitting", "vaulted": "downloaded", "withdrawn": "returned"}
"""What states were called in records of earlier versions."""


def written(job: Job) -> bytes:
    """The mark's text."""
    row = {name: os.fsdecode(value) if isinstance(value, bytes) else value for name, value in to_row(job).items()}
    return json.dumps(row, indent=1).encode()


def mark_beside(roots: Roots, work_dir: Path) -> bytes | None:
    """The mark that this user's daemon left in a job's directory, if there is one. Raises OSError.

    A work folder of an older installation may have been open to others: what they wrote there is none.
    """
    try:
        descriptor = roots.open_own_file(work_dir / MARK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MOST_MARK)


def read(text: bytes, job_id: str) -> Job | None:
    """The job `job_id` of a mark, or None for one that cannot be read or is another's.

    A mark is written whole, so one that cannot be read was never finished, and nothing was sent after it.
    """
    try:
        told = _renamed(parsed_json(text))
        job = from_row({**dict(_SINCE_THEN), "payments": _payments(told), **told})
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    leads_away = job.relative.is_absolute() or ".." in job.relative.parts
    return None if job.id != job_id or leads_away else job


def _renamed(told: dict[str, Any]) -> dict[str, Any]:
    """A record in the words of this version."""
    stamps = [[_EARLIER_STATES.get(state, state), at] for state, at in parsed_json(told["stamps"])]
    state = _EARLIER_STATES.get(told["state"], told["state"])
    reused_from = told.get("reused_from", told.get("twin", ""))
    return {**told, "state": state, "stamps": json.dumps(stamps), "reused_from": reused_from}


def _payments(told: dict[str, Any]) -> str:
    """The payments of a mark that is older than they are: it was written as its paid call was about to be sent."""
    begun = [at for state, at in parsed_json(told["stamps"]) if state == JobState.SUBMITTING.value]
    return json.dumps([[0, round(begun[-1], 3), Outcome.SENT.value]] if begun else [])
