"""Jobs and payments as rows of the database."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from expandd.domain.bounds import moment
from expandd.domain.errors import Fault, FaultCode, RowRefused
from expandd.domain.image import ImageFormat, Size
from expandd.domain.job import FileIdentity, Job, JobState, Place, Result, Source, Stamp
from expandd.domain.offsets import Offsets
from expandd.domain.settings import Duplicates, Originals
from expandd.domain.spending import Outcome, Payment, Spent, Today

LEAST, MOST = -(2**63), 2**63 - 1
"""The numbers that a column holds."""


class Row(Protocol):
    """Values by column name: SQLite's row, or the mark beside a file in work."""

    def __getitem__(self, name: str, /) -> Any: ...


COLUMNS = (
    "id",
    "state",
    "closed",
    "held",
    "owner",
    "epoch",
    "inbox",
    "outbox",
    "done",
    "error",
    "name",
    "preset",
    "originals",
    "relative",
    "device",
    "inode",
    "bytes",
    "mtime_ns",
    "format",
    "width",
    "height",
    "orientation",
    "sha256",
    "top",
    "bottom",
    "left",
    "right",
    "image_id",
    "task_id",
    "link",
    "notifications",
    "result_sha256",
    "result_bytes",
    "result_format",
    "result_width",
    "result_height",
    "expected_width",
    "expected_height",
    "target",
    "resting",
    "fault",
    "message",
    "what_to_do",
    "note",
    "attempts",
    "tries",
    "uploads",
    "stamps",
    "changed",
    "duplicates",
    "sidecar",
    "reused_from",
    "duplicate_of",
    "strikes",
)


def to_row(job: Job) -> dict[str, Any]:
    """The row of a job; a dict because SQLite takes its values by name. Its payments are rows of another table.

    Raises RowRefused for a value that no column takes.
    """
    return checked(_values(job))


def _values(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state.value,
        "closed": int(job.closed),
        "held": int(job.held),
        "owner": job.owner,
        "epoch": job.epoch,
        "relative": os.fsencode(job.relative),
        "image_id": _text(job.image_id),
        "task_id": _text(job.task_id),
        "link": _text(job.link),
        "notifications": json.dumps(job.notifications),
        "target": _path(job.target),
        "resting": _path(job.resting),
        "fault": job.fault.code.value if job.fault else None,
        "message": _text(job.fault.message) if job.fault else None,
        "what_to_do": _text(job.fault.what_to_do) if job.fault else None,
        "note": _text(job.note),
        "attempts": job.attempts,
        "tries": job.tries,
        "uploads": job.uploads,
        "strikes": job.strikes,
        "stamps": json.dumps([[stamp.state.value, stamp.at] for stamp in job.stamps]),
        "changed": job.stamps[-1].at if job.stamps else 0.0,
        "reused_from": job.reused_from,
        "duplicate_of": job.duplicate_of,
        "payments": json.dumps([[number, paid.at, paid.outcome.value] for number, paid in enumerate(job.payments)]),
        **_place_row(job.place),
        **_source_row(job.source),
        **_offsets_row(job.offsets),
        **_result_row(job.result),
    }


def from_row(row: Row) -> Job:
    """The job of a row."""
    return Job(
        id=row["id"],
        place=_place(row),
        relative=Path(os.fsdecode(row["relative"])),
        source=_source(row),
        state=JobState(row["state"]),
        owner=row["owner"],
        epoch=row["epoch"],
        offsets=Offsets(top=row["top"], bottom=row["bottom"], left=row["left"], right=row["right"]),
        image_id=row["image_id"],
        task_id=row["task_id"],
        link=row["link"],
        notifications=tuple(json.loads(row["notifications"])),
        result=_result(row),
        target=_maybe_path(row["target"]),
        resting=_maybe_path(row["resting"]),
        fault=_fault(row),
        held=bool(row["held"]),
        note=row["note"],
        attempts=row["attempts"],
        tries=row["tries"],
        uploads=row["uploads"],
        strikes=row["strikes"],
        reused_from=row["reused_from"],
        closed=bool(row["closed"]),
        duplicate_of=row["duplicate_of"],
        stamps=tuple(Stamp(JobState(state), moment(at) or 0.0) for state, at in json.loads(row["stamps"])),
        payments=tuple(Payment(at, Outcome(outcome)) for _, at, outcome in sorted(json.loads(row["payments"]))),
    )


