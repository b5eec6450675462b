"""Changes of the job database of several hosts, each of which is written to a log and sent to standbys.

Of a row that changes within its page only what lies between the first and the last changed byte is logged. So a job's
facts are two columns: what hardly ever changes stands before all columns that move, the rest behind them, newest first.
"""

from __future__ import annotations

from typing import Any

from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.rows import columns_of, text_of
from expandd.domain.errors import RowRefused
from expandd.domain.job import Job

SETTLED = frozenset({"id", "place", "relative", "source", "offsets", "prepared"})
"""The facts of a job that stay as they are once its file is uploaded."""

_NOTHING: tuple[object, ...] = ("", None, 0, [])
"""What a fact that is one of these is by default: it need not be written."""


class PostgresChanges(Changes):
    """Writes over a connection, within the transaction of its caller."""

    def add(self, job: Job) -> None:
        # No index spans those that are open and those that are over.
        if self._connection.execute("SELECT 1 FROM jobs_over WHERE id = ?", (job.id,)).fetchone():
            raise RowRefused(f"The job database does not take this change: there has been a job {job.id}.")
        super().add(job)

    def _row(self, job: Job) -> dict[str, Any]:
        columns, facts = columns_of(job)
        settled = {name: facts[name] for name in facts if name in SETTLED}
        # A job's later fields are mostly those that are known last; its state changes with each move.
        moving = {"state": facts["state"]}
        moving |= {name: facts[name] for name in reversed(facts) if name not in SETTLED and facts[name] not in _NOTHING}
        return {**columns, "settled": text_of(settled), "facts": text_of(moving)}

    def _write_payments(self, job: Job) -> None:
        # An upsert that changes nothing is logged all the same: it locks its row.
        known = self._connection.execute("SELECT number, outcome FROM payments WHERE job = ?", (job.id,))
        outcomes = {row[0]: row[1] for row in known}
        if any(outcomes.get(number) != paid.outcome.value for number, paid in enumerate(job.payments)):
            super()._write_payments(job)
