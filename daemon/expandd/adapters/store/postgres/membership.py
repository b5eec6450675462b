"""Keeps this host's membership: renews its lease, leads inboxes, and carries jobs without another owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol

from expandd.adapters.store.postgres.hosts import HostChanges, HostFacts, MemberJobStore, Seen
from expandd.adapters.store.postgres.tasks import TaskQueue
from expandd.domain.errors import DatabaseAway, HostFenced
from expandd.domain.job import Job


class Clock(Protocol):
    """Time, passed in, in seconds."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


RENEWALS = 5
"""Renewals within one lease."""

MARGIN = 1 / 3
"""The last share of the lease, in which nothing is paid, because sending a call takes a while."""

TOUCH = 1.5
"""Leases for which a host must have reached the database before it marks others as dead."""

HINDSIGHT = 40.0
"""Seconds that a paid call of another host may take, including its time-out and a difference of clocks."""

_REPLACED = "A standby or a backup is the job database now, and may lack what was written last: this host begins anew."

CLEANING = 10
"""Leases between two searches for tasks of ended workers, which do no harm."""

AGAIN = 1.0
"""Seconds until the queue is tried again."""


class HostMembership:
    """The membership of one host. `inboxes` are those of its configuration."""

    def __init__(
        self,
        host: HostFacts,
        *,
        store: MemberJobStore,
        queue: TaskQueue,
        clock: Clock,
        at_once: int,
        inboxes: Callable[[], Sequence[Path]],
    ) -> None:
        self._host = host
        self._store = store
        self._queue = queue
        self._clock = clock
        self._at_once = at_once
        self._inboxes = inboxes
        self._pace = host.lease / RENEWALS
        self._renewed = float("-inf")
        self._in_touch_since = float("inf")
        self._seen = Seen(
            leads=frozenset(),
            room=0,
            draining=False,
            timeline="",
            unclaimed=(),
            freed=frozenset(),
            owned=frozenset(),
            waiting=False,
            members=frozenset(),
        )
        self._strays: frozenset[str] = frozenset()
        """Jobs that this host owned at the last renewal without knowing them."""
        self._carrying: set[asyncio.Task[None]] = set()
        self._upkeep: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._upkeep.set_result(None)
        self._cleaned = float("-inf")
        self._offered = 0

    @property
    def owner(self) -> str:
        return self._host.incarnation

    @property
    def room(self) -> int | None:
        return max(0, self._seen.room - self._offered)

    @property
    def hindsight(self) -> float:
        return HINDSIGHT

    def leads(self, inbox: Path) -> bool:
        return inbox in self._seen.leads

    def may_send(self) -> bool:
        return self._clock.monotonic() - self._renewed < self._host.lease * (1 - MARGIN)

    async def is_dead(self, owner: str) -> bool:
        return await self._store.ask(lambda database: database.is_proven_dead(owner))

    async def offer(self, job: Job) -> bool:
        await self._store.ask(lambda database: database.offer(job))
        self._offered += 1
        # Where this fails, the next renewal finds that the job is in no queue.
        with contextlib.suppress(DatabaseAway):
            await self._queue.offer([job.id])
        return True

    async def run(
        self, carry: Callable[[Job], Awaitable[None]], knows: Callable[[str], bool], changed: Callable[[], None]
    ) -> None:
        """Keep the lease and carry jobs until cancelled. Raises HostFenced."""
        working = asyncio.create_task(self._work(carry))
        try:
            await self._keep_lease(carry, knows, changed)
        finally:
            working.cancel()
            for task in self._carrying:
                task.cancel()
            await asyncio.wait({working, *self._carrying})

    async def leave(self) -> None:
        """Leave the cluster: other hosts may take this host's jobs at once, if the database can be reached."""
        with contextlib.suppress(DatabaseAway):
            await self._store.ask(lambda database: database.leave_cluster(self._host.incarnation))

    async def _keep_lease(
        self, carry: Callable[[Job], Awaitable[None]], knows: Callable[[str], bool], changed: Callable[[], None]
    ) -> None:
        while True:
            began = self._clock.monotonic()
            judges = began - self._in_touch_since >= TOUCH * self._host.lease
            try:
                seen = await self._renew(judges=judges)
            except DatabaseAway:
                self._in_touch_since = float("inf")
            else:
                self._renewed = began
                self._in_touch_since = min(self._in_touch_since, began)
                before, self._seen, self._offered = self._seen, seen, 0
                if before.timeline not in {"", seen.timeline}:
                    raise HostFenced(_REPLACED)
                if (before.leads, before.room) != (seen.leads, seen.room):
                    changed()
                strays, self._strays = self._strays, frozenset(one for one in seen.owned if not knows(one))
                for job_id in strays & self._strays:
                    # The row was written, but the answer was lost.
                    self._begin(self._carry_own(job_id, carry))
                if self._upkeep.done():
                    self._upkeep = self._begin(self._keep_up_queue(before, seen, judges=judges))
            await self._clock.sleep(self._pace)

    async def _keep_up_queue(self, before: Seen, seen: Seen, *, judges: bool) -> None:
        """Queue jobs that are in no queue. This may have to wait for a frozen host, but the lease must not."""
        self._queue.lookups.meet(self._host.incarnation, seen.members)
        # A job missing in only one check may be on its way into the queue, or from there to its host.
        lost = seen.freed.union(before.unclaimed)
        # The next renewal repeats whatever fails here.
        with contextlib.suppress(DatabaseAway):
            await self._queue.offer([job_id for job_id in seen.unclaimed if job_id in lost])
            if seen.waiting:
                await self._queue.lookups.look_up()
            now = self._clock.monotonic()
            if judges and now - self._cleaned >= CLEANING * self._host.lease:
                self._cleaned = now
                await self._queue.remove_stalled()

    async def _renew(self, *, judges: bool) -> Seen:
        def work(database: HostChanges) -> Seen:
            return database.renew(self._host, self._inboxes(), judges=judges)

        return await self._store.ask(work)

    async def _work(self, carry: Callable[[Job], Awaitable[None]]) -> None:
        async def carried(job_id: str) -> None:
            # A taken job is carried, even if the queue is left meanwhile.
            await asyncio.shield(self._begin(self._take(job_id, carry)))

        while True:
            with contextlib.suppress(DatabaseAway):
                async with self._queue.opened():
                    await self._until_draining(self._queue.work(carried, at_once=self._at_once))
            await self._clock.sleep(AGAIN)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        return task

    async def _take(self, job_id: str, carry: Callable[[Job], Awaitable[None]]) -> None:
        # Where this fails, the job is in no queue, or owned without being known: a renewal finds both.
        with contextlib.suppress(DatabaseAway, HostFenced):
            job = await self._store.take(job_id)
            if job is not None:
                await carry(job)

    async def _carry_own(self, job_id: str, carry: Callable[[Job], Awaitable[None]]) -> None:
        with contextlib.suppress(DatabaseAway):
            job = await self._store.get(job_id)
            if job is not None and not job.closed and job.owner == self._host.incarnation:
                await carry(job)

    async def _until_draining(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry jobs until this host is drained, and then wait until it is not."""
        working = asyncio.create_task(work)
        try:
            while not (self._seen.draining or working.done()):
                await asyncio.wait({working}, timeout=self._pace)
            if working.done():
                working.result()
        finally:
            working.cancel()
            await asyncio.wait({working})
        while self._seen.draining:
            await self._clock.sleep(self._pace)
