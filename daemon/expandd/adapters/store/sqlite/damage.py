"""Owns telling a broken journal from a busy one, and putting it aside."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from expandd.adapters.store.sqlite.job_store import open_journal
from expandd.domain.errors import JournalAway

_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB"})


def damage(path: Path) -> str:
    """What is wrong with the journal, or "". One that is busy or on a full disk is not broken: that mends itself."""
    try:
        connection = open_journal(path)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error) if getattr(error, "sqlite_errorname", "") in _CORRUPT else ""
    return "" if found == "ok" else str(found)


def begin_anew(path: Path) -> None:
    """Put what lies at `path` aside, under a name that says so, and make an empty journal. Raises JournalAway."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        for ending in ("", "-wal", "-shm"):
            part = path.with_name(path.name + ending)
            if part.exists():
                part.rename(path.with_name(f"{path.name}.broken-{stamp}{ending}"))
        open_journal(path).close()
    except (OSError, sqlite3.Error) as error:
        raise JournalAway(f"No new journal could be made at {path}: {error}.") from error
