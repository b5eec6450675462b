"""Owns `status`: what is in hand, what waits on what, and what went wrong, read beside the daemon."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from expandd.adapters.config.load import load
from expandd.adapters.journal_reader import Count, JournalReader, reading
from expandd.adapters.lock import holder
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder, Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.rebuilding import JOURNAL

DAY = 86400.0
MOST = 20
"""Jobs listed of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """One hot folder. `done` and `failed` are those of the last 24 hours."""

    inbox: str
    preset: str
    open: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All of it. `running` names the process that holds the state directory, "" when none does."""

    running: str
    folders: tuple[FolderStatus, ...]
    open: tuple[Job, ...]
    failed: tuple[Job, ...]
    differing: tuple[Job, ...]


def show_status(config: Path, *, as_json: bool) -> int:
    """Print the status."""
    settings = load(config)
    with reading(settings.state_dir / JOURNAL) as journal:
        status = _status(settings, journal, time.time())
    if as_json:
        click.echo(json.dumps(_as_json(status), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(status)))
    return ExitCode.FINE


def _status(settings: Settings, journal: JournalReader | None, now: float) -> Status:
    counts = journal.counts(now - DAY) if journal else ()
    return Status(
        running=holder(settings.state_dir / "lock"),
        folders=tuple(_folder_status(folder, counts) for folder in settings.folders),
        open=tuple(journal.open_jobs(MOST)) if journal else (),
        failed=tuple(journal.failed(MOST)) if journal else (),
        differing=tuple(journal.differing(MOST)) if journal else (),
    )


def _folder_status(folder: HotFolder, counts: Sequence[Count]) -> FolderStatus:
    mine = [count for count in counts if count.inbox == os.fsencode(folder.inbox)]
    return FolderStatus(
        inbox=printable(folder.inbox),
        preset=folder.preset_name,
        open=sum(count.jobs for count in mine if not count.closed),
        done=sum(count.jobs for count in mine if count.closed and count.state is JobState.DONE),
        failed=sum(count.jobs for count in mine if count.closed and count.state is JobState.FAILED),
    )


def _lines(status: Status) -> Iterator[str]:
    yield f"expandd runs as {status.running}." if status.running else "expandd does not run."
    for folder in status.folders:
        yield (
            f"{folder.inbox} ({folder.preset}): {folder.open} in hand; "
            f"in the last 24 hours {folder.done} done, {folder.failed} to the error folder"
        )
    for job in status.open:
        held = " [needs you]" if job.held else ""
        why = f": {printable(job.note)}" if job.note else ""
        yield f"in hand  {job.state.value:<9} {printable(job.relative)}{held}{why}"
    for job in status.failed:
        yield f"error    {printable(job.relative)}: {job.fault.message if job.fault else ''}"
    for job in status.differing:
        yield f"size     {printable(job.target or job.relative)}: {_difference(job)}"


def _difference(job: Job) -> str:
    assert job.result is not None
    return f"the service made {job.result.size}, the offsets ask for {job.result.expected}"


def _as_json(status: Status) -> dict[str, Any]:
    return {
        "running": status.running,
        "folders": [
            {"inbox": one.inbox, "preset": one.preset, "open": one.open, "done": one.done, "failed": one.failed}
            for one in status.folders
        ],
        "open": [_job(job) | {"held": job.held, "note": printable(job.note)} for job in status.open],
        "failed": [_job(job) | {"message": job.fault.message if job.fault else ""} for job in status.failed],
        "size_differs": [_job(job) | {"difference": _difference(job)} for job in status.differing],
    }


def _job(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "inbox": printable(job.place.inbox),
        "file": printable(job.relative),
        "state": job.state.value,
    }
