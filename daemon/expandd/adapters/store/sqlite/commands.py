"""Commands and holds as rows of the job database."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from expandd.domain.commands import Command, Hold, HoldKind, Verb


def write_command(connection: sqlite3.Connection, command: Command) -> None:
    connection.execute(
        "INSERT INTO commands (verb, at, job, inbox, relative) VALUES (?, ?, ?, ?, ?)",
        (command.verb.value, command.at, command.job_id, _maybe_bytes(command.inbox), _maybe_bytes(command.relative)),
    )


def commands(connection: sqlite3.Connection) -> list[Command]:
    """All that nobody has carried out yet, oldest first."""
    rows = connection.execute("SELECT * FROM commands ORDER BY number")
    return [
        Command(
            verb=Verb(row["verb"]),
            at=row["at"],
            job_id=row["job"],
            inbox=_maybe_path(row["inbox"]),
            relative=_maybe_path(row["relative"]),
            number=row["number"],
        )
        for row in rows
    ]


def forget_command(connection: sqlite3.Connection, command: Command) -> None:
    connection.execute("DELETE FROM commands WHERE number = ?", (command.number,))


def holds(connection: sqlite3.Connection) -> list[Hold]:
    rows = connection.execute("SELECT * FROM holds ORDER BY at")
    return [
        Hold(
            kind=HoldKind(row["kind"]),
            at=row["at"],
            inbox=_maybe_path(row["inbox"]),
            relative=_maybe_path(row["relative"]),
            sha256=row["sha256"],
        )
        for row in rows
    ]


def stand(connection: sqlite3.Connection, hold: Hold) -> None:
    """Write down a hold; one of this kind about the same thing gets its age."""
    connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?)", _row(hold))


def lift(connection: sqlite3.Connection, hold: Hold) -> None:
    kind, _, inbox, relative, sha256 = _row(hold)
    connection.execute(
        "DELETE FROM holds WHERE kind = ? AND inbox = ? AND relative = ? AND sha256 = ?",
        (kind, inbox, relative, sha256),
    )


def _row(hold: Hold) -> tuple[str, float, bytes, bytes, str]:
    """Empty bytes where there is no path: a key has no NULL."""
    inbox, relative = _maybe_bytes(hold.inbox) or b"", _maybe_bytes(hold.relative) or b""
    return hold.kind.value, hold.at, inbox, relative, hold.sha256


def _maybe_bytes(path: Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _maybe_path(raw: bytes | None) -> Path | None:
    return Path(os.fsdecode(raw)) if raw else None
