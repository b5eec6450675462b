"""Owns how stories are told: in sentences for people, in values for machines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from expandd.domain.image import Size
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.service.reports.job_history import WORDS, JobStory, Lying, paid_words
from expandd.service.reports.not_picked_up import Untaken
from expandd.service.reports.overview import Pause
from expandd.service.reports.pauses import clock, ended, sentence, span


def untaken_lines(file: Untaken, now: float) -> Iterator[str]:
    """A file that no open job has."""
    yield f"{printable(file.path)} is not taken{' yet' if file.hindrance.passes else ''}."
    yield f"  Why:  {file.why}"
    yield from (f"  Waits on:  {sentence(halt, now)}" for halt in file.waits_on)
    yield f"  Next: {file.next}"


def job_lines(story: JobStory, now: float) -> Iterator[str]:
    """A job, from its first state to what comes next."""
    job = story.job
    over = "" if not job.closed else ", over"
    yield f"{printable(job.relative)}, dropped into {printable(job.place.inbox)} (job {job.id}{over})"
    for step in story.steps:
        lasted = "" if step.seconds is None else f" ({span(step.seconds)})"
        yield f"  {_when(step.at)}  {step.state.value:<9}  {WORDS[step.state]}{lasted}"
    yield from (f"  {line}" for line in _facts(job))
    yield from (f"  {_lying(lying)}" for lying in story.lying)
    yield from (f"  Waits on: {sentence(halt, now)}" for halt in story.waits_on)
    again = ""
    if story.next_at is not None and story.next_at > now:
        again = f" Looked at again in {span(story.next_at - now)}."
    yield f"  Next: {story.next}{again}"


def _facts(job: Job) -> Iterator[str]:
    source = job.source
    kind = f"{source.format.value}, " if source.format else ""
    size = f", {source.size} px" if source.size else ""
    yield f"Picture: {kind}{source.identity.size} bytes{size}; preset {job.place.preset_name}."
    if source.size and not job.offsets.nothing:
        yield f"Offsets: {job.offsets}; the result is to be {job.offsets.applied_to(source.size)} px."
    if job.image_id:
        task = f", task id {printable(job.task_id)}" if job.task_id else ""
        yield f"At the service: image id {printable(job.image_id)}{task}."
    yield f"Money: {paid_words(job)}."
    if job.tries:
        yield f"Tries that did not work out: {job.tries}, {job.attempts} of them of the present step."
    if job.note:
        yield f"Last remark: {ended(printable(job.note))}"
    if job.fault is not None:
        yield f"Reason: {ended(printable(job.fault.message))}"
    if job.original_lost:
        noticed = _when(job.stamps[-1].at)
        yield f"The original is lost: somebody removed it from the work folder. That was noticed on {noticed}."
    elif job.closed and job.state is JobState.DONE and job.resting == job.work_file:
        yield "The original was removed after delivery, as its folder says (`originals: delete`)."
    if job.result is not None and job.result.differs:
        yield f"The result is {job.result.size} px instead of {job.result.expected}; it is delivered all the same."


def _lying(lying: Lying) -> str:
    where = {True: "", False: " (it is no longer there)", None: " (its folder gives no answer)"}[lying.there]
    return f"The {lying.what}: {printable(lying.path)}{where}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def untaken_values(file: Untaken, now: float) -> dict[str, Any]:
    return {
        "path": printable(file.path),
        "inbox": None if file.inbox is None else printable(file.inbox),
        "hindrance": file.hindrance.value,
        "why": file.why,
        "waits_on": [_halt(halt, now) for halt in file.waits_on],
        "next": file.next,
    }


def job_values(story: JobStory, now: float) -> dict[str, Any]:
    """Times in ISO 8601, UTC; durations in seconds; file names escaped."""
    job, source, result = story.job, story.job.source, story.job.result
    return {
        "job": job.id,
        "inbox": printable(job.place.inbox),
        "file": printable(job.relative),
        "preset": job.place.preset_name,
        "state": job.state.value,
        "over": job.closed,
        "needs_you": job.held,
        "states": [{"state": step.state.value, "at": _iso(step.at), "seconds": step.seconds} for step in story.steps],
        "bytes": source.identity.size,
        "sha256": source.sha256,
        "size": _pixels(source.size),
        "offsets": {
            "top": job.offsets.top,
            "bottom": job.offsets.bottom,
            "left": job.offsets.left,
            "right": job.offsets.right,
        },
        "expected_size": _pixels(job.offsets.applied_to(source.size) if source.size else None),
        "result_size": _pixels(result.size if result else None),
        "image_id": job.image_id,
        "task_id": job.task_id,
        "paid": job.paid,
        "same_as": job.twin or None,
        "tries": job.tries,
        "original_lost": job.original_lost,
        "note": printable(job.note),
        "code": job.fault.code.value if job.fault else None,
        "message": job.fault.message if job.fault else None,
        "what_to_do": job.fault.what_to_do if job.fault else None,
        "lies": [{"what": one.what, "path": printable(one.path), "there": one.there} for one in story.lying],
        "waits_on": [_halt(halt, now) for halt in story.waits_on],
        "next": story.next,
        "next_at": None if story.next_at is None else _iso(story.next_at),
    }


def _pixels(size: Size | None) -> dict[str, int] | None:
    return None if size is None else {"width": size.width, "height": size.height}


def _halt(halt: Pause, now: float) -> dict[str, Any]:
    since = clock(halt.since, now) if halt.since else None
    return {"reason": halt.reason.value, "since": since, "sentence": sentence(halt, now)}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
