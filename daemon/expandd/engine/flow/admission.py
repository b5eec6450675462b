"""Admits a job to its paid call: what holds, guards, budgets and duplicates say."""

from __future__ import annotations

from expandd.domain.job import UNPAID, Job
from expandd.engine.control.holds import Barriers, Cause, StandingOrders
from expandd.engine.flow.budgets import Budgets
from expandd.engine.job.deduplicate import Twins


class Leave:
    """Asked before each step. A job without leave holds no slot."""

    def __init__(self, *, orders: StandingOrders, barriers: Barriers, budgets: Budgets, twins: Twins) -> None:
        self._orders = orders
        self._barriers = barriers
        self._budgets = budgets
        self._twins = twins

    def denied(self, job: Job) -> bool:
        """Whether the job must stay as it is for now. What is paid for, or has failed, always goes on."""
        if job.state not in UNPAID or job.fault is not None:
            return False
        return (
            self._orders.stops(job)
            or self._barriers.at(None, Cause.CREDITS).shut is not None
            or not self._budgets.within(job)
            or self._twins.waits(job)
        )
