"""The job database of several hosts, as one of them sees it: the open jobs are its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from expandd.adapters.store.postgres.hosts import HostChanges
from expandd.adapters.store.postgres.job_store import PostgresJobStore, held
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.connection import Connection
from expandd.domain.commands import Command
from expandd.domain.errors import DatabaseAway, HostFenced
from expandd.domain.job import Job

T = TypeVar("T")

QUIET = 0.2
"""Seconds for which it is believed that nothing was ordered, where that was seen when a job was taken."""


class MemberJobStore(PostgresJobStore):
    """One host's. `incarnation` is the name under which it owns jobs."""

    def __init__(self, url: str, incarnation: str) -> None:
        super().__init__(url)
        self._incarnation = incarnation
        self._quiet_until = float("-inf")

    async def ask(self, work: Callable[[HostChanges], T]) -> T:
        """What `work` comes to, in a transaction. Raises DatabaseAway, and what `work` raises."""

        def done(database: Changes) -> T:
            assert isinstance(database, HostChanges), "as `_changes` says"
            return work(database)

        return await self._do(done)

    def _changes(self, connection: Connection) -> Changes:
        return HostChanges(connection)

    async def add(self, job: Job) -> None:
        def work(database: HostChanges) -> None:
            database.prove_living(self._incarnation)
            database.add(job)

        try:
            await self.ask(work)
        except HostFenced as error:
            raise DatabaseAway(str(error)) from error

    async def take(self, job_id: str) -> Job | None:
        """Make an open job that no living host carries this host's; None where there is none. Raises HostFenced.

        Before its first step it is asked what people have ordered: where that is nothing it is known from here.
        """
        looked, known = time.monotonic(), self._known

        def work(database: HostChanges) -> tuple[Job | None, bool]:
            job = database.take(job_id, self._incarnation)
            return job, not database.commands_for(self._incarnation) and held(database.holds()) == known

        job, quiet = await self.ask(work)
        self._quiet_until = looked + QUIET if quiet else float("-inf")
        return job

    async def open_jobs(self) -> Sequence[Job]:
        return await self.ask(lambda database: database.owned(self._incarnation))

    async def commands(self) -> Sequence[Command]:
        if time.monotonic() < self._quiet_until:
            return ()
        return await self.ask(lambda database: database.commands_for(self._incarnation))

    async def holds_changed(self) -> bool:
        return time.monotonic() >= self._quiet_until and await super().holds_changed()

    async def carried_out(self, command: Command) -> None:
        await self.ask(lambda database: database.has_carried_out(command, self._incarnation))
