"""The sidecars: `<name>.error.json` beside a failed file, `<result>.json` beside a result."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.roots import Roots
from expandd.adapters.json_text import read_json
from expandd.domain.image import Size
from expandd.domain.job import Job, Result
from expandd.domain.naming import NAME_BYTES, fitting, numbered, printable
from expandd.domain.selection import REPORT

ERROR_ENDING = REPORT


def sidecar_path(failed: Path) -> Path:
    """The path of a failed file's sidecar; a name that is too long is cut and made unique by its digest."""
    whole = failed.name + ERROR_ENDING
    if len(os.fsencode(whole)) <= NAME_BYTES:
        return failed.with_name(whole)
    digest = hashlib.sha256(os.fsencode(failed.name)).hexdigest()[:8]
    return failed.with_name(fitting(failed.name, f"~{digest}{ERROR_ENDING}"))


def is_sidecar(path: Path, roots: Roots) -> bool:
    """Whether the file at `path` is a sidecar of ours."""
    return facts_in(path, roots) is not None


def facts_in(path: Path, roots: Roots) -> Mapping[str, Any] | None:
    """The facts of a sidecar of ours at `path`; None where anything else lies there."""
    try:
        with Disk(roots).reading(path) as file:
            text = read_json(file)
    except (OSError, ValueError):
        return None
    ours = isinstance(text, dict) and all(isinstance(text.get(key), str) for key in ("message", "what_to_do", "job"))
    return text if ours else None


def sidecar(job: Job, failed: Path) -> bytes:
    """The text of an error sidecar, without secrets. File names are escaped where they are not printable."""
    fault = job.fault
    failed_at = job.state_changes[-1].at if job.state_changes else 0.0
    facts = {
        "file": printable(failed.name),
        "dropped_as": printable(job.relative),
        "inbox": printable(job.folder.inbox),
        "preset": job.folder.preset_name,
        "code": fault.code.value if fault else "",
        "message": fault.message if fault else "",
        "what_to_do": fault.what_to_do if fault else "",
        "failed_at": datetime.fromtimestamp(failed_at, UTC).isoformat(timespec="seconds"),
        "job": job.id,
        "image_id": job.image_id,
        "paid": job.paid,
        "sha256": job.source.sha256,
        "bytes": job.source.identity.size,
        "width": job.source.size.width if job.source.size else None,
        "height": job.source.size.height if job.source.size else None,
        "offsets": asdict(job.offsets),
    }
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


SCHEMA = 1
"""The version of the keys; it rises when a key is removed or changes its meaning."""

RESULT_ENDING = ".json"


def put_beside(disk: Disk, job: Job, result: Result, target: Path, spare: str) -> None:
    """Write the sidecar of the result at `target`, whole or not at all, never over another file.

    Repeated calls for the same job write it once; a name that is taken gets a number. Raises OSError.
    """
    disk.make_directories(job.folder.outbox, target.parent.relative_to(job.folder.outbox))
    for name in numbered(_name(target)):
        path = target.with_name(name)
        try:
            disk.create(path, [text(job, result, target)], spare)
        except FileExistsError:
            if not _is_of(disk, path, job):
                continue
        return


def _name(target: Path) -> str:
    """The result's own name and .json; one that is too long is cut and made unique by its digest."""
    whole = target.name + RESULT_ENDING
    if len(os.fsencode(whole)) <= NAME_BYTES:
        return whole
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    return fitting(target.name, f"~{digest}{RESULT_ENDING}")


def _is_of(disk: Disk, path: Path, job: Job) -> bool:
    """Whether an earlier try for this job wrote the file at `path`."""
    try:
        with disk.reading(path) as file:
            facts = read_json(file)
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and "schema" in facts and facts.get("job") == job.id


def text(job: Job, result: Result, target: Path) -> bytes:
    """The text of a result sidecar. Sizes are in px and bytes, times in UTC; unprintable names are escaped."""
    source = job.source
    facts = {
        "schema": SCHEMA,
        "job": job.id,
        "source": {
            "file": printable(job.relative),
            "format": source.format.value if source.format else None,
            **_size(source.size),
            "bytes": source.identity.size,
            "sha256": source.sha256,
            "lost": job.archived_to is None,
        },
        "uploaded": {
            "copy": job.prepared is not None,
            **_size(job.uploaded_size),
            "offsets": asdict(job.asked),
        },
        "result": {
            "file": printable(target.name),
            "format": result.format.value,
            **_size(result.size),
            "bytes": result.bytes,
            "sha256": result.sha256,
            "original_pixels": job.has_original_pixels,
            "finish_failed": job.finish_failed or None,
        },
        "expected": _size(result.expected),
        "inbox": printable(job.folder.inbox),
        "preset": job.folder.preset_name,
        "offsets": asdict(job.offsets),
        "image_id": job.image_id,
        "task_id": job.task_id,
        "paid": job.paid,
        "reused_from": job.reused_from or None,
        "tries": job.tries,
        "times": {change.state.value: _time(change.at) for change in job.state_changes},
    }
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


def _size(size: Size | None) -> dict[str, Any]:
    return {"width": size.width if size else None, "height": size.height if size else None}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
