"""The builders of jobs: a plausible one in any state, with only what a test is about spelled out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Prepared, Size
from expandd.domain.job import FileIdentity, FolderSnapshot, Job, JobState, Result, Source, claimed, moved
from expandd.domain.offsets import Offsets
from expandd.domain.settings import Originals
from tests.support.manual_clock import START

S = JobState

SIZE = Size(100, 80)
OFFSETS = Offsets(top=10, bottom=10, left=20, right=20)
EXPECTED = OFFSETS.applied_to(SIZE)
FAULT = Fault(FaultCode.REFUSED_BY_API, "The API refused this image.", "Save it again and drop that.")

WAYS: dict[JobState, tuple[JobState, ...]] = {
    S.CLAIMED: (),
    S.UPLOADED: (S.UPLOADED,),
    S.SUBMITTING: (S.UPLOADED, S.SUBMITTING),
    S.ACCEPTED: (S.UPLOADED, S.SUBMITTING, S.ACCEPTED),
    S.UNKNOWN: (S.UPLOADED, S.SUBMITTING, S.UNKNOWN),
    S.RENDERED: (S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.RENDERED),
    S.DOWNLOADED: (S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.RENDERED, S.DOWNLOADED),
    S.DELIVERED: (S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.RENDERED, S.DOWNLOADED, S.DELIVERED),
    S.DONE: (S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.RENDERED, S.DOWNLOADED, S.DELIVERED, S.DONE),
    S.FAILED: (S.UPLOADED, S.SUBMITTING, S.FAILED),
    S.RETURNED: (S.UPLOADED, S.RETURNED),
}
"""The usual way into each state, from the claim on."""


def a_snapshot(base: Path = Path("/srv/hot"), **changes: Any) -> FolderSnapshot:
    facts: dict[str, Any] = {
        "inbox": base / "inbox",
        "outbox": base / "outbox",
        "done": base / "done",
        "error": base / "error",
        "name": "{stem}{ext}",
        "preset_name": "wide",
        "originals": Originals.MOVE,
    }
    return FolderSnapshot(**{**facts, **changes})


def a_source(**changes: Any) -> Source:
    facts: dict[str, Any] = {
        "identity": FileIdentity(device=1, inode=2, size=3, mtime_ns=4),
        "format": ImageFormat.PNG,
        "size": SIZE,
    }
    return Source(**{**facts, **changes})


def a_result(**changes: Any) -> Result:
    facts: dict[str, Any] = {
        "sha256": "ab" * 32,
        "bytes": 12,
        "format": ImageFormat.PNG,
        "size": EXPECTED,
        "expected": EXPECTED,
    }
    return Result(**{**facts, **changes})


CAMERA, SENT = Size(6000, 4000), Size(4096, 2731)


def a_camera_job(id: str = "job-1", **changes: Any) -> Job:  # noqa: A002 - the field's own name
    """A done job of an image larger than the API takes, with the original's pixels put back."""
    wanted = OFFSETS.applied_to(CAMERA)
    facts: dict[str, Any] = {
        "closed": True,
        "source": a_source(format=ImageFormat.JPEG, size=CAMERA, metadata=True),
        "prepared": Prepared(format=ImageFormat.JPEG, size=SENT, exact=False),
        "result": a_result(format=ImageFormat.JPEG, size=Size(4124, 2745), expected=wanted),
        "finished": a_result(format=ImageFormat.JPEG, size=wanted, expected=wanted, bytes=34),
    }
    return a_job_in(S.DONE, id, **{**facts, **changes})


def a_job(id: str = "job-1", **changes: Any) -> Job:  # noqa: A002 - the field's own name
    """A new job, claimed at the start of time."""
    facts: dict[str, Any] = {
        "folder": a_snapshot(),
        "relative": Path("image.png"),
        "source": a_source(),
        "offsets": OFFSETS,
    }
    return claimed(Job(id=id, **{**facts, **changes}), START)


def a_job_in(state: JobState, id: str = "job-1", *, at: float = START, **changes: Any) -> Job:  # noqa: A002 - the word of its callers
    """A job that came to `state` on the usual way, a second a step, knowing what it would know there."""
    job = a_job(id)
    for number, (_, to) in enumerate(pairwise((S.CLAIMED, *WAYS[state])), 1):
        job = moved(job, to, at + number, **_learned(job, to))
    return job.with_(**changes)


def _learned(job: Job, to: JobState) -> dict[str, Any]:
    facts: dict[JobState, dict[str, Any]] = {
        S.UPLOADED: {"image_id": f"image-of-{job.id}", "uploads": 1},
        S.RENDERED: {"link": f"https://links.example/{job.id}"},
        S.DOWNLOADED: {"result": a_result()},
        S.DELIVERED: {"target": job.folder.outbox / "image.png"},
        S.DONE: {"archived_to": job.folder.done / "image.png"},
        S.FAILED: {"fault": FAULT},
    }
    return facts.get(to, {})
