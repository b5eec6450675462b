"""`why`: the history of one file in sentences, by any name or path that it has or had."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from expandd.adapters.files.roots import WORK
from expandd.adapters.files.scan import FolderCounter, Scanner
from expandd.adapters.files.sidecars import sidecar_path
from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.responsiveness import BRIEF, silent, silent_roots
from expandd.adapters.store.database import reading
from expandd.domain.commands import HoldKind
from expandd.domain.image import Size
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.reports.job_history import (
    WORDS,
    JobHistory,
    Lying,
    Surroundings,
    absolute_path,
    history_of,
    made_of,
    names_of,
    paid_words,
    real_path,
)
from expandd.service.reports.not_picked_up import NotPickedUp, not_picked_up
from expandd.service.reports.overview import Pause, build_overview, ended, iso, sentence, span
from expandd.service.reports.snapshot import live_snapshot


def not_picked_up_lines(file: NotPickedUp, now: float) -> Iterator[str]:
    """A file that no open job has."""
    yield f"{printable(file.path)} is not taken{' yet' if file.skip_reason.passes else ''}."
    yield f"  Why:  {file.why}"
    yield from (f"  Waits on:  {sentence(pause, now)}" for pause in file.waits_on)
    yield f"  Next: {file.next}"


def job_lines(history: JobHistory, now: float) -> Iterator[str]:
    """A job, from its first state to what comes next."""
    job = history.job
    over = "" if not job.closed else ", over"
    yield f"{printable(job.relative)}, dropped into {printable(job.folder.inbox)} (job {job.id}{over})"
    for step in history.steps:
        lasted = "" if step.seconds is None else f" ({span(step.seconds)})"
        yield f"  {_when(step.at)}  {step.state.value:<10}  {WORDS[step.state]}{lasted}"
    yield from (f"  {line}" for line in _facts(job))
    yield from (f"  {_lying_text(lying)}" for lying in history.lying)
    yield from (f"  Waits on: {sentence(pause, now)}" for pause in history.waits_on)
    again = ""
    if history.next_at is not None and history.next_at > now:
        again = f" Looked at again in {span(history.next_at - now)}."
    yield f"  Next: {history.next}{again}"


def _image_facts(job: Job) -> Iterator[str]:
    source, result = job.source, job.final
    kind = f"{source.format.value}, " if source.format else ""
    size = f", {source.size} px" if source.size else ""
    yield f"Image: {kind}{source.identity.size} bytes{size}; preset {job.folder.preset_name}."
    if source.size and not job.offsets.nothing:
        yield f"Offsets: {job.offsets}; the result is to be {job.offsets.applied_to(source.size)} px."
    if job.prepared is not None:
        yield f"Uploaded: a copy of {job.prepared.size} px; the API is asked for {job.asked}."
    if result is not None and job.target is not None:
        yield f"Result: {result.format.value}, {result.size} px; {ended(made_of(job))}"
    if result is not None and result.differs:
        yield f"The result is {result.size} px instead of {result.expected}; it is delivered all the same."


def _facts(job: Job) -> Iterator[str]:
    yield from _image_facts(job)
    if job.host and not job.closed:
        yield f"Host {printable(job.host)} carries it."
    if job.image_id:
        task = f", task id {printable(job.task_id)}" if job.task_id else ""
        yield f"At the API: image id {printable(job.image_id)}{task}."
    yield f"Money: {paid_words(job)}."
    if job.tries:
        yield f"Tries that did not work out: {job.tries}, {job.attempts} of them of the present step."
    if job.note:
        yield f"Last remark: {ended(printable(job.note))}"
    if job.fault is not None:
        yield f"Reason: {ended(printable(job.fault.message))}"
    if job.original_lost:
        noticed = _when(job.state_changes[-1].at)
        yield f"The original is lost: somebody removed it from the work folder. That was noticed on {noticed}."
    elif job.original_removed:
        yield "The original was removed after delivery, as its folder says (`originals: delete`)."


def _lying_text(lying: Lying) -> str:
    where = {True: "", False: " (it is no longer there)", None: " (its folder gives no answer)"}[lying.there]
    return f"The {lying.what}: {printable(lying.path)}{where}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def not_picked_up_values(file: NotPickedUp, now: float) -> dict[str, Any]:
    return {
        "path": printable(file.path),
        "inbox": None if file.inbox is None else printable(file.inbox),
        "hindrance": file.skip_reason.value,
        "why": file.why,
        "waits_on": [_pause(pause, now) for pause in file.waits_on],
        "next": file.next,
    }


def job_values(history: JobHistory, now: float) -> dict[str, Any]:
    """Times in ISO 8601, UTC; durations in seconds; file names escaped."""
    job, source, result = history.job, history.job.source, history.job.final
    return {
        "job": job.id,
        "inbox": printable(job.folder.inbox),
        "file": printable(job.relative),
        "preset": job.folder.preset_name,
        "state": job.state.value,
        "over": job.closed,
        "needs_you": job.held,
        "states": [{"state": step.state.value, "at": iso(step.at), "seconds": step.seconds} for step in history.steps],
        "bytes": source.identity.size,
        "sha256": source.sha256,
        "size": _pixels(source.size),
        "uploaded_size": _pixels(job.uploaded_size),
        "offsets": asdict(job.offsets),
        "expected_size": _pixels(job.offsets.applied_to(source.size) if source.size else None),
        "result_size": _pixels(result.size if result else None),
        "original_pixels": job.has_original_pixels,
        "finish_failed": job.finish_failed or None,
        "image_id": job.image_id,
        "task_id": job.task_id,
        "paid": job.paid,
        "same_as": job.reused_from or None,
        "tries": job.tries,
        "original_lost": job.original_lost,
        "note": printable(job.note),
        "code": job.fault.code.value if job.fault else None,
        "message": job.fault.message if job.fault else None,
        "what_to_do": job.fault.what_to_do if job.fault else None,
        "lies": [{"what": one.what, "path": printable(one.path), "there": one.there} for one in history.lying],
        "waits_on": [_pause(pause, now) for pause in history.waits_on],
        "next": history.next,
        "next_at": iso(history.next_at),
    }


def _pixels(size: Size | None) -> dict[str, int] | None:
    return None if size is None else asdict(size)


def _pause(pause: Pause, now: float) -> dict[str, Any]:
    return {"reason": pause.reason.value, "since": iso(pause.since or None), "sentence": sentence(pause, now)}


MOST = 10
"""Jobs of one name that are told of: the youngest."""


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of a name: files that lie there and no open job has, and jobs, the youngest first."""

    files: tuple[NotPickedUp, ...]
    jobs: tuple[JobHistory, ...]


