"""The queue of jobs that wait for a host: one task per job, carried by procrastinate."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import AlreadyEnqueued, AppNotOpen, ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback

from expandd.adapters.store.postgres.connection import completed
from expandd.adapters.store.postgres.job_store import in_a_line
from expandd.adapters.store.postgres.looks import POLL, Looks
from expandd.adapters.store.postgres.pool import CONNECTIONS, OPTIONS, WAIT, pool
from expandd.domain.errors import DatabaseAway

QUEUE = "jobs"

NEVER = 86400.0
"""Seconds between two looks for tasks that are to be broken off: none ever is."""

_AWAY = (ConnectorException, AppNotOpen, psycopg.Error)
"""What it raises where the database does not answer, and while its connections are opened anew."""


class TaskQueue:
    """One host's end of it. Open while `opened`. All raise DatabaseAway.

    A task is a hint and no more: who carries a job is what its row says, and a row without a task gets one again.
    """

    def __init__(self, url: str, *, heartbeat: float) -> None:
        # What it has to say its exceptions say too, and they are told in expandd's own words.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)
        self._heartbeat = heartbeat
        self._address = completed(url)
        self._app = App(
            connector=PsycopgConnector(
                conninfo=self._address,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=WAIT,
                kwargs={"options": OPTIONS},
                pool_factory=pool,
            )
        )
        self.looks = Looks()
        self._app.job_manager = _Manager(self._app.connector, self.looks)
        self._carry: Callable[[str], Awaitable[None]] | None = None
        self._task = self._app.task(name="carry", queue=QUEUE)(self._carried)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        try:
            with _away():
                # A pool asks less and less often for a server that is away, and is not told that it is back.
                await (await psycopg.AsyncConnection.connect(self._address)).close()
                await self._app.open_async()
            yield
        finally:
            with contextlib.suppress(*_AWAY):
                await self._app.close_async()

    async def offer(self, job_ids: Sequence[str]) -> None:
        """Put these jobs into the queue; fine where they are in it."""
        with _away():
            for job_id in job_ids:
                with contextlib.suppress(AlreadyEnqueued):
                    await self._task.configure(queueing_lock=job_id).defer_async(job_id=job_id)

    async def work(self, carry: Callable[[str], Awaitable[None]], *, at_once: int) -> None:
        """Until cancelled: `carry` so many jobs at once, in turn."""
        self._carry = carry
        with _away():
            await self._app.run_worker_async(
                queues=[QUEUE],
                concurrency=at_once,
                fetch_job_polling_interval=POLL,
                abort_job_polling_interval=NEVER,
                shutdown_graceful_timeout=0,
                delete_jobs="always",
                install_signal_handlers=False,
                update_heartbeat_interval=self._heartbeat,
                stalled_worker_timeout=3 * self._heartbeat,
            )

    async def remove_stalled(self) -> None:
        """Remove the tasks of workers that have ended without a word: the rows of their jobs tell what is next."""
        with _away():
            for task in await self._app.job_manager.get_stalled_jobs(seconds_since_heartbeat=3 * self._heartbeat):
                if task.id is not None:
                    await self._app.job_manager.finish_job_by_id_async(task.id, Status.ABORTED, delete_job=True)

    async def _carried(self, job_id: str) -> None:
        if self._carry is not None:
            await self._carry(job_id)


class _Manager(JobManager):
    """Asks for a task only where there may be one."""

    def __init__(self, connector: BaseConnector, looks: Looks) -> None:
        super().__init__(connector)
        self._looks = looks

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        await super().listen_for_jobs(on_notification=self._looks.heeding(on_notification), queues=queues)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        job = None
        while job is None and self._looks.begin():
            job = await super().fetch_job(queues, worker_id)
            self._looks.looked(None if job is None else job.id)
        return job

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Say that a task is over. Others may have removed it, as one of a host that is not heard of."""
        # Nobody waits for the answer; what stays is removed once its worker is not heard of.
        with contextlib.suppress(*_AWAY):
            await super().finish_job(job, status, delete_job)


def make_tables(url: str) -> None:
    """Make the queue's tables where they are missing. Raises DatabaseAway."""
    from procrastinate import SyncPsycopgConnector  # noqa: PLC0415 - only who migrates needs it

    with _away(), App(connector=SyncPsycopgConnector(conninfo=completed(url))).open() as app:
        row = app.connector.get_sync_connector().execute_query_one("SELECT to_regclass('procrastinate_jobs') AS there")
        if row["there"] is None:
            app.schema_manager.apply_schema()


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise DatabaseAway(
            f"The queue of jobs in the cluster's database cannot be used: {in_a_line(error)}."
        ) from error
