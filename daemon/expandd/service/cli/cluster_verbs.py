"""The commands of several hosts that share a job database."""

# ruff: noqa: PLC0415 - `expandd --help` must not wait for a database and a validator

from __future__ import annotations

from pathlib import Path

import click

from expandd.service.cli.verbs import CONFIG, JSON, command


@click.group()
def cluster() -> None:
    """Set up and look after several hosts on one account.

    They share folders and the job database: the Postgres that cluster.database_file of the configuration names.
    """


@command(CONFIG, group=cluster, by_owner=True)
def migrate(config: Path) -> int:
    """Make the tables of the job database, or bring them up to date.

    Once for all hosts: before the first start, and after an upgrade of one of them. Hosts with the version before go on
    with what they have begun, and pay for nothing until they are upgraded too.
    """
    from expandd.service.runtime.cluster import run_migrate

    return run_migrate(config)


@command(
    click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False)),
    CONFIG,
    group=cluster,
    name="import",
    by_owner=True,
)
def import_(file: Path | None, config: Path) -> int:
    """Take over the job database that a host had while it was alone.

    FILE is its journal.sqlite; without it that of this configuration's state_dir. All of it or nothing, with what is
    paid for, and only into a job database that is empty. No expandd may run with it. FILE is renamed afterwards.
    """
    from expandd.service.runtime.cluster import run_import

    return run_import(config, file)


HOST = click.argument("host")


@command(CONFIG, JSON, group=cluster, by_owner=True)
def status(config: Path, *, as_json: bool) -> int:
    """Show the hosts, what each works on, and which are missing."""
    from expandd.service.runtime.cluster import run_status

    return run_status(config, as_json=as_json)


@command(
    HOST, click.option("--undo", is_flag=True, help="Let it take images again."), CONFIG, group=cluster, by_owner=True
)
def drain(host: str, config: Path, *, undo: bool) -> int:
    """Let a host end what it carries and take nothing more, as before maintenance.

    HOST is its cluster.name. It stays a member until it is stopped; a restart ends the draining.
    """
    from expandd.service.runtime.cluster import run_drain

    return run_drain(config, host, draining=not undo)


@command(HOST, click.option("--yes", "-y", is_flag=True, help="Do not ask."), CONFIG, group=cluster, by_owner=True)
def bury(host: str, config: Path, *, yes: bool) -> int:
    """Say that a missing host is off for good.

    The other hosts go on with its images at once, but for one that it was just about to pay for: a frozen host could
    still send that call. They pay for it when the host has started again, or when you bury it. Switch it off first.
    """
    from expandd.service.runtime.cluster import run_bury

    return run_bury(config, host, yes=yes)
