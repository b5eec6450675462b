"""Owns the little that is written to the journal from beside the daemon: what people decide."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from expandd.adapters.journal import open_journal
from expandd.domain.decisions import Verdict
from expandd.domain.errors import JournalAway


def write_decision(path: Path, job_id: str, verdict: Verdict) -> None:
    """Leave a decision for the daemon, running or not. Raises JournalAway."""
    try:
        connection = open_journal(path)
        try:
            connection.execute("INSERT INTO decisions (job, verdict) VALUES (?, ?)", (job_id, verdict.value))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise JournalAway(f"The journal {path} cannot be written: {error}.") from error
