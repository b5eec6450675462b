"""Owns the sidecar of a failed file: `<name>.error.json`, its reason for people and for machines."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.roots import Roots
from expandd.adapters.json_text import read_json
from expandd.domain.job import Job
from expandd.domain.naming import NAME_BYTES, fitting, printable
from expandd.domain.selection import REPORT

ENDING = REPORT


def sidecar_path(failed: Path) -> Path:
    """Where the sidecar of the failed file lies; a name that is too long is cut and told apart by its digest."""
    whole = failed.name + ENDING
    if len(os.fsencode(whole)) <= NAME_BYTES:
        return failed.with_name(whole)
    digest = hashlib.sha256(os.fsencode(failed.name)).hexdigest()[:8]
    return failed.with_name(fitting(failed.name, f"~{digest}{ENDING}"))


def is_sidecar(path: Path, roots: Roots) -> bool:
    """Whether a sidecar of ours lies at `path`, and nothing else of that name."""
    return told_in(path, roots) is not None


def told_in(path: Path, roots: Roots) -> Mapping[str, Any] | None:
    """What a sidecar of ours at `path` says; None where something else lies there, whatever it is."""
    try:
        with Disk(roots).reading(path) as file:
            text = read_json(file)
    except (OSError, ValueError):
        return None
    ours = isinstance(text, dict) and all(isinstance(text.get(key), str) for key in ("message", "what_to_do", "job"))
    return text if ours else None


def sidecar(job: Job, failed: Path) -> bytes:
    """The sidecar's text. File names are escaped where they are not printable; nothing secret is in it."""
    fault = job.fault
    failed_at = job.stamps[-1].at if job.stamps else 0.0
    facts = {
        "file": printable(failed.name),
        "dropped_as": printable(job.relative),
        "inbox": printable(job.place.inbox),
        "preset": job.place.preset_name,
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
        "offsets": {
            "top": job.offsets.top,
            "bottom": job.offsets.bottom,
            "left": job.offsets.left,
            "right": job.offsets.right,
        },
    }
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()
