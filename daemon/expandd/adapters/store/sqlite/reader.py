"""Access to the job database beside the daemon: reads it, and leaves commands for the daemon."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.store.sqlite.commands import holds, write_command
from expandd.adapters.store.sqlite.job_store import open_store
from expandd.adapters.store.sqlite.rows import from_row, paid_before, spent
from expandd.adapters.store.sqlite.schema import VERSION, version
from expandd.domain.commands import Command, Hold
from expandd.domain.errors import DatabaseAway
from expandd.domain.job import Job, JobState
from expandd.domain.offsets import Offsets
from expandd.domain.spending import Spent, Today


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs of one inbox are in one state."""

    inbox: bytes
    state: JobState
    closed: bool
    jobs: int
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """What became of one folder's images on one day (YYYY-MM-DD, local time)."""

    inbox: Path
    day: str
    paid: int
    delivered: int
    failed: int
    unknown: int
    saved: int
    """Images that were not paid for again because their bytes and offsets were already paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a person may call a file: ids of the job or the image, absolute paths, last parts of a path."""

    ids: frozenset[str] = frozenset()
    paths: frozenset[Path] = frozenset()
    tails: frozenset[Path] = frozenset()


HOUR_FORMAT = "%Y-%m-%d %H"
"""How an hour is named, in local time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """How many images were done, and how many went to the error folder, in one hour."""

    begins: str
    done: int
    failed: int


class JobReader:
    """A read-only view. Raises DatabaseAway when there is a job database that cannot be read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def counts(self, since: float) -> Sequence[Count]:
        """Jobs by inbox and state: all open ones, and those that were closed after `since` (epoch seconds)."""
        rows = self._connection.execute(
            # Two halves, so that each finds its jobs by its own index.
            "SELECT inbox, state, closed, held, count(*) FROM jobs WHERE closed = 0 GROUP BY inbox, state, held "
            "UNION ALL SELECT inbox, state, closed, 0, count(*) FROM jobs WHERE closed = 1 AND changed >= ? "
            "GROUP BY inbox, state",
            (since,),
        )
        return [Count(row[0], JobState(row[1]), bool(row[2]), row[4], held=bool(row[3])) for row in rows]

    def open_jobs(self, most: int) -> Sequence[Job]:
        """The oldest open jobs."""
        return self._jobs("SELECT * FROM whole_jobs WHERE closed = 0 ORDER BY id LIMIT ?", most)

    def unknown(self) -> Sequence[Job]:
        """The open jobs of which nobody can tell whether they were paid for."""
        return self._jobs("SELECT * FROM whole_jobs WHERE closed = 0 AND state = 'unknown' ORDER BY id LIMIT ?", -1)

    def held(self, most: int) -> Sequence[Job]:
        """The oldest open jobs that need a person."""
        return self._jobs("SELECT * FROM whole_jobs WHERE closed = 0 AND held = 1 ORDER BY id LIMIT ?", most)

    def done(self, most: int) -> Sequence[Job]:
        """The jobs that were done last, youngest first."""
        return self._jobs(
            "SELECT * FROM whole_jobs WHERE closed = 1 AND state = 'done' ORDER BY changed DESC LIMIT ?", most
        )

    def done_in(self, inbox: Path | None) -> Sequence[Job]:
        """All jobs of one inbox, or of all, that are done and whose original was kept, oldest first."""
        query = (
            "SELECT * FROM whole_jobs WHERE closed = 1 AND state = 'done' AND resting IS NOT NULL "
            "AND inbox = coalesce(?, inbox) ORDER BY id"
        )
        folder = None if inbox is None else os.fsencode(inbox)
        return [from_row(row) for row in self._connection.execute(query, (folder,))]

    def named(self, names: Names, most: int) -> Sequence[Job]:
        """The youngest jobs that have or had one of these names. Reads the whole job database."""
        ids, paths, tails = list(names.ids), list(map(os.fsencode, names.paths)), list(map(os.fsencode, names.tails))
        ways = [
            f"id IN ({_marks(ids)})",
            f"(image_id != '' AND image_id IN ({_marks(ids)}))",
            f"target IN ({_marks(paths)})",
            f"resting IN ({_marks(paths)})",
            # Joined, they are text to SQLite until they are said to be bytes.
            f"CAST(inbox || x'2F' || relative AS BLOB) IN ({_marks(paths)})",
            f"relative IN ({_marks(tails)})",
        ]
        values: list[str | bytes | int] = [*ids, *ids, *paths, *paths, *paths, *tails]
        for tail in tails:
            ways += [f"substr({column}, ?) = ?" for column in ("relative", "target", "resting")]
            values += [-len(tail) - 1, b"/" + tail] * 3
        query = f"SELECT * FROM whole_jobs WHERE {' OR '.join(ways)} ORDER BY id DESC LIMIT ?"  # noqa: S608 - marks alone
        return [from_row(row) for row in self._connection.execute(query, (*values, most))]

    def paid_before(self, sha256: str, offsets: Offsets) -> Job | None:
        """The youngest job that is done with these bytes and offsets, and whose result is known."""
        return paid_before(self._connection, sha256, offsets)

    def spent(self, today: Today) -> Sequence[Spent]:
        """What was paid for since the month began, by folder and day."""
        return spent(self._connection, today)

    def duplicates(self, since: float) -> Counter[Path]:
        """How many jobs that changed since then (epoch seconds) were paid for though their folder had paid before."""
        rows = self._connection.execute(
            "SELECT inbox, count(*) FROM jobs WHERE duplicate_of != '' AND changed >= ? GROUP BY inbox", (since,)
        )
        return Counter({Path(os.fsdecode(row[0])): row[1] for row in rows})

    def holds(self) -> Sequence[Hold]:
        """What people, or a burst guard, ordered to go on holding."""
        return holds(self._connection)

    def ledger(self, since: str, until: str = "9999") -> Sequence[LedgerLine]:
        """The lines of the ledger from one day to another (YYYY-MM-DD, both counted), by folder and day."""
        rows = self._connection.execute(
            "SELECT inbox, day, sum(paid), sum(delivered), sum(failed), sum(unknown), sum(saved) FROM ledger_lines "
            "WHERE day BETWEEN ? AND ? GROUP BY inbox, day ORDER BY inbox, day",
            (since, until),
        )
        return [
            LedgerLine(
                inbox=Path(os.fsdecode(row[0])),
                day=row[1],
                paid=row[2],
                delivered=row[3],
                failed=row[4],
                unknown=row[5],
                saved=row[6],
            )
            for row in rows
        ]

    def hours(self, since: float) -> Sequence[Hour]:
        """The hours since `since` (epoch seconds) in which jobs ended, in order."""
        rows = self._connection.execute(
            "SELECT strftime(?, changed, 'unixepoch', 'localtime') AS hour, sum(state = 'done'), sum(state = 'failed') "
            "FROM jobs WHERE closed = 1 AND changed >= ? GROUP BY hour ORDER BY hour",
            (HOUR_FORMAT, since),
        )
        return [Hour(begins=row[0], done=row[1], failed=row[2]) for row in rows]

    def job(self, job_id: str) -> Job | None:
        """The job of that id, open or over."""
        found = [from_row(row) for row in self._connection.execute("SELECT * FROM whole_jobs WHERE id = ?", (job_id,))]
        return found[0] if found else None

    def failed(self, most: int) -> Sequence[Job]:
        """The youngest jobs whose file went to the error folder."""
        return self._jobs(
            "SELECT * FROM whole_jobs WHERE state = 'failed' AND closed = 1 ORDER BY id DESC LIMIT ?", most
        )

    def differing(self, most: int) -> Sequence[Job]:
        """The youngest results whose size in px is not what the offsets promise."""
        return self._jobs(
            "SELECT * FROM whole_jobs WHERE differs = 1 ORDER BY id DESC LIMIT ?",
            most,
        )

    def _jobs(self, query: str, most: int) -> list[Job]:
        return [from_row(row) for row in self._connection.execute(query, (most,))]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


