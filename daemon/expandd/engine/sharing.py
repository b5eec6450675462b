"""Carries the jobs that become this host's while it works: other hosts claimed their files or gave them up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from expandd.domain.errors import DatabaseAway
from expandd.domain.job import Job
from expandd.engine.control.command_handler import CommandHandler
from expandd.engine.flow.poller import Waker
from expandd.engine.inbox.watch import PausesElsewhere
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Membership
from expandd.engine.recovery import Recovery


class Sharing:
    """`changed` is called when this host begins or ends to pick up an inbox's files, or may claim more of them."""

    def __init__(
        self,
        *,
        membership: Membership,
        jobs: Jobs,
        recovery: Recovery,
        command_handler: CommandHandler,
        waker: Waker,
        pauses: PausesElsewhere,
        changed: Callable[[], None],
    ) -> None:
        self._membership = membership
        self._jobs = jobs
        self._recovery = recovery
        self._command_handler = command_handler
        self._waker = waker
        self._pauses = pauses
        self._changed = changed

    async def run(self) -> None:
        """Until cancelled; at once where this host is alone. Raises HostFenced."""
        await self._membership.run(self._carry, lambda job_id: self._jobs.get(job_id) is not None, self._changed)

    async def look_for_pauses(self) -> None:
        """Until cancelled; at once where this host is alone."""
        if self._membership.room is not None:
            await self._pauses.run()

    async def _carry(self, job: Job) -> None:
        """Carry a job that is this host's from now on, and return when there is room for another one."""
        self._recovery.take_over(job)
        if not self._membership.leads(job.folder.inbox):
            await self._pauses.check(job.folder.inbox)
        # Before its first step: the commands given since it was claimed.
        with contextlib.suppress(DatabaseAway):
            await self._command_handler.act()
        self._waker.wake(job.id)
        await self._jobs.result_seen(job.id)
