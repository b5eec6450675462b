"""Owns `resolve`: a person's word on a picture of which nobody can tell whether it was paid for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from expandd.adapters.config.load import load
from expandd.adapters.locks.state_lock import holder
from expandd.adapters.store.sqlite.command_writer import write_orders
from expandd.adapters.store.sqlite.reader import reading
from expandd.domain.commands import Order, Verb
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.service.exit_codes import ExitCode
from expandd.service.runtime.rebuild import JOURNAL

_NEXT = {
    Verb.PAID: "It goes to the error folder with a note; nothing more is paid for it.",
    Verb.NOT_PAID: "It is paid for and expanded as if it were new.",
}


def run_resolve(file: str, verdict: Verb, config: Path) -> int:
    """Write the decision down for the one unknown job that `file` names, by name, path or job id."""
    settings = load(config)
    path = settings.state_dir / JOURNAL
    with reading(path) as journal:
        unknown = {job.id: job for job in (*journal.unknown(), *journal.held(-1))}.values() if journal else ()
    found = [job for job in unknown if _names(job, file)]
    if len(found) != 1:
        click.echo(_not_one(file, found or tuple(unknown)), err=True)
        return ExitCode.USAGE
    job = found[0]
    if verdict is Verb.NOT_PAID and job.state is not JobState.UNKNOWN:
        click.echo(
            f"{printable(job.relative)} was paid for: the service has expanded it, only its result cannot be fetched. "
            "`--paid` gives it up; then `expandd retry` expands it anew, which costs again.",
            err=True,
        )
        return ExitCode.USAGE
    write_orders(path, [Order(verb=verdict, at=time.time(), job_id=job.id)])
    when = "within seconds" if holder(settings.state_dir / "lock") else "when expandd runs again"
    click.echo(f"{printable(job.relative)}: taken as {verdict.value}, {when}. {_NEXT[verdict]}")
    return ExitCode.FINE


def _names(job: Job, file: str) -> bool:
    relative = job.relative
    return file in {job.id, str(relative), relative.name, str(job.place.inbox / relative), str(job.work_file)}


def _not_one(file: str, jobs: Sequence[Job]) -> str:
    if not jobs:
        return "No picture waits for such a decision. `expandd status` shows what is in hand."
    listed = "\n".join(f"  {job.id}  {printable(job.place.inbox / job.relative)}" for job in jobs)
    return f"{printable(file)} does not name exactly one of the pictures that wait for a decision:\n{listed}"
