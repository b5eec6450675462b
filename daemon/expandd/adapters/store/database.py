"""Opens the job database that a configuration names: SQLite in the state directory, or the Postgres of a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType

from expandd.adapters.credentials import find_database
from expandd.adapters.store.sql.job_store import SqlJobStore
from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sqlite import job_store as sqlite
from expandd.adapters.store.sqlite import reader
from expandd.domain.commands import Command
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.settings import Settings

STORE = "journal.sqlite"
"""The file in the state directory."""


def opened(settings: Settings) -> SqlJobStore:
    """The job database for the daemon. Raises ConfigurationError where its address or its client is missing."""
    if (url := _url(settings)) is None:
        return sqlite.SqliteJobStore(settings.state_dir / STORE)
    store: SqlJobStore = _postgres().PostgresJobStore(url)
    return store


def reading(settings: Settings) -> AbstractContextManager[Queries | None]:
    """The job database for reading alone, or None when there is none yet. Raises DatabaseAway, ConfigurationError."""
    if (url := _url(settings)) is None:
        return reader.reading(settings.state_dir / STORE)
    found: AbstractContextManager[Queries] = _postgres().reading(url)
    return found


def write_commands(settings: Settings, commands: Sequence[Command]) -> None:
    """Leave commands for the daemon, running or not, all or none. Raises DatabaseAway, ConfigurationError."""
    if (url := _url(settings)) is None:
        reader.write_commands(settings.state_dir / STORE, commands)
    else:
        _postgres().write_commands(url, commands)


def missing(settings: Settings) -> str:
    """Where the job database should be and is not; "" where it is there, or a server has it."""
    path = settings.state_dir / STORE
    return "" if settings.cluster.database_file or path.exists() else str(path)


def damage(settings: Settings) -> str:
    """What is wrong with the job database, or "". One that is busy, away or on a full disk is not broken."""
    return "" if settings.cluster.database_file else sqlite.damage(settings.state_dir / STORE)


def begin_anew(settings: Settings) -> None:
    """Put a damaged job database aside and make an empty one. Raises DatabaseAway."""
    sqlite.begin_anew(settings.state_dir / STORE)


def _url(settings: Settings) -> str | None:
    """The address of a cluster's; None where this host is alone."""
    file = settings.cluster.database_file
    return None if file is None else find_database(file, os.environ)


def _postgres() -> ModuleType:
    try:
        from expandd.adapters.store.postgres import job_store  # noqa: PLC0415 - a host that is alone needs no client
    except ImportError as error:
        problem = Problem(
            where="the configuration",
            path="cluster.database_file",
            expected="what expandd needs for several hosts",
            found=f"no {error.name}",
            hint="Install it beside expandd: pip install 'expandd[cluster]'.",
        )
        raise ConfigurationError((problem,)) from error
    return job_store