def run_why(file: str, config: Path, *, as_json: bool) -> int:
    """Print the history of the files and jobs that `file` names. Exit code 2 when there are none."""
    settings = as_loaded(config)
    around = surroundings(settings)
    told = asyncio.run(tell(file, around))
    if as_json:
        values: dict[str, Any] = {
            "name": printable(file),
            "running": around.running,
            "files": [not_picked_up_values(one, around.now) for one in told.files],
            "jobs": [job_values(one, around.now) for one in told.jobs],
        }
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(file, told, around)))
    return ExitCode.FINE if told.files or told.jobs else ExitCode.USAGE


def surroundings(settings: Settings) -> Surroundings:
    """The current state that the histories need."""
    overview = build_overview(settings, FolderCounter())
    with reading(settings) as store:
        commands = store.holds() if store else ()
    return Surroundings(
        settings=settings,
        running=overview.running,
        snapshot=live_snapshot(settings.state_dir)[1],
        pauses=overview.pauses,
        away=frozenset(folder.inbox for folder in overview.folders if not folder.counted),
        silent=frozenset(silent_roots(settings.folders)),
        paused=frozenset(
            (command.inbox, command.relative)
            for command in commands
            if command.kind is HoldKind.PAUSED and command.inbox is not None and command.relative is not None
        ),
        now=overview.at,
    )


async def tell(file: str, around: Surroundings) -> Told:
    """What the job database and the folders know of `file`."""
    with reading(around.settings) as store:
        jobs = store.named(names_of(file), MOST) if store else ()
    histories = tuple(history_of(job, around) for job in jobs)
    lying = {lying.path for history in histories for lying in history.lying}
    known = lying | {sidecar_path(path) for path in lying}
    scanner = Scanner(around.roots)
    paths = [path for path in dict.fromkeys(_places(file, around)) if path not in known and _lies(scanner, path)]
    async with PillowImages(processes=1, open_file=around.roots.open_file) as images:
        files = []
        for path in paths:
            # One that is gone was taken just now.
            with contextlib.suppress(FileNotFoundError):
                files.append(await not_picked_up(path, around, images))
    return Told(tuple(_news(files, jobs)), histories)


def _lies(scanner: Scanner, path: Path) -> bool:
    """Whether anything lies there; False where reading is not permitted."""
    try:
        return scanner.there(path)
    except OSError:
        return False


def _news(files: Sequence[NotPickedUp], jobs: Sequence[Job]) -> Iterator[NotPickedUp]:
    """Leave out what lies outside of hot folders when a hot folder or the job database knows better."""
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
            found = Scanner(around.roots).batches(folder.inbox, recursive=True, leave_out=WORK)
            paths = (folder.inbox / one.relative for batch in found for one in batch)
            yield from (path for path in paths if path.name == below.name)


def _lines(file: str, told: Told, around: Surroundings) -> Iterator[str]:
    if not told.files and not told.jobs:
        keep = around.settings.keep.journal
        memory = "for ever" if keep is None else f"for {keep / 86400:g} days"
        yield (
            f"Nothing is known of {printable(file)}: no such file lies in an inbox, and the job database, which "
            f"remembers {memory}, has none of that name. Was it dropped into another folder?"
        )
    for number, one in enumerate(told.files):
        yield from ([""] if number else [])
        yield from not_picked_up_lines(one, around.now)
    for number, history in enumerate(told.jobs):
        yield from ([""] if number or told.files else [])
        yield from job_lines(history, around.now)
