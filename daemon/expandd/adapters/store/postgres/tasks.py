"""The queue of jobs that wait for a host: one task per job, carried by procrastinate; and when a host looks for one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import AlreadyEnqueued, AppNotOpen, ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback
from psycopg_pool import AsyncConnectionPool

from expandd.adapters.store.postgres.connection import completed
from expandd.adapters.store.postgres.job_store import in_a_line
from expandd.domain.errors import DatabaseAway

POLL = 15.0
"""Seconds between two lookups of tasks where no notice of one has come: it may be lost, and renewals tell too."""

MOST = 1000
"""Tasks that are remembered; a host that has heard of more looks in any case."""


Notify = Callable[..., Awaitable[None]]
"""What the queue calls, by `channel` and `notification`, for a notice that the server has sent."""


class TaskLookups:
    """Decides when a host asks the queue for a task: an answer without one costs the database as much as one with one.

    All hear of each new task. One of them, a different one for each, looks for it at once; the others do so when they
    have room and know of tasks, or once a renewal of their lease has shown that some still wait. Tasks go by their
    numbers.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._me = ""
        self._members: frozenset[str] = frozenset()
        self._announced: set[int] = set()
        """Those that may still wait, as far as this host knows."""
        self._asked: frozenset[int] = frozenset()
        """Those that the lookup under way must find if they wait."""
        self._gaps = 1
        """How often tasks may have come of which this host knows nothing."""
        self._gaps_asked = 0
        """How many of them the lookup under way closes if it finds none."""
        self._gaps_settled = 0
        self._looked = float("-inf")
        self._notify: Notify | None = None

    def filtered(self, notify: Notify) -> Notify:
        """`notify` for what concerns this host alone. It is what makes the queue look."""

        async def pass_on(*, channel: str, notification: Any) -> None:
            if notification["type"] != "job_inserted" or self.announce(notification["job_id"]):
                await notify(channel=channel, notification=notification)

        self._notify = notify
        return pass_on

    async def look_up(self) -> None:
        """Look for tasks of which some wait, if there is room for one more."""
        self._gaps += 1
        if self._notify is not None:
            await self._notify(channel="", notification={"type": "job_inserted", "job_id": 0})

    def meet(self, me: str, members: Collection[str]) -> None:
        """Know who else looks for tasks."""
        self._me, self._members = me, frozenset(members)

    def announce(self, task: int) -> bool:
        """Hear of a new task. Whether this host is the one that looks for it at once; one that knows no other is."""
        self._announced.add(task)
        if len(self._announced) > MOST:
            self._announced.clear()
            self._gaps += 1
        return self._me not in self._members or self._me == min(self._members, key=lambda one: _lot(task, one))

    def begin(self) -> bool:
        """Whether to look now, as that may find a task, or none was made for long."""
        self._asked = frozenset(self._announced)
        self._gaps_asked = self._gaps
        unsure = self._gaps > self._gaps_settled
        return unsure or bool(self._announced) or self._monotonic() - self._looked >= 0.9 * POLL

    def looked_up(self, found: int | None) -> None:
        """A lookup has found this task, or that none waits."""
        self._looked = self._monotonic()
        if found is None:
            # What was announced meanwhile may have come too late to be found.
            self._announced -= self._asked
            self._gaps_settled = self._gaps_asked
        else:
            self._announced.discard(found)


def _lot(task: int, member: str) -> bytes:
    return hashlib.sha256(f"{task} {member}".encode()).digest()


CONNECTIONS = 4

WAIT = 5.0
"""Seconds that a call waits for one of them."""

# A host must not wait long for what another, which froze, keeps from it.
OPTIONS = "-c statement_timeout=8s -c lock_timeout=3s -c idle_in_transaction_session_timeout=5s"


def pool(**choices: Any) -> AsyncConnectionPool:
    """One that asks nothing before each use: where a connection is dead the call fails, and all are opened anew.

    Each statement is a transaction of its own, which a host that freezes does not leave open.
    """
    return AsyncConnectionPool(**{**choices, "check": None, "configure": _commit_each})


async def _commit_each(connection: psycopg.AsyncConnection) -> None:
    await connection.set_autocommit(True)


QUEUE = "jobs"

NEVER = 86400.0
"""Seconds between two lookups of tasks that are to be broken off: none ever is."""

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
        self.lookups = TaskLookups()
        self._app.job_manager = _Manager(self._app.connector, self.lookups)
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

    def __init__(self, connector: BaseConnector, lookups: TaskLookups) -> None:
        super().__init__(connector)
        self._lookups = lookups

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        await super().listen_for_jobs(on_notification=self._lookups.filtered(on_notification), queues=queues)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        job = None
        while job is None and self._lookups.begin():
            job = await super().fetch_job(queues, worker_id)
            self._lookups.looked_up(None if job is None else job.id)
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
