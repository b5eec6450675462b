"""All statements that change the job database."""

from __future__ import annotations

import os
from typing import Any

from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sql.rows import command_row, hold_row, to_row
from expandd.domain.commands import Command, Hold
from expandd.domain.errors import DatabaseAway, StaleJob
from expandd.domain.job import Job, JobState
from expandd.domain.spending import Denied, Limits

_KEPT = frozenset({"id", "owner", "epoch"})
"""Columns that a save never changes, as writing them again would cost a write in each index."""


class Changes(Queries):
    """Writes over a connection, within the transaction of its caller. Raises the errors of the database."""

    def add(self, job: Job) -> None:
        """Insert a new job. Raises RowRefused for a value that could not be read back."""
        self._insert("jobs", self._row(job))
        self._write_payments(job)

    def save(self, job: Job, expected: JobState) -> None:
        """Replace the row of a job. Raises RowRefused, and StaleJob where its state, owner or epoch has changed."""
        row = self._row(job)
        changes = ", ".join(f'"{name}" = :{name}' for name in row if name not in _KEPT)
        # A caller with an outdated state, or that is not the owner any more, changes nothing.
        guard = "id = :id AND state = :expected AND owner = :owner AND epoch = :epoch"
        query = f"UPDATE jobs SET {changes} WHERE {guard}"  # noqa: S608 - of our own names of columns alone
        if self._connection.execute(query, {**row, "expected": expected.value}).rowcount == 0:
            raise StaleJob(f"job {job.id} is not in state {expected.value} any more, or not ours")
        self._write_payments(job)

    def _row(self, job: Job) -> dict[str, Any]:
        """The row of a job, by column name. Raises RowRefused."""
        return to_row(job)

    def submit(self, job: Job, expected: JobState, limits: Limits) -> Denied | None:
        """Save a job that has moved to `submitting`, or return the reason against it and write nothing.

        Raises the errors of `save`, and DatabaseAway where this version must not pay.
        """
        if not self._connection.lock_spending():
            raise DatabaseAway(
                "A newer expandd has brought the job database up to date. This one delivers what it has begun, and "
                "pays for nothing more: install the newer one here, too."
            )
        denied = self._against(job, limits)
        if denied is None:
            self.save(job, expected)
        return denied

    def _against(self, job: Job, limits: Limits) -> Denied | None:
        if limits.unique and (duplicate := self.paid_now(job)):
            return Denied(duplicate=duplicate.id)
        reached = next((cap for cap in limits.caps if self.is_reached(cap)), None)
        if reached is not None:
            return Denied(cap=reached)
        if limits.in_flight is not None and self.in_flight(limits.in_flight) >= limits.in_flight:
            return Denied(in_flight=True)
        return None

    def _write_payments(self, job: Job) -> None:
        """Insert new payments and update the outcome of old ones. None is deleted."""
        if not job.payments:
            return
        inbox = os.fsencode(job.folder.inbox)
        self._connection.executemany(
            "INSERT INTO payments (job, number, inbox, at, outcome) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (job, number) DO UPDATE SET outcome = excluded.outcome "
            "WHERE payments.outcome != excluded.outcome",
            [(job.id, number, inbox, paid.at, paid.outcome.value) for number, paid in enumerate(job.payments)],
        )

    def prune(self, before: float) -> int:
        """Delete the jobs that ended before this time, with their counts moved to the ledger; returns how many."""
        # No other transaction may count payments, or prune the same jobs, in between.
        self._connection.lock_spending()
        self._connection.execute(
            "INSERT INTO ledger SELECT inbox, day, sum(paid), sum(delivered), sum(failed), sum(unknown), sum(saved) "
            "FROM job_lines JOIN jobs USING (id, inbox) WHERE jobs.closed = 1 AND jobs.changed < ? GROUP BY inbox, day "
            "ON CONFLICT (inbox, day) DO UPDATE SET paid = ledger.paid + excluded.paid, "
            "delivered = ledger.delivered + excluded.delivered, failed = ledger.failed + excluded.failed, "
            "unknown = ledger.unknown + excluded.unknown, saved = ledger.saved + excluded.saved",
            (before,),
        )
        self._connection.execute(
            "DELETE FROM payments WHERE job IN (SELECT id FROM jobs WHERE closed = 1 AND changed < ?)", (before,)
        )
        return self._connection.execute("DELETE FROM jobs WHERE closed = 1 AND changed < ?", (before,)).rowcount

    def prove(self) -> None:
        """Prove that the database accepts writes, with a row that is deleted at once."""
        # A row of no inbox and no day: other hosts that do the same wait for its end.
        self._connection.execute("INSERT INTO ledger VALUES (?, '', 0, 0, 0, 0, 0)", (b"",))
        self._connection.execute("DELETE FROM ledger WHERE inbox = ? AND day = ''", (b"",))

    def add_command(self, command: Command) -> None:
        """Insert a command for the daemon."""
        self._insert("commands", command_row(command))

    def forget(self, command: Command) -> None:
        self._connection.execute("DELETE FROM commands WHERE number = ?", (command.number,))

    def set_hold(self, hold: Hold) -> None:
        """Insert a hold; an existing one of this kind and subject gets the new time."""
        self.lift_hold(hold)
        self._insert("holds", hold_row(hold))

    def lift_hold(self, hold: Hold) -> None:
        self._connection.execute(
            "DELETE FROM holds WHERE kind = :kind AND inbox = :inbox AND relative = :relative AND sha256 = :sha256",
            hold_row(hold),
        )

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        # "left" and "right" are keywords of SQL.
        names, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
        query = f"INSERT INTO {table} ({names}) VALUES ({values})"  # noqa: S608 - of our own names alone
        self._connection.execute(query, row)
