"""Opens the configured job database: SQLite in the state directory, or the Postgres of a cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from expandd.adapters.credentials import find_database
from expandd.adapters.store.sql.job_store import SqlJobStore
from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sqlite import job_store as sqlite
from expandd.domain.commands import Command
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.hosts import HostLine
from expandd.domain.settings import Settings

if TYPE_CHECKING:
    from expandd.adapters.store.postgres.administration import Server

STORE = "journal.sqlite"
"""The file in the state directory."""


def opened(settings: Settings) -> SqlJobStore:
    """The job database of a single host."""
    return sqlite.SqliteJobStore(settings.state_dir / STORE)


def reading(settings: Settings) -> AbstractContextManager[Queries | None]:
    """The job database for reading only, or None when there is none yet. Raises DatabaseAway, ConfigurationError."""
    if (url := address(settings)) is None:
        return sqlite.reading(settings.state_dir / STORE)
    found: AbstractContextManager[Queries] = postgres().reading(url)
    return found


def write_commands(settings: Settings, commands: Sequence[Command]) -> None:
    """Store commands for the daemon, running or not, all or none. Raises DatabaseAway, ConfigurationError."""
    if (url := address(settings)) is None:
        sqlite.write_commands(settings.state_dir / STORE, commands)
    else:
        postgres().write_commands(url, commands)


def missing(settings: Settings) -> str:
    """The path of a missing job database; "" where it exists, or is on a server."""
    path = settings.state_dir / STORE
    return "" if settings.cluster.database_file or path.exists() else str(path)


def damage(settings: Settings) -> str:
    """The damage of the job database, or "". A busy or absent database, or one on a full disk, is not damaged."""
    return "" if settings.cluster.database_file else sqlite.damage(settings.state_dir / STORE)


def begin_anew(settings: Settings) -> None:
    """Rename a damaged job database and make an empty one. Raises DatabaseAway."""
    sqlite.begin_anew(settings.state_dir / STORE)


def server(settings: Settings) -> Server | None:
    """The state of the job database's server; None for a single host. Raises DatabaseAway, ConfigurationError."""
    if (url := address(settings)) is None:
        return None
    found: Server = postgres("administration").inspect_server(url)
    return found


def bring_up_to_date(settings: Settings) -> tuple[int, int]:
    """Migrate the tables of a cluster to this program's version; the versions before and after. Raises DatabaseAway."""
    before, after = postgres("administration").bring_up_to_date(_shared(settings))
    return before, after


def import_file(settings: Settings, path: Path) -> dict[str, int]:
    """Import the job database of one host; the rows of each table. Raises DatabaseAway."""
    counts: dict[str, int] = postgres("administration").import_file(_shared(settings), path)
    return counts


def hosts(settings: Settings) -> Sequence[HostLine]:
    """The known facts of all hosts of the cluster. Raises DatabaseAway, ConfigurationError."""
    found: Sequence[HostLine] = postgres("administration").hosts(_shared(settings))
    return found


def drain(settings: Settings, name: str, *, draining: bool) -> int:
    """Drain a host, or end that; returns how many runs. Raises DatabaseAway, ConfigurationError."""
    number: int = postgres("administration").drain(_shared(settings), name, draining=draining)
    return number


def bury(settings: Settings, name: str) -> int:
    """Declare a host permanently dead; returns how many runs of it. Raises DatabaseAway, ConfigurationError."""
    number: int = postgres("administration").bury(_shared(settings), name)
    return number


def _shared(settings: Settings) -> str:
    if (url := address(settings)) is None:
        raise _missing("a file with the address of a Postgres", "null", "Without one this host is alone.")
    return url


def address(settings: Settings) -> str | None:
    """The address of a cluster's database; None for a single host. Raises ConfigurationError."""
    file = settings.cluster.database_file
    return None if file is None else find_database(file, os.environ)


def postgres(module: str = "job_store") -> ModuleType:
    """A module of the Postgres adapter, imported late: a single host needs no client. Raises ConfigurationError."""
    try:
        return import_module(f"expandd.adapters.store.postgres.{module}")
    except ImportError as error:
        hint = "Install it beside expandd: pip install 'expandd[cluster]', or what requirements-cluster.txt names."
        raise _missing("what expandd needs for several hosts", f"no {error.name}", hint) from error


def _missing(expected: str, found: str, hint: str) -> ConfigurationError:
    where = ("the configuration", "cluster.database_file")
    return ConfigurationError((Problem(where=where[0], path=where[1], expected=expected, found=found, hint=hint),))
