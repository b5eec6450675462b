"""The job database of several hosts, as one of them sees it: the open jobs are its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from expandd.adapters.store.postgres.hosts import HostChanges
from expandd.adapters.store.postgres.job_store import PostgresJobStore
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.connection import Connection
from expandd.domain.commands import Command
from expandd.domain.errors import DatabaseAway, HostFenced
from expandd.domain.job import Job

T = TypeVar("T")


class MemberJobStore(PostgresJobStore):
    """One host's. `incarnation` is the name under which it owns jobs."""

    def __init__(self, url: str, incarnation: str) -> None:
        super().__init__(url)
        self._incarnation = incarnation

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

    async def open_jobs(self) -> Sequence[Job]:
        return await self.ask(lambda database: database.owned(self._incarnation))

    async def commands(self) -> Sequence[Command]:
        return await self.ask(lambda database: database.commands_for(self._incarnation))

    async def carried_out(self, command: Command) -> None:
        await self.ask(lambda database: database.has_carried_out(command, self._incarnation))
