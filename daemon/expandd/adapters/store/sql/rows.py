"""Converts jobs, commands and holds to rows of the database and back.

A job is one column of JSON. Further columns serve only the conditions of queries and are never read back.
"""

from __future__ import annotations

import json
import os
import unicodedata
from operator import itemgetter
from pathlib import Path
from typing import Any

from expandd.adapters.json_text import parsed_json, read_as, written
from expandd.adapters.store.sql.connection import Row
from expandd.domain.commands import Command, Hold, HoldKind, Verb
from expandd.domain.errors import DatabaseAway, RowRefused
from expandd.domain.job import Job


def to_row(job: Job) -> dict[str, Any]:
    """The row of a job, by column name. Its payments are rows of another table.

    Raises RowRefused for a value that could not be read back.
    """
    columns, facts = columns_of(job)
    return {**columns, "facts": text_of(facts)}


def columns_of(job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns for the conditions of queries, and the facts, from which a job is read back. Raises RowRefused."""
    facts = facts_of(job)
    del facts["payments"]
    columns = {
        "id": facts["id"],
        "state": facts["state"],
        "closed": int(job.closed),
        "held": int(job.held),
        "owner": facts["owner"],
        "epoch": facts["epoch"],
        "inbox": os.fsencode(job.folder.inbox),
        "relative": os.fsencode(job.relative),
        "target": maybe_bytes(job.target),
        "resting": maybe_bytes(job.archived_to),
        "sha256": facts["source"]["sha256"],
        **facts["offsets"],
        "image_id": facts["image_id"],
        "differs": None if job.final is None else int(job.final.differs),
        "dismissed": int(job.dismissed),
        "reused_from": facts["reused_from"],
        "duplicate_of": facts["duplicate_of"],
        "called": called(os.fsencode(job.relative), maybe_bytes(job.target)),
        "changed": job.state_changes[-1].at if job.state_changes else 0.0,
    }
    return columns, facts


def facts_of(job: Job) -> dict[str, Any]:
    """The facts of a job in the form of JSON. Raises RowRefused for a value that could not be read back."""
    try:
        return written(job)
    except ValueError as error:
        raise RowRefused(f"A job cannot be written down: {error}.") from error


def text_of(facts: dict[str, Any]) -> str:
    """Facts as the text of a column."""
    return json.dumps(facts, separators=(",", ":"))


def from_row(row: Row) -> Job:
    """The job of a row of `whole_jobs`. Raises DatabaseAway where it is damaged."""
    try:
        payments = sorted(parsed_json(row["payments"]), key=itemgetter("number"))
        return read_as(Job, {**parsed_json(row["facts"]), "payments": payments})
    except (ValueError, TypeError) as error:
        raise DatabaseAway(f"The job database holds a damaged job, {row['id']} ({error}).") from error


def command_of(row: Row) -> Command:
    return Command(
        verb=Verb(row["verb"]),
        at=row["at"],
        job_id=row["job"],
        inbox=_maybe_path(row["inbox"]),
        relative=_maybe_path(row["relative"]),
        number=row["number"],
    )


def command_row(command: Command) -> dict[str, Any]:
    return {
        "verb": command.verb.value,
        "at": command.at,
        "job": command.job_id,
        "inbox": maybe_bytes(command.inbox),
        "relative": maybe_bytes(command.relative),
    }


def hold_of(row: Row) -> Hold:
    return Hold(
        kind=HoldKind(row["kind"]),
        at=row["at"],
        inbox=_maybe_path(row["inbox"]),
        relative=_maybe_path(row["relative"]),
        sha256=row["sha256"],
    )


def hold_row(hold: Hold) -> dict[str, Any]:
    """The row of a hold, with empty bytes for a missing path, because a key has no NULL."""
    return {
        "kind": hold.kind.value,
        "at": hold.at,
        "inbox": maybe_bytes(hold.inbox) or b"",
        "relative": maybe_bytes(hold.relative) or b"",
        "sha256": hold.sha256,
    }


def called(*names: bytes | None) -> str:
    """Names, one a line, in a form for comparison: lower case and composed accents, however the disk writes them."""
    # No database accepts bytes that are not text in a text column.
    lines = "\n".join(name.decode("utf-8", "replace") for name in names if name is not None)
    return unicodedata.normalize("NFC", lines).casefold()


def maybe_bytes(path: Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _maybe_path(raw: bytes | None) -> Path | None:
    return Path(os.fsdecode(raw)) if raw else None
