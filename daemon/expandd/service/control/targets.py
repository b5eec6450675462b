"""Owns what an order is about: from what a person names to a job, a waiting file, a hot folder, or everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from expandd.adapters.responsiveness import BRIEF, lying, silent
from expandd.adapters.store.sqlite.reader import JournalReader
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder, Settings
from expandd.service.reports.file_names import absolute_path, names_of, real_path
from expandd.service.reports.folder_labels import labels_of

MOST = 20
"""Jobs of one name that are looked through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`job` for a file that was picked up, else `inbox` and `relative` for one that waits, else `inbox`, else all."""

    called: str
    job: Job | None = None
    inbox: Path | None = None
    relative: Path | None = None


EVERYTHING = Target(called="Everything")


def target(what: str | None, settings: Settings, journal: JournalReader | None) -> Target:
    """What `what` names. Raises click.UsageError for what names nothing, or more than one thing."""
    if what is None:
        return EVERYTHING
    folder = _folder(what, settings)
    if folder is not None:
        return Target(called=f"The hot folder {printable(folder.inbox)}", inbox=folder.inbox)
    waiting = _waiting(what, settings)
    jobs = list(journal.named(names_of(what), MOST)) if journal else []
    if waiting is not None and not any(job.id == what for job in jobs):
        return waiting
    # An earlier file of the same name that is over is not meant while one is in hand.
    jobs = [job for job in jobs if not job.closed] or jobs[:1]
    if len(jobs) == 1:
        return Target(called=printable(jobs[0].relative), job=jobs[0])
    raise click.UsageError(_not_one(what, jobs))


def _folder(what: str, settings: Settings) -> HotFolder | None:
    path, labels = real_path(absolute_path(what)), labels_of([folder.inbox for folder in settings.folders])
    for folder in settings.folders:
        own = (folder.inbox, folder.outbox, folder.done, folder.error)
        root = folder.inbox.parent if folder.inbox.parent == folder.outbox.parent else None
        if path in {*own, root} or what == labels[folder.inbox]:
            return folder
    return None


def _waiting(what: str, settings: Settings) -> Target | None:
    """A file that lies in an inbox and has not been picked up."""
    path = Path(what)
    below = [] if path.is_absolute() else [(folder, folder.inbox / path) for folder in settings.folders]
    absolute = real_path(absolute_path(what))
    inside = [(folder, absolute) for folder in settings.folders if absolute.is_relative_to(folder.inbox)]
    # Of a name alone it must be known where it lies; a path is taken at its word where its disk does not answer.
    unsure = silent({one.parent for _, one in below}, BRIEF)
    named = [*inside, *((folder, one) for folder, one in below if one.parent not in unsure)]
    there = lying(one for _, one in named)
    found = [(folder, one) for folder, one in named if one in there and one != folder.inbox]
    found = [(folder, one) for folder, one in found if folder.work not in one.parents]
    if len({one for _, one in found}) > 1:
        listed = "\n".join(f"  {printable(one)}" for _, one in found)
        raise click.UsageError(f"{printable(what)} lies in more than one inbox; name one by its path:\n{listed}")
    for folder, one in found:
        relative = one.relative_to(folder.inbox)
        return Target(called=printable(relative), inbox=folder.inbox, relative=relative)
    return None


def _not_one(what: str, jobs: Sequence[Job]) -> str:
    if not jobs:
        return (
            f"Nothing is known of {printable(what)}: it is no hot folder, lies in no inbox, and the journal has none "
            "of that name."
        )
    listed = "\n".join(f"  {job.id}  {printable(job.place.inbox / job.relative)}" for job in jobs)
    return f"{printable(what)} names more than one file; name one by its id:\n{listed}"