@contextmanager
def reading(path: Path) -> Iterator[JobReader | None]:
    """The job database at `path` for reading, or None when there is none yet."""
    if not path.exists():
        yield None
        return
    try:
        connection = sqlite3.connect(path, timeout=5.0)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA query_only = ON")
            found = version(connection)
            _prove_version(path, found)
            yield JobReader(connection) if found else None
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseAway(f"The job database {path} cannot be read: {error}.") from error


def _prove_version(path: Path, found: int) -> None:
    """Read only what is of this version: a reader changes nothing."""
    if found > VERSION:
        raise DatabaseAway(f"The job database {path} was written by a newer expandd. Use that version to read it.")
    # 0 is one that the daemon is just making.
    if 0 < found < VERSION:
        raise DatabaseAway(
            f"The job database {path} was written by an older expandd and is brought up to date when this one starts: "
            "`systemctl restart expandd`, then ask again."
        )


def write_commands(path: Path, commands: Sequence[Command]) -> None:
    """Leave commands for the daemon, running or not, all or none. Raises DatabaseAway."""
    if not path.exists():
        # One that is made here would hide from the next start that the old one is gone.
        raise DatabaseAway(f"The job database {path} is not there. Has expandd run with it, and is its disk mounted?")
    try:
        connection = open_store(path)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for command in commands:
                write_command(connection, command)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise DatabaseAway(f"The job database {path} cannot be written: {error}.") from error
