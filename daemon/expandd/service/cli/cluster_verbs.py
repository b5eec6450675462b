"""The commands of several hosts that share a job database."""

# ruff: noqa: PLC0415 - `expandd --help` must not wait for a database and a validator

from __future__ import annotations

from pathlib import Path

import click

from expandd.service.cli.verbs import CONFIG, JSON, command


@click.group()
def cluster() -> None:
    """Set up and maintain several hosts on one account.

    They share folders and the job database, a Postgres that cluster.database_file of the configuration names.
    """


@command(CONFIG, group=cluster, by_owner=True)
def migrate(config: Path) -> int:
    """Make or upgrade the tables of the job database.

    Run it once for all hosts: before the first start, and with an upgrade of the first host. Hosts with the version
    before finish what they have begun, and pay for nothing until they are upgraded too.
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
    """Import the job database of a single host into the cluster's.

    FILE is its journal.sqlite, by default the one in this configuration's state_dir. It imports all jobs and payments
    or nothing, and only into an empty job database. No expandd may use FILE meanwhile. FILE is renamed afterwards.
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
    """Let a host finish its images and take no more, for maintenance.

    HOST is its cluster.name. It stays a member until it is stopped; a restart ends the draining.
    """
    from expandd.service.runtime.cluster import run_drain

    return run_drain(config, host, draining=not undo)


@command(HOST, click.option("--yes", "-y", is_flag=True, help="Do not ask."), CONFIG, group=cluster, by_owner=True)
def bury(host: str, config: Path, *, yes: bool) -> int:
    """Declare that a missing host is permanently off.

    The other hosts go on with its images at once, except for one that it was just about to pay for: a frozen host could
    still send that call. They pay for it when the host has started again, or when you bury it. Switch it off first.
    """
    from expandd.service.runtime.cluster import run_bury

    return run_bury(config, host, yes=yes)
