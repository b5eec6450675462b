"""Notices a lost or broken job database before anything is paid; `rebuild` begins a new one."""

from __future__ import annotations

from pathlib import Path

import click

from expandd.adapters.config.load import load
from expandd.adapters.files.recovery_record import record_beside
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import RECORD_NAME, Scanner
from expandd.adapters.locks import locked
from expandd.adapters.responsiveness import silent
from expandd.adapters.store.database import STORE, begin_anew, damage, missing
from expandd.domain.errors import DatabaseAway
from expandd.domain.settings import HotFolder, Settings
from expandd.service.exit_codes import ExitCode


def prove_store(settings: Settings) -> None:
    """Raise DatabaseAway when the job database is broken, or gone while files in work may have been paid for."""
    path = settings.state_dir / STORE
    records = _records(settings)
    if missing(settings) and records:
        raise DatabaseAway(
            f"The job database {path} is not there, but {len(records)} files in work may have been paid for. Is the "
            "disk of the state directory mounted? Nothing is done until it is back, or until you say that it is gone "
            "for good: `expandd rebuild`, which asks the API about those files and pays for none of them again.",
        )
    if not missing(settings) and (found := damage(settings)):
        raise DatabaseAway(
            f"The job database {path} is damaged ({found}). Look at the disk first; then `expandd rebuild` puts it "
            "aside and goes on from what lies beside the files in work. Nothing is paid until then.",
        )


def run_rebuild(config: Path) -> int:
    """Put a damaged job database aside and begin a new one; the next start adopts the files in work."""
    settings = load(config)
    if settings.cluster.database_file:
        click.echo("The job database is in Postgres: what is lost there comes back from a backup of Postgres alone.")
        return ExitCode.USAGE
    settings.state_dir.mkdir(mode=0o700, exist_ok=True)
    with locked(settings.state_dir / "lock", f"The state directory {settings.state_dir}"):
        if not missing(settings) and not damage(settings):
            click.echo("The job database is whole; there is nothing to rebuild.")
            return ExitCode.FINE
        begin_anew(settings)
    records = len(_records(settings))
    click.echo(
        f"A new job database is begun. {records} files in work may have been paid for: at the next start the API is"
    )
    click.echo("asked about them, and none is paid for again unless it proves that nothing was made.")
    click.echo(
        "Pauses, holds, duplicates and what was spent, but for files in work, are forgotten: budgets begin anew, and"
    )
    click.echo("what is to stay paused must be paused again before the next start, by a file named PAUSE in its inbox.")
    return ExitCode.FINE


def _records(settings: Settings) -> list[Path]:
    roots = Roots.of(settings.folders, settings.state_dir)
    hanging = silent(folder.inbox for folder in settings.folders)
    answering = (folder for folder in settings.folders if folder.inbox not in hanging)
    return [record for folder in answering for record in _records_in(folder, roots)]


def _records_in(folder: HotFolder, roots: Roots) -> list[Path]:
    """None where the folder is away, or does not answer, or its work folder is not ours: it waits."""
    try:
        jobs = [folder.work / job_id for job_id in Scanner(roots).work_directories(folder.inbox)]
        return [job / RECORD_NAME for job in jobs if record_beside(roots, job) is not None]
    except OSError:
        return []
