"""All queries of the job database, for the daemon's writer and for reports."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.store.sql.connection import Statements, Value
from expandd.adapters.store.sql.rows import called, command_of, from_row, hold_of, maybe_bytes
from expandd.domain.commands import Command, Hold
from expandd.domain.job import Job, JobState
from expandd.domain.offsets import Offsets
from expandd.domain.settings import Duplicates
from expandd.domain.spending import Cap, Spent, Today

PAYING = "closed = 0 AND state IN ('submitting', 'accepted', 'unknown', 'rendered', 'downloaded', 'delivered')"
"""Open jobs that are paid for, or may be; the same condition as in their index."""

ALL = 2**62
"""A limit beyond any number of rows."""


@dataclass(frozen=True, slots=True)
class Count:
    """The number of jobs of one inbox in one state."""

    inbox: bytes
    state: JobState
    closed: bool
    jobs: int
    held: bool = False


COUNTS = ("paid", "delivered", "failed", "unknown", "saved")
"""The counts in a line of the ledger, in images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """The outcomes of one folder's images on one day (YYYY-MM-DD, local time)."""

    inbox: Path
    day: str
    paid: int
    delivered: int
    failed: int
    unknown: int
    saved: int
    """Images not paid for again because the same bytes and offsets were already paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names that a person may use for a file: ids of the job or the image, absolute paths, last parts of a path."""

    ids: frozenset[str] = frozenset()
    paths: frozenset[Path] = frozenset()
    tails: frozenset[Path] = frozenset()


