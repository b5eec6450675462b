"""`cluster`: what an administrator does to the job database that several hosts share."""

from __future__ import annotations

from pathlib import Path

import click

from expandd.adapters.config.load import load
from expandd.adapters.locks import locked
from expandd.adapters.store.database import STORE, bring_up_to_date, import_file
from expandd.domain.naming import printable
from expandd.service.exit_codes import ExitCode


def run_migrate(config: Path) -> int:
    """Make the tables of the job database, or bring them up to date."""
    before, after = bring_up_to_date(load(config))
    if before == after:
        click.echo(f"The tables are of version {after} already; nothing was changed.")
    else:
        click.echo(f"The tables are of version {after} now." if before else f"Tables of version {after} are made.")
    return ExitCode.FINE


def run_import(config: Path, file: Path | None) -> int:
    """Take over the job database that this host had while it was alone."""
    settings = load(config)
    path = file or settings.state_dir / STORE
    if not path.is_file():
        click.echo(f"There is no job database {printable(path)}: nothing was taken over.", err=True)
        return ExitCode.USAGE
    with locked(path.parent / "lock", f"The state directory {printable(path.parent)}"):
        counts = import_file(settings, path)
    said = ", ".join(f"{number} {table}" for table, number in counts.items())
    click.echo(f"Taken over: {said}. The file is {printable(path)}.imported now, and used no more.")
    return ExitCode.FINE
