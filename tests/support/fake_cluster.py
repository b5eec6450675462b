"""A cluster in memory: engines that share one job database and one inbox, each with a membership of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from expandd.domain.errors import HostFenced, StaleJob
from expandd.domain.job import Job
from expandd.domain.spending import Spent, Today
from tests.support.fakes import MemoryJobStore
from tests.support.manual_clock import ManualClock

TICK = 0.5
"""Seconds between two looks of a member for what has become its own."""

CARRIES = 4


@dataclass
class FakeCluster:
    """What hosts know of each other. A test says who dies, and who is proven to be dead."""

    clock: ManualClock
    rows: MemoryJobStore = field(default_factory=MemoryJobStore)
    queue: deque[str] = field(default_factory=deque)
    living: set[str] = field(default_factory=set)
    proven_dead: set[str] = field(default_factory=set)
    leader: str = ""

    def take_for_dead(self, owner: str) -> None:
        """The others have heard nothing of it for longer than its lease: its open jobs are anybody's."""
        self.living.discard(owner)
        if self.leader == owner:
            self.leader = ""
        for job in self.rows.rows.values():
            if job.owner == owner and not job.closed:
                self.free(job)

    def free(self, job: Job) -> None:
        self.rows.rows[job.id] = job.with_(owner="", epoch=job.epoch + 1)
        self.queue.append(job.id)


class SharedJobStore(MemoryJobStore):
    """The rows of all hosts, as one of them sees them: the open jobs are its own."""

    def __init__(self, cluster: FakeCluster, owner: str) -> None:
        super().__init__()
        self._owner = owner
        self.rows = cluster.rows.rows
        self.requests, self.standing = cluster.rows.requests, cluster.rows.standing

    async def open_jobs(self) -> Sequence[Job]:
        return [job for job in await super().open_jobs() if job.owner == self._owner]

    async def spent(self, today: Today) -> Sequence[Spent]:
        known = await super().spent(today)
        # A database takes a while, in which others ask it, too.
        await asyncio.sleep(0)
        return known


class FakeMembership:
    """One host of a fake cluster, which carries so many jobs at once."""

    def __init__(self, cluster: FakeCluster, owner: str) -> None:
        self._cluster = cluster
        self.owner = owner
        self.carries = CARRIES
        self._carried: set[asyncio.Task[None]] = set()
        self.lease_is_over = False
        cluster.living.add(owner)

    @property
    def room(self) -> int | None:
        return max(0, CARRIES * len(self._cluster.living) - len(self._cluster.queue))

    hindsight = 40.0

    def leads(self, inbox: Path) -> bool:
        del inbox
        return self._cluster.leader == self.owner

    def may_send(self) -> bool:
        return not self.lease_is_over

    async def is_dead(self, owner: str) -> bool:
        return owner in self._cluster.proven_dead

    async def offer(self, job: Job) -> bool:
        row = self._cluster.rows.rows[job.id]
        if (row.owner, row.epoch) != (job.owner, job.epoch):
            raise StaleJob(job.id)
        self._cluster.free(row)
        return True

    async def run(
        self, carry: Callable[[Job], Awaitable[None]], knows: Callable[[str], bool], changed: Callable[[], None]
    ) -> None:
        del knows
        try:
            while True:
                self._look(carry, changed)
                await self._cluster.clock.sleep(TICK)
        finally:
            for task in self._carried:
                task.cancel()

    def _look(self, carry: Callable[[Job], Awaitable[None]], changed: Callable[[], None]) -> None:
        cluster = self._cluster
        if self.owner not in cluster.living:
            raise HostFenced(self.owner)
        if not cluster.leader:
            cluster.leader = self.owner
            changed()
        self._carried = {task for task in self._carried if not task.done()}
        while cluster.queue and len(self._carried) < self.carries:
            job = cluster.rows.rows[cluster.queue.popleft()]
            mine = cluster.rows.rows[job.id] = job.with_(owner=self.owner, epoch=job.epoch + 1)
            self._carried.add(asyncio.ensure_future(carry(mine)))
            changed()