HOUR_FORMAT = "%Y-%m-%d %H"
"""The format of an hour, in local time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """The images done and the images failed in one hour."""

    begins: str
    done: int
    failed: int


class Queries:
    """Reads over a connection. Raises DatabaseAway for a damaged job, and the errors of the database."""

    def __init__(self, connection: Statements) -> None:
        self._connection = connection

    # --- jobs ---

    def job(self, job_id: str) -> Job | None:
        """The job with this id, open or over."""
        return self._first("id = ?", job_id)

    def by_image_id(self, image_id: str) -> Job | None:
        """The youngest job, open or over, with this image id of the API."""
        # The second condition is the index's: without it SQLite reads the whole table. The same holds for others below.
        return self._first("image_id = ? AND image_id != ''", image_id)

    def accepted_elsewhere(self, job: Job) -> float | None:
        """When the API accepted another owner's oldest unfinished job that was paid for before this one."""
        row = self._connection.execute(
            "SELECT min(changed) FROM jobs WHERE closed = 0 AND held = 0 AND state = 'accepted' AND owner != ? "
            "AND (SELECT max(at) FROM counted_payments WHERE job = jobs.id) <= ?",
            (job.owner, job.spent_at or 0.0),
        ).fetchone()
        taken: float | None = row[0]
        return taken

    def open_jobs(self, most: int = ALL) -> Sequence[Job]:
        """The oldest open jobs."""
        return self._jobs("closed = 0", most=most)

    def unknown(self) -> Sequence[Job]:
        """The open jobs for which it is unknown whether they were paid."""
        return self._jobs("closed = 0 AND state = 'unknown'")

    def held(self, most: int) -> Sequence[Job]:
        """The oldest open jobs that need a person."""
        return self._jobs("closed = 0 AND held = 1", most=most)

    def done(self, most: int) -> Sequence[Job]:
        """The jobs that were done last, youngest first."""
        return self._jobs("closed = 1 AND state = 'done'", order="changed DESC, id DESC", most=most)

    def failed(self, most: int) -> Sequence[Job]:
        """The youngest jobs whose file went to the error folder."""
        return self._jobs("closed = 1 AND state = 'failed'", order="id DESC", most=most)

    def over(self, state: JobState, name: str, skip: int, most: int) -> Sequence[Job]:
        """The jobs that ended in this state, and were not skipped as duplicates, the youngest first.

        `name` is a part of their paths below the inbox, or of the results' names, in any case; "" is all of them.
        """
        # Each uses its own index: results by the time when they were done, errors by the time when they were dropped.
        done = state is JobState.DONE
        where = "closed = 1 AND state = 'done' AND target IS NOT NULL" if done else "closed = 1 AND state = 'failed'"
        values: tuple[str, ...] = ()
        if name:
            where += " AND called LIKE ? ESCAPE '!'"
            values = (f"%{_literally(called(os.fsencode(name)))}%",)
        return self._jobs(where, *values, order="changed DESC, id DESC" if done else "id DESC", most=most, skip=skip)

    def dismissed(self) -> Sequence[tuple[Path, Path]]:
        """Inbox and path of each dismissed error whose path has no younger error."""
        rows = self._connection.execute(
            # Uses the index of errors: the plus keeps SQLite from reading all finished jobs.
            "SELECT inbox, resting FROM ("
            "SELECT inbox, resting, dismissed, row_number() OVER (PARTITION BY resting ORDER BY id DESC) AS age "
            "FROM jobs WHERE state = 'failed' AND +closed = 1 AND resting IS NOT NULL) AS errors "
            "WHERE age = 1 AND dismissed = 1"
        )
        return [(Path(os.fsdecode(row[0])), Path(os.fsdecode(row[1]))) for row in rows]

    def done_in(self, inbox: Path | None) -> Sequence[Job]:
        """All done jobs of one inbox, or of all, with an archived original, oldest first."""
        return self._jobs(
            "closed = 1 AND state = 'done' AND resting IS NOT NULL AND inbox = coalesce(?, inbox)", maybe_bytes(inbox)
        )

    def failed_in(self, inbox: Path | None) -> Sequence[Job]:
        """All failed jobs of one inbox, or of all, oldest first."""
        return self._jobs("closed = 1 AND state = 'failed' AND inbox = coalesce(?, inbox)", maybe_bytes(inbox))

    def differing(self, most: int) -> Sequence[Job]:
        """The youngest jobs whose result differs in px from the size that the offsets promise."""
        return self._jobs("differs = 1", order="id DESC", most=most)

    def paid_before(self, sha256: str, offsets: Offsets, besides: str = "") -> Job | None:
        """The youngest done job with a result for these bytes and offsets, except the job `besides`."""
        return self._first(
            "state = 'done' AND sha256 = ? AND id != ? AND differs IS NOT NULL "
            'AND "top" = ? AND "bottom" = ? AND "left" = ? AND "right" = ?',
            *(sha256, besides, offsets.top, offsets.bottom, offsets.left, offsets.right),
        )

    def paid_here(self, job: Job) -> Job | None:
        """The youngest other done job of the same inbox with a result of its own for the same bytes."""
        return self._first(
            "state = 'done' AND sha256 = ? AND id != ? AND inbox = ? AND reused_from = '' AND differs IS NOT NULL",
            *(job.source.sha256, job.id, maybe_bytes(job.folder.inbox)),
        )

    def paid_now(self, job: Job) -> Job | None:
        """The oldest other open job whose result, which is or may be paid for, this one can share.

        A folder that pays for each duplicate shares no result.
        """
        if not job.source.sha256:
            return None
        found = self._jobs(
            f"{PAYING} AND sha256 = ? AND id != ? AND held = 0 AND reused_from = '' "
            'AND "top" = ? AND "bottom" = ? AND "left" = ? AND "right" = ?',
            *(job.source.sha256, job.id, job.offsets.top, job.offsets.bottom, job.offsets.left, job.offsets.right),
        )
        return next((other for other in found if other.folder.duplicates is not Duplicates.EXPAND), None)

    def named(self, names: Names, most: int) -> Sequence[Job]:
        """The youngest jobs that have or had one of these names. Reads the whole job database."""
        ids, paths, tails = list(names.ids), list(map(os.fsencode, names.paths)), list(map(os.fsencode, names.tails))
        ways = [
            f"id IN ({_marks(ids)})",
            f"(image_id != '' AND image_id IN ({_marks(ids)}))",
            f"target IN ({_marks(paths)})",
            f"resting IN ({_marks(paths)})",
            f"path IN ({_marks(paths)})",
            f"relative IN ({_marks(tails)})",
        ]
        values: list[str | bytes | int] = [*ids, *ids, *paths, *paths, *paths, *tails]
        for tail in tails:
            ways += [f"substr({name}, length({name}) - ?) = ?" for name in ("relative", "target", "resting")]
            values += [len(tail), b"/" + tail] * 3
        return self._jobs(" OR ".join(ways), *values, order="id DESC", most=most)

    def _first(self, where: str, *values: str | bytes | int | None) -> Job | None:
        return next(iter(self._jobs(where, *values, order="id DESC", most=1)), None)

    def _jobs(
        self, where: str, *values: str | bytes | int | None, order: str = "id", most: int = ALL, skip: int = 0
    ) -> Sequence[Job]:
        query = f"SELECT id, facts, payments FROM whole_jobs WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608 - of words in this module
        return [from_row(row) for row in self._connection.execute(query, (*values, most, skip))]

    # --- counts ---

    def counts(self, since: float) -> Sequence[Count]:
        """Jobs by inbox and state: all open ones, and those that were closed after `since` (epoch seconds)."""
        rows = self._connection.execute(
            # Two halves, so that each uses its own index.
            "SELECT inbox, state, closed, held, count(*) FROM jobs WHERE closed = 0 "
            "GROUP BY inbox, state, closed, held "
            "UNION ALL SELECT inbox, state, closed, 0, count(*) FROM jobs WHERE closed = 1 AND changed >= ? "
            "GROUP BY inbox, state, closed",
            (since,),
        )
        return [Count(row[0], JobState(row[1]), bool(row[2]), row[4], held=bool(row[3])) for row in rows]

    def in_flight(self, most: int = ALL) -> int:
        """How many images of all hosts are being generated, counted up to `most`."""
        return self._count(f"jobs WHERE {PAYING} AND state IN ('submitting', 'accepted', 'unknown') AND held = 0", most)

    def is_reached(self, cap: Cap) -> bool:
        """Whether as many images are paid for as the cap allows."""
        where, inbox = ("", ()) if cap.inbox is None else ("AND inbox = ?", (os.fsencode(cap.inbox),))
        row = self._connection.execute(
            f"SELECT coalesce(sum(paid), 0) FROM ledger WHERE day >= ? {where}",  # noqa: S608 - of words in this module
            (cap.day, *inbox),
        ).fetchone()
        left: int = cap.most - row[0]
        return left <= 0 or self._count(f"counted_payments WHERE at >= ? {where}", left, cap.since, *inbox) >= left

    def _count(self, what: str, most: int, *values: Value) -> int:
        query = f"SELECT count(*) FROM (SELECT 1 FROM {what} LIMIT ?) AS found"  # noqa: S608 - of words in this module
        found: int = self._connection.execute(query, (*values, most)).fetchone()[0]
        return found

    def spent(self, today: Today) -> Sequence[Spent]:
        """The number of paid images since the month began, by inbox and day."""
        rows = self._connection.execute(
            "SELECT inbox, day, count(*) FROM counted_payments "
            # Grouped by day first: by inbox, SQLite would read all payments ever made.
            "WHERE at >= ? GROUP BY day, inbox "
            "UNION ALL SELECT inbox, day, paid FROM ledger WHERE day >= ? AND paid > 0",
            (today.month_began, f"{today.month}-01"),
        )
        return [Spent(Path(os.fsdecode(row[0])), row[1], row[2]) for row in rows]

    def duplicates(self, since: float) -> Counter[Path]:
        """By inbox, the duplicates since `since` (epoch seconds) that their folder paid for again."""
        rows = self._connection.execute(
            "SELECT inbox, count(*) FROM jobs WHERE duplicate_of != '' AND changed >= ? GROUP BY inbox", (since,)
        )
        return Counter({Path(os.fsdecode(row[0])): row[1] for row in rows})

    def ledger(self, since: str, until: str = "9999") -> Sequence[LedgerLine]:
        """The lines of the ledger from one day to another (YYYY-MM-DD, both counted), by folder and day."""
        rows = self._connection.execute(
            f"SELECT inbox, day, {', '.join(f'sum({count}) AS {count}' for count in COUNTS)} FROM ledger_lines "  # noqa: S608 - of our own words alone
            "WHERE day BETWEEN ? AND ? GROUP BY inbox, day ORDER BY inbox, day",
            (since, until),
        )
        return [
            LedgerLine(inbox=Path(os.fsdecode(row["inbox"])), day=row["day"], **{count: row[count] for count in COUNTS})
            for row in rows
        ]

    def hours(self, since: float) -> Sequence[Hour]:
        """The hours since `since` (epoch seconds) in which jobs ended, in order."""
        rows = self._connection.execute(
            "SELECT hour, count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed') "
            "FROM hours WHERE changed >= ? GROUP BY hour ORDER BY hour",
            (since,),
        )
        return [Hour(begins=row[0], done=row[1], failed=row[2]) for row in rows]

    # --- commands of people ---

    def commands(self) -> Sequence[Command]:
        """The commands that are not carried out yet, oldest first."""
        return [
            command_of(row)
            for row in self._connection.execute(
                "SELECT number, verb, at, job, inbox, relative FROM commands ORDER BY number"
            )
        ]

    def holds(self) -> Sequence[Hold]:
        """The holds of people and of the burst guard, oldest first."""
        return [
            hold_of(row)
            for row in self._connection.execute("SELECT kind, at, inbox, relative, sha256 FROM holds ORDER BY at")
        ]


def _literally(part: str) -> str:
    """A part of a name for LIKE, with its wildcards escaped."""
    return "".join(f"!{letter}" if letter in "!%_" else letter for letter in part)


def _marks(values: Sequence[object]) -> str:
    # Not all databases accept an empty list.
    return ", ".join("?" * len(values)) or "NULL"
