"""Admits a job to its paid call: what holds, guards, budgets and duplicates say."""

from __future__ import annotations

from expandd.domain.job import UNPAID, Job
from expandd.engine.control.holds import Cause, Holds, Pauses
from expandd.engine.flow.budgets import Budgets
from expandd.engine.job.deduplicate import Deduplicator


class Admission:
    """Says whether a job may go on towards its paid call. A job that is not admitted holds no slot."""

    def __init__(self, *, commands: Holds, pauses: Pauses, budgets: Budgets, deduplicator: Deduplicator) -> None:
        self._commands = commands
        self._pauses = pauses
        self._budgets = budgets
        self._deduplicator = deduplicator

    def denied(self, job: Job) -> bool:
        """Whether the job must stay as it is for now. What is paid for, or has failed, always goes on."""
        if job.state not in UNPAID or job.fault is not None:
            return False
        return (
            self._commands.stops(job)
            or self._pauses.at(None, Cause.CREDITS).shut is not None
            or not self._budgets.within(job)
            or self._deduplicator.waits(job)
        )
