"""`cluster`: what an administrator does to the job database that several hosts share."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from expandd.adapters.config.load import settings_of
from expandd.adapters.locks import locked
from expandd.adapters.store.database import STORE, bring_up_to_date, bury, drain, hosts, import_file
from expandd.domain.hosts import HostLine
from expandd.domain.naming import printable
from expandd.service.exit_codes import ExitCode


def run_migrate(config: Path) -> int:
    """Make the tables of the job database, or bring them up to date."""
    before, after = bring_up_to_date(settings_of(config))
    if before == after:
        click.echo(f"The tables are of version {after} already; nothing was changed.")
    else:
        click.echo(f"The tables are of version {after} now." if before else f"Tables of version {after} are made.")
    return ExitCode.FINE


def run_import(config: Path, file: Path | None) -> int:
    """Take over the job database that this host had while it was alone."""
    settings = settings_of(config)
    path = file or settings.state_dir / STORE
    if not path.is_file():
        click.echo(f"There is no job database {printable(path)}: nothing was taken over.", err=True)
        return ExitCode.USAGE
    with locked(path.parent / "lock", f"The state directory {printable(path.parent)}"):
        counts = import_file(settings, path)
    said = ", ".join(f"{number} {table}" for table, number in counts.items())
    click.echo(f"Taken over: {said}. The file is {printable(path)}.imported now, and used no more.")
    return ExitCode.FINE


def run_status(config: Path, *, as_json: bool) -> int:
    """Show the hosts, their leases, and what each works on."""
    lines = hosts(settings_of(config))
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return ExitCode.FINE
    current = {line.digest for line in lines if not line.dead}
    for line in lines:
        click.echo(f"{line.name}: {_state(line)}. Version {line.version}, {line.workers} workers.")
    if not lines:
        click.echo("No host has worked with this job database yet.")
    if len(current) > 1:
        click.echo(
            "The hosts are not configured alike: compare folders, presets, budgets and api.base_url of their files."
        )
    return ExitCode.FINE


def run_drain(config: Path, name: str, *, draining: bool) -> int:
    """Let a host end what it has begun and begin nothing more, or let it go on."""
    if not drain(settings_of(config), name, draining=draining):
        outdated = "" if draining else ", or it takes no images until its expandd is upgraded"
        click.echo(f"No host {name} works{outdated}: `expandd cluster status` lists all.", err=True)
        return ExitCode.USAGE
    said = "begins nothing more, and ends what it carries" if draining else "takes images again"
    click.echo(f"{name} {said}. `expandd cluster status` tells how far it is.")
    return ExitCode.FINE


def run_bury(config: Path, name: str, *, yes: bool) -> int:
    """Say that a dead host never goes on, so that others may pay for what it was about to send."""
    settings = settings_of(config)
    dead = [line for line in hosts(settings) if line.name == name and line.dead and not line.proven_dead]
    if not dead:
        click.echo(f"No host {name} is missing: `expandd cluster status` lists all.", err=True)
        return ExitCode.USAGE
    question = (
        f"{name} was not heard of for longer than its lease. If it is only frozen or cut off and goes on one day, an "
        "image may be paid for twice. Is it certain that it is permanently off?"
    )
    if not (yes or click.confirm(question)):
        return ExitCode.FINE
    bury(settings, name)
    click.echo(f"{name} is buried: the other hosts pay for what it had not sent.")
    return ExitCode.FINE


def _state(line: HostLine) -> str:
    carries = f"picks up the files of {line.inboxes} inboxes, carries {line.jobs} images"
    if line.proven_dead:
        return "has ended"
    if line.dead:
        return f"missing, not heard of since {-line.lease_left:.0f} s beyond its lease"
    if line.draining:
        return f"draining: carries {line.jobs} images and takes no more"
    return f"works since {line.age:.0f} s, {carries}"
