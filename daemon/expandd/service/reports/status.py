"""`status`: the overview, once or live as a table."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from expandd.adapters.files.scan import FolderCounter
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.reports.overview import FolderOverview, Overview, Pause, as_number, build_overview, iso, sentence
from expandd.service.reports.overview_text import difference, lines
from expandd.service.reports.snapshot import Reading


def show_status(config: Path, *, as_json: bool, watch: bool, every: float) -> int:
    """Print the status, once, or with `watch` every `every` seconds until it is interrupted."""
    settings, counting = as_loaded(config), FolderCounter()

    def look() -> Overview:
        return build_overview(settings, counting, whole=as_json)

    with suppress(KeyboardInterrupt):
        if not as_json and sys.stdout.isatty():
            from expandd.service.reports.status_table import show_on_terminal  # noqa: PLC0415 - a table needs a terminal library

            show_on_terminal(look, every if watch else None)
            return ExitCode.FINE
        while True:
            overview = look()
            if as_json:
                click.echo(json.dumps(as_values(overview), indent=None if watch else 2, ensure_ascii=False))
            else:
                click.echo("\n".join([*lines(overview), *([""] if watch else [])]))
            if not watch:
                return ExitCode.FINE
            sys.stdout.flush()
            time.sleep(every)
    click.echo()
    return ExitCode.FINE


def as_values(overview: Overview) -> dict[str, Any]:
    """The status for machines: durations in seconds, times in ISO 8601, file names escaped."""
    money = overview.money
    return {
        "at": iso(overview.at),
        "running": overview.running,
        "told_at": iso(overview.told_at),
        "configuration": _reading_values(overview.reading),
        "failing": [
            {"loop": printable(one.name), "since": iso(one.since), "why": printable(one.why)}
            for one in overview.failing
        ],
        "account_shared_with": printable(overview.account_shared_with),
        "lost_log_lines": overview.lost_log_lines,
        "pauses": [_pause_values(pause, overview.at) for pause in overview.pauses],
        "ordered": [
            {"verb": one.verb.value, "about": one.about or None, "at": iso(one.at)} for one in overview.ordered
        ],
        "folders": [_folder_values(folder) for folder in overview.folders],
        "money": {
            "paid_today": money.paid_today,
            "paid_this_month": money.paid_this_month,
            "day_left": money.day_left,
            "month_left": money.month_left,
            "credits": as_number(money.credits),
            "credits_at": iso(money.credits_at),
            "credits_per_image": as_number(money.price),
        },
        "pace": {
            "per_hour": overview.pace.per_hour,
            "seconds_each": overview.pace.seconds_each,
            "seconds_left": overview.pace.seconds_left,
            "stalled": overview.pace.stalled,
        },
        "needs_you": [_job_values(job) | {"note": printable(job.note)} for job in overview.held],
        "open": [_job_values(job) | {"held": job.held, "note": printable(job.note)} for job in overview.in_progress],
        "failed": [_job_values(job) | {"message": job.fault.message if job.fault else ""} for job in overview.failed],
        "original_lost": [_job_values(job) | {"noticed": iso(job.state_changes[-1].at)} for job in overview.lost],
        "size_differs": [_job_values(job) | {"difference": difference(job)} for job in overview.differing],
    }


def _reading_values(reading: Reading | None) -> dict[str, Any] | None:
    if reading is None:
        return None
    return {
        "read_at": iso(reading.at),
        "errors": [printable(error) for error in reading.errors],
        "needs_restart": list(reading.needs_restart),
    }


def _pause_values(pause: Pause, now: float) -> dict[str, Any]:
    return {
        "inbox": None if pause.inbox is None else printable(pause.inbox),
        "reason": pause.reason.value,
        "why": printable(pause.why),
        "since": iso(pause.since or None),
        "again_at": iso(pause.again_at),
        "lifts": pause.remedy,
        "sentence": sentence(pause, now),
    }


def _folder_values(folder: FolderOverview) -> dict[str, Any]:
    return {
        "inbox": printable(folder.inbox),
        "outbox": printable(folder.outbox),
        "preset": folder.preset_name,
        "counted": folder.counted,
        "waiting": folder.waiting,
        "oldest_seconds": folder.oldest,
        "oldest_of": folder.aged,
        "open": folder.in_progress + folder.held,
        "in_progress": folder.in_progress,
        "needs_you": folder.held,
        "duplicates_paid": folder.duplicates,
        "done": folder.done,
        "failed": folder.failed,
        "in_error": folder.in_error,
        "paid_today": folder.paid_today,
        "day_left": folder.day_left,
        "month_left": folder.month_left,
        "in_subfolders": folder.too_deep,
        "watched": folder.watched,
        "missed_events": folder.missed,
    }


def _job_values(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "inbox": printable(job.folder.inbox),
        "file": printable(job.relative),
        "state": job.state.value,
        "host": job.host or None,
    }
