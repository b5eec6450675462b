"""Owns `why`: the whole story of one file, by any name or path that it has or had."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from expandd.adapters.files.error_report import sidecar_path
from expandd.adapters.files.folder_counts import Counting
from expandd.adapters.files.roots import WORK
from expandd.adapters.files.scan import Looking
from expandd.adapters.images.pillow import PillowImages
from expandd.adapters.responsiveness import BRIEF, silent, silent_roots
from expandd.adapters.store.sqlite.reader import reading
from expandd.domain.commands import Lasting
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.reports.build_overview import build_overview
from expandd.service.reports.file_names import absolute_path, names_of, real_path
from expandd.service.reports.job_history import JobStory, Surroundings, story_of
from expandd.service.reports.job_history_text import job_lines, job_values, untaken_lines, untaken_values
from expandd.service.reports.not_picked_up import Untaken, untaken
from expandd.service.reports.snapshot import live_snapshot
from expandd.service.runtime.rebuild import JOURNAL

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
