"""Queues jobs that wait for a host, one task of procrastinate per job, and decides when a host looks for one."""

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
"""Seconds between two lookups of tasks without a notice, which may be lost; renewals find them too."""

MOST = 1000
"""Tasks that are remembered; a host with more always looks."""


Notify = Callable[..., Awaitable[None]]
"""The queue's callback for a notice of the server, with `channel` and `notification`."""


class TaskLookups:
    """Decides when a host asks the queue for a task, as an empty answer costs the database as much as a task.

    All hosts get a notice of each new task. One of them, a different one for each task, looks at once; the others look
    when they have room and know of tasks, or once a renewal of their lease has shown that tasks still wait. Tasks are
    identified by their numbers.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._me = ""
        self._members: frozenset[str] = frozenset()
        self._announced: set[int] = set()
        """The known tasks that may still wait."""
        self._asked: frozenset[int] = frozenset()
        """The tasks that the running lookup must find if they wait."""
        self._gaps = 1
        """How often unknown tasks may have arrived."""
        self._gaps_asked = 0
        """How many of these arrivals the running lookup settles if it finds none."""
        self._gaps_settled = 0
        self._looked = float("-inf")
        self._notify: Notify | None = None

    def filtered(self, notify: Notify) -> Notify:
        """`notify`, restricted to the notices of this host. It makes the queue look."""

        async def pass_on(*, channel: str, notification: Any) -> None:
            if notification["type"] != "job_inserted" or self.announce(notification["job_id"]):
                await notify(channel=channel, notification=notification)

        self._notify = notify
        return pass_on

    async def look_up(self) -> None:
        """Look for waiting tasks, if there is room for one more."""
        self._gaps += 1
        if self._notify is not None:
            await self._notify(channel="", notification={"type": "job_inserted", "job_id": 0})

    def meet(self, me: str, members: Collection[str]) -> None:
        """Set the hosts that look for tasks."""
        self._me, self._members = me, frozenset(members)

    def announce(self, task: int) -> bool:
        """Note a new task. Returns whether this host looks for it at once; without other hosts it does."""
        self._announced.add(task)
        if len(self._announced) > MOST:
            self._announced.clear()
            self._gaps += 1
        return self._me not in self._members or self._me == min(self._members, key=lambda one: _lot(task, one))

    def begin(self) -> bool:
        """Whether to look now, because a task may wait, or the last lookup was long ago."""
        self._asked = frozenset(self._announced)
        self._gaps_asked = self._gaps
        unsure = self._gaps > self._gaps_settled
        return unsure or bool(self._announced) or self._monotonic() - self._looked >= 0.9 * POLL

    def looked_up(self, found: int | None) -> None:
        """Note that a lookup has found this task, or that none waits."""
        self._looked = self._monotonic()
        if found is None:
            # Tasks announced meanwhile may have come too late to be found.
            self._announced -= self._asked
            self._gaps_settled = self._gaps_asked
        else:
            self._announced.discard(found)


def _lot(task: int, member: str) -> bytes:
    return hashlib.sha256(f"{task} {member}".encode()).digest()


CONNECTIONS = 4

WAIT = 5.0
"""Seconds that a call waits for a connection."""

# A host must not wait long for the locks of a frozen one.
OPTIONS = "-c statement_timeout=8s -c lock_timeout=3s -c idle_in_transaction_session_timeout=5s"


def pool(**choices: Any) -> AsyncConnectionPool:
    """A pool that does not test connections before use: on a dead one the call fails, and all are reopened.

    Each statement is a transaction of its own, so that a frozen host leaves none open.
    """
    return AsyncConnectionPool(**{**choices, "check": None, "configure": _commit_each})


async def _commit_each(connection: psycopg.AsyncConnection) -> None:
    await connection.set_autocommit(True)


QUEUE = "jobs"

NEVER = 86400.0
"""Seconds between two searches for tasks to abort; none ever is aborted."""

_AWAY = (ConnectorException, AppNotOpen, psycopg.Error)
"""The errors of the pool where the database does not answer, and while its connections are reopened."""


class TaskQueue:
    """One host's access to the queue, open while `opened`. All methods raise DatabaseAway.

    A task is only a hint: the job's row names its owner, and a row without a task gets a new one.
    """

    def __init__(self, url: str, *, heartbeat: float) -> None:
        # Its log repeats its exceptions, which expandd reports itself.
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
                # A pool tries an absent server less and less often, and does not notice its return.
                await (await psycopg.AsyncConnection.connect(self._address)).close()
                await self._app.open_async()
            yield
        finally:
            with contextlib.suppress(*_AWAY):
                await self._app.close_async()

    async def offer(self, job_ids: Sequence[str]) -> None:
        """Put these jobs into the queue unless they are in it."""
        with _away():
            for job_id in job_ids:
                with contextlib.suppress(AlreadyEnqueued):
                    await self._task.configure(queueing_lock=job_id).defer_async(job_id=job_id)

    async def work(self, carry: Callable[[str], Awaitable[None]], *, at_once: int) -> None:
        """Carry jobs from the queue until cancelled, `at_once` at a time."""
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
        """Remove the tasks of crashed workers: the rows of their jobs decide what is next."""
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
        """Finish a task. Others may have removed it, as that of a silent host."""
        # Nothing waits for the answer; a remaining task is removed once its worker is silent.
        with contextlib.suppress(*_AWAY):
            await super().finish_job(job, status, delete_job)


def make_tables(url: str) -> None:
    """Make the queue's tables where they are missing. Raises DatabaseAway."""
    from procrastinate import SyncPsycopgConnector  # noqa: PLC0415 - only migrations need it

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