def checked(row: dict[str, Any]) -> dict[str, Any]:
    """The row, if SQLite takes each of its values: the one place where their range is looked at."""
    for name, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise RowRefused(f"{name} is {value}, which is no number")
        if isinstance(value, int) and not LEAST <= value <= MOST:
            raise RowRefused(f"{name} is a number of more than 64 bits")
    return row


def _place_row(place: Place) -> dict[str, Any]:
    return {
        "inbox": os.fsencode(place.inbox),
        "outbox": os.fsencode(place.outbox),
        "done": os.fsencode(place.done),
        "error": os.fsencode(place.error),
        "name": place.name,
        "preset": place.preset_name,
        "originals": place.originals.value,
        "duplicates": place.duplicates.value,
        "sidecar": int(place.sidecar),
    }


def _place(row: Row) -> Place:
    return Place(
        inbox=Path(os.fsdecode(row["inbox"])),
        outbox=Path(os.fsdecode(row["outbox"])),
        done=Path(os.fsdecode(row["done"])),
        error=Path(os.fsdecode(row["error"])),
        name=row["name"],
        preset_name=row["preset"],
        originals=Originals(row["originals"]),
        duplicates=Duplicates(row["duplicates"]),
        sidecar=bool(row["sidecar"]),
    )


def _source_row(source: Source) -> dict[str, Any]:
    return {
        "device": str(source.identity.device),
        "inode": str(source.identity.inode),
        "bytes": source.identity.size,
        "mtime_ns": source.identity.mtime_ns,
        "format": source.format.value if source.format else None,
        "width": source.size.width if source.size else None,
        "height": source.size.height if source.size else None,
        "orientation": source.orientation,
        "sha256": source.sha256,
    }


def _source(row: Row) -> Source:
    return Source(
        identity=FileIdentity(int(row["device"]), int(row["inode"]), row["bytes"], row["mtime_ns"]),
        format=ImageFormat(row["format"]) if row["format"] else None,
        size=Size(row["width"], row["height"]) if row["width"] is not None else None,
        orientation=row["orientation"],
        sha256=row["sha256"],
    )


def _offsets_row(offsets: Offsets) -> dict[str, Any]:
    return {"top": offsets.top, "bottom": offsets.bottom, "left": offsets.left, "right": offsets.right}


def _result_row(result: Result | None) -> dict[str, Any]:
    return {
        "result_sha256": result.sha256 if result else None,
        "result_bytes": result.bytes if result else None,
        "result_format": result.format.value if result else None,
        "result_width": result.size.width if result else None,
        "result_height": result.size.height if result else None,
        "expected_width": result.expected.width if result else None,
        "expected_height": result.expected.height if result else None,
    }


def _result(row: Row) -> Result | None:
    if row["result_sha256"] is None:
        return None
    return Result(
        sha256=row["result_sha256"],
        bytes=row["result_bytes"],
        format=ImageFormat(row["result_format"]),
        size=Size(row["result_width"], row["result_height"]),
        expected=Size(row["expected_width"], row["expected_height"]),
    )


def _fault(row: Row) -> Fault | None:
    if row["fault"] is None:
        return None
    return Fault(FaultCode(row["fault"]), row["message"], row["what_to_do"])


def _text(words: str) -> str:
    """Words from outside as text that SQLite takes: half characters, of a broken name or answer, are escaped."""
    return words.encode("utf-8", "backslashreplace").decode()


def _path(path: Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _maybe_path(raw: bytes | None) -> Path | None:
    return None if raw is None else Path(os.fsdecode(raw))


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
        "SELECT * FROM whole_jobs WHERE state = 'done' AND sha256 = ? AND id != ? AND inbox = ? AND reused_from = '' "
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
