"""Reads jobs with one column for each fact: from databases up to format 4, and from recovery records of that time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from expandd.adapters.json_text import parsed_json

_STATES = {"intent": "submitting", "vaulted": "downloaded", "withdrawn": "returned"}
"""The names of states before format 4."""

_AS_THEY_ARE = (
    "id",
    "owner",
    "epoch",
    "image_id",
    "task_id",
    "link",
    "note",
    "attempts",
    "tries",
    "uploads",
    "strikes",
    "reused_from",
    "duplicate_of",
)


def facts_of_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The facts in a job's columns, in the form of its JSON, without missing ones. Raises the errors of wrong values.

    Paths may be bytes, as in the database, or text, as in a record.
    """
    row = {name: os.fsdecode(value) if isinstance(value, bytes) else value for name, value in columns.items()}
    return {
        **{name: row[name] for name in _AS_THEY_ARE if name in row},
        **({"reused_from": row["twin"]} if "twin" in row else {}),
        "place": _place(row),
        "relative": row["relative"],
        "source": _source(row),
        "state": _state(row["state"]),
        "offsets": {side: row[side] for side in ("top", "bottom", "left", "right")},
        "notifications": parsed_json(row["notifications"]),
        "result": _result(row),
        "target": row["target"],
        "resting": row["resting"],
        "fault": _fault(row),
        "held": bool(row["held"]),
        "closed": bool(row["closed"]),
        "stamps": [{"state": _state(state), "at": at} for state, at in parsed_json(row["stamps"])],
    }


def _state(word: str) -> str:
    return _STATES.get(word, word)


def _place(row: dict[str, Any]) -> dict[str, Any]:
    as_they_are = ("inbox", "outbox", "done", "error", "name", "originals", "duplicates")
    place = {name: row[name] for name in as_they_are if name in row}
    return {**place, "preset_name": row["preset"], "sidecar": bool(row.get("sidecar", False))}


def _source(row: dict[str, Any]) -> dict[str, Any]:
    # Inodes were text, as an integer column has only 63 bits for an unsigned number.
    identity = {
        "device": int(row["device"]),
        "inode": int(row["inode"]),
        "size": row["bytes"],
        "mtime_ns": row["mtime_ns"],
    }
    return {
        "identity": identity,
        "format": row["format"],
        "size": _size(row, ""),
        "orientation": row["orientation"],
        "sha256": row["sha256"],
    }


def _result(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["result_sha256"] is None:
        return None
    return {
        "sha256": row["result_sha256"],
        "bytes": row["result_bytes"],
        "format": row["result_format"],
        "size": _size(row, "result_"),
        "expected": _size(row, "expected_"),
    }


def _size(row: dict[str, Any], prefix: str) -> dict[str, Any] | None:
    width, height = row[f"{prefix}width"], row[f"{prefix}height"]
    return None if width is None else {"width": width, "height": height}


def _fault(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["fault"] is None:
        return None
    return {"code": row["fault"], "message": row["message"], "what_to_do": row["what_to_do"]}
