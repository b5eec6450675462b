"""Owns the sidecar of a failed file: `<name>.error.json`, its reason for people and for machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from expandd.domain.job import Job
from expandd.domain.naming import fitting, printable

ENDING = ".error.json"


def sidecar_path(failed: Path) -> Path:
    """Where the sidecar of the failed file lies; the name is cut where it would be too long."""
    return failed.with_name(fitting(failed.name, ENDING))


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
