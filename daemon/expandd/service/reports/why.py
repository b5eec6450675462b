"""`why`: the history of one file in sentences, by any name or path that it has or had."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from expandd.adapters.files.roots import WORK
from expandd.adapters.files.scan import Counting, Looking
from expandd.adapters.files.sidecars import sidecar_path
from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.responsiveness import BRIEF, silent, silent_roots
from expandd.adapters.store.sqlite.reader import reading
from expandd.domain.commands import Lasting
from expandd.domain.image import Size
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.reports.job_history import (
    WORDS,
    JobStory,
    Lying,
    Surroundings,
    absolute_path,
    names_of,
    paid_words,
    real_path,
    story_of,
)
from expandd.service.reports.not_picked_up import Untaken, untaken
from expandd.service.reports.overview import Pause, build_overview, clock, ended, sentence, span
from expandd.service.reports.snapshot import live_snapshot
from expandd.service.runtime.rebuild import JOURNAL


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
    yield from (f"  {_lying_text(lying)}" for lying in story.lying)
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


def _lying_text(lying: Lying) -> str:
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


MOST = 10
"""Jobs of one name that are told of: the youngest."""


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of a name: files that lie there and no open job has, and jobs, the youngest first."""

    files: tuple[Untaken, ...]
    jobs: tuple[JobStory, ...]


def run_why(file: str, config: Path, *, as_json: bool) -> int:
    """Tell the story of whatever `file` names. Exit code 2 when nothing is known of it."""
    settings = as_loaded(config)
    around = surroundings(settings)
    told = asyncio.run(tell(file, around))
    if as_json:
        values: dict[str, Any] = {
            "name": printable(file),
            "running": around.running,
            "files": [untaken_values(one, around.now) for one in told.files],
            "jobs": [job_values(one, around.now) for one in told.jobs],
        }
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(file, told, around)))
    return ExitCode.FINE if told.files or told.jobs else ExitCode.USAGE


def surroundings(settings: Settings) -> Surroundings:
    """What the stories are told with, as it is now."""
    overview = build_overview(settings, Counting())
    with reading(settings.state_dir / JOURNAL) as journal:
        orders = journal.standing_orders() if journal else ()
    return Surroundings(
        settings=settings,
        running=overview.running,
        snapshot=live_snapshot(settings.state_dir)[1],
        pauses=overview.pauses,
        away=frozenset(folder.inbox for folder in overview.folders if not folder.counted),
        silent=frozenset(silent_roots(settings.folders)),
        paused=frozenset(
            (order.inbox, order.relative)
            for order in orders
            if order.lasting is Lasting.PAUSED and order.inbox is not None and order.relative is not None
        ),
        now=overview.at,
    )


async def tell(file: str, around: Surroundings) -> Told:
    """What the journal and the folders know of `file`."""
    with reading(around.settings.state_dir / JOURNAL) as journal:
        jobs = journal.named(names_of(file), MOST) if journal else ()
    stories = tuple(story_of(job, around) for job in jobs)
    lying = {lying.path for story in stories for lying in story.lying}
    known = lying | {sidecar_path(path) for path in lying}
    looking = Looking(around.roots)
    paths = [path for path in dict.fromkeys(_places(file, around)) if path not in known and _lies(looking, path)]
    async with PillowImages(processes=1, open_file=around.roots.open_file) as images:
        files = []
        for path in paths:
            # One that is gone was taken just now.
            with contextlib.suppress(FileNotFoundError):
                files.append(await untaken(path, around, images))
    return Told(tuple(_news(files, jobs)), stories)


def _lies(looking: Looking, path: Path) -> bool:
    """Whether anything lies there; where one may not look, nothing is said to."""
    try:
        return looking.there(path)
    except OSError:
        return False


def _news(files: Sequence[Untaken], jobs: Sequence[Job]) -> Iterator[Untaken]:
    """Leave out what lies outside of hot folders when a hot folder or the journal knows better."""
    better = bool(jobs) or any(file.inbox is not None for file in files)
    for file in files:
        if file.inbox is not None or not better:
            yield file


def _places(file: str, around: Surroundings) -> Iterator[Path]:
    """Where a file of this name may lie. Directories that give no answer are not asked."""
    absolute = absolute_path(file)
    away = around.away | around.silent
    if not any(absolute.is_relative_to(one) for one in away) and not silent({absolute.parent}, BRIEF):
        yield from (absolute, real_path(absolute))
    below = Path(os.path.normpath(file))
    if below.is_absolute() or ".." in below.parts:
        return
    for folder in around.settings.folders:
        if folder.inbox in away:
            continue
        for root in (folder.inbox, folder.error):
            yield root / below
        if len(below.parts) == 1:
            found = Looking(around.roots).batches(folder.inbox, recursive=True, leave_out=WORK)
            yield from (folder.inbox / one for batch in found for one in batch if one.name == below.name)


def _lines(file: str, told: Told, around: Surroundings) -> Iterator[str]:
    if not told.files and not told.jobs:
        keep = around.settings.keep.journal
        memory = "for ever" if keep is None else f"for {keep / 86400:g} days"
        yield (
            f"Nothing is known of {printable(file)}: no such file lies in an inbox, and the journal, which remembers "
            f"{memory}, has none of that name. Was it dropped into another folder?"
        )
    for number, one in enumerate(told.files):
        yield from ([""] if number else [])
        yield from untaken_lines(one, around.now)
    for number, story in enumerate(told.jobs):
        yield from ([""] if number or told.files else [])
        yield from job_lines(story, around.now)
