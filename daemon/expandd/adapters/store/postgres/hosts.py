"""The hosts of a cluster in the job database: members, leases, led inboxes, jobs by owner; and one host's job store.

All times are the database's own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from expandd.adapters.store.postgres.job_store import PostgresChanges, PostgresJobStore, held
from expandd.adapters.store.postgres.schema import VERSION
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sql.connection import Connection, Cursor
from expandd.adapters.store.sql.rows import command_of
from expandd.domain.commands import Command
from expandd.domain.errors import DatabaseAway, HostFenced, StaleJob
from expandd.domain.hosts import HostLine
from expandd.domain.job import Job

_LIVING = "(SELECT incarnation FROM hosts WHERE dead = 0)"

_FENCED = (
    "The other hosts have heard nothing of this one for longer than its lease, and carry its images: it begins anew as "
    "a new member."
)

_OWNERLESS = f"closed = 0 AND owner NOT IN {_LIVING}"
"""Open jobs whose owner is no living host."""


RELIEVED = 200
"""Jobs taken from hosts of the version before in one renewal, as other renewals wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """One run of the daemon on one machine, as it presents itself to the others.

    `machine` names the machine and the state directory, whose lock at most one process holds. `boot` identifies the
    system's boot. `lease` is in seconds. `digest` covers the settings that must be equal on all hosts. `tables` is the
    newest version of the tables that it knows.
    """

    incarnation: str
    name: str
    machine: str
    boot: str
    version: str
    digest: str
    workers: int
    lease: float
    tables: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The facts that a host reads with each renewal: the inboxes that it leads, and how many files may be claimed.

    `unclaimed` are open jobs without an owner that are in no queue, oldest first; `freed` those that were a dead host's
    until now; `owned` are this host's jobs. `waiting` is whether jobs wait in the queue, `members` are the hosts that
    take jobs from it. `timeline` changes when a standby or a backup replaces the server: then the last commits may be
    lost.
    """

    leads: frozenset[Path]
    room: int
    draining: bool
    timeline: str
    unclaimed: tuple[str, ...]
    freed: frozenset[str]
    owned: frozenset[str]
    waiting: bool
    members: frozenset[str]


class HostChanges(PostgresChanges):
    """Changes to the job database of several hosts."""

    def execute(self, query: str, values: Sequence[object] = ()) -> Cursor:
        return self._connection.execute(query, values)

    # --- hosts ---

    def register(self, host: HostFacts) -> bool:
        """Make this host a member. False while another host of this name, or a copy of this machine, is alive.

        Earlier runs on the same machine count as proven dead from now on, because this run holds their lock.
        """
        other = self._connection.execute(
            "SELECT 1 FROM hosts WHERE dead = 0 AND lease_until > epoch_now() "
            # A host of an earlier version stored the boot as the kernel prints it.
            "AND (name = ? AND machine != ? OR machine = ? AND translate(boot, '-' || chr(10), '') != ?)",
            (host.name, host.machine, host.machine, host.boot),
        ).fetchone()
        if other is not None:
            return False
        self._connection.execute("UPDATE hosts SET dead = 1, proven = 1 WHERE machine = ?", (host.machine,))
        self._connection.execute(
            "INSERT INTO hosts (incarnation, name, machine, boot, version, digest, workers, started, lease, "
            "lease_until, tables) "
            "VALUES (:incarnation, :name, :machine, :boot, :version, :digest, :workers, epoch_now(), :lease, "
            "epoch_now() + :lease, :tables)",
            {name: getattr(host, name) for name in HostFacts.__slots__},
        )
        return True

    def leave_cluster(self, incarnation: str) -> None:
        """Mark this host as dead and proven: other hosts may take its jobs at once."""
        self._connection.execute("UPDATE hosts SET dead = 1, proven = 1 WHERE incarnation = ?", (incarnation,))

    def renew(self, host: HostFacts, inboxes: Sequence[Path], *, judges: bool) -> Seen:
        """Renew the lease; where it `judges`, mark hosts with an expired lease as dead. Raises HostFenced."""
        row = self._connection.execute(
            "UPDATE hosts SET lease_until = epoch_now() + lease, workers = ? WHERE incarnation = ? AND dead = 0 "
            # Each promotion of a standby begins a new timeline.
            "RETURNING draining, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)",
            (host.workers, host.incarnation),
        ).fetchone()
        if row is None:
            raise HostFenced(_FENCED)
        if judges:
            self._connection.execute("UPDATE hosts SET dead = 1 WHERE dead = 0 AND lease_until < epoch_now()")
            self._connection.execute(
                "DELETE FROM hosts WHERE proven = 1 AND lease_until < epoch_now() - 86400 "
                "AND incarnation NOT IN (SELECT owner FROM jobs WHERE closed = 0) "
                # An unknown job whose paid call it may have sent goes on once it is proven dead.
                # Compared as text: a file name that is not text is no valid JSON to Postgres.
                "AND NOT EXISTS (SELECT 1 FROM jobs WHERE closed = 0 AND state = 'unknown' "
                """AND strpos(facts, '"sender":"' || incarnation || '"') > 0)"""
            )
        draining = bool(row[0])
        leads = self._lead(host.incarnation, [] if draining else inboxes)
        freed = self._free_what_dead_hosts_have() | self._relieve_hosts_of_earlier_versions(host.tables)
        self._forget_carried_out()
        return Seen(
            leads=leads,
            room=self._room(),
            draining=draining,
            timeline=row[1],
            unclaimed=self._unclaimed(),
            freed=freed,
            owned=self._owned(host.incarnation),
            waiting=self._waiting(),
            members=self._members(),
        )

    def is_proven_dead(self, incarnation: str) -> bool:
        row = self._connection.execute("SELECT proven FROM hosts WHERE incarnation = ?", (incarnation,)).fetchone()
        return row is not None and bool(row[0])

    def prove_living(self, incarnation: str) -> None:
        """Raise HostFenced where others have marked this host as dead."""
        row = self._connection.execute("SELECT dead FROM hosts WHERE incarnation = ?", (incarnation,)).fetchone()
        if row is None or row[0]:
            raise HostFenced(_FENCED)

    def hosts(self) -> Sequence[HostLine]:
        """All members, and remembered former ones, the youngest last."""
        rows = self._connection.execute(
            "SELECT name, incarnation, version, digest, workers, epoch_now() - started AS age, "
            "lease_until - epoch_now() AS lease_left, dead = 1 AS dead, proven = 1 AS proven_dead, "
            "draining = 1 AS draining, (SELECT count(*) FROM inboxes WHERE owner = incarnation) AS inboxes, "
            "(SELECT count(*) FROM jobs WHERE closed = 0 AND jobs.owner = incarnation) AS jobs "
            "FROM hosts ORDER BY started"
        )
        return [HostLine(**{name: row[name] for name in HostLine.__slots__}) for row in rows]

    def drain(self, name: str, *, draining: bool) -> int:
        """Drain the living hosts of this name, or end that; returns how many can begin jobs."""
        # A host of an earlier version never begins jobs with these tables.
        known = 0 if draining else VERSION
        return self._connection.execute(
            "UPDATE hosts SET draining = ? WHERE name = ? AND dead = 0 AND tables >= ?", (int(draining), name, known)
        ).rowcount

    def bury(self, name: str) -> int:
        """Record a person's word that the dead hosts of this name never return; returns how many."""
        return self._connection.execute("UPDATE hosts SET proven = 1 WHERE name = ? AND dead = 1", (name,)).rowcount

    def _lead(self, incarnation: str, inboxes: Sequence[Path]) -> frozenset[Path]:
        """Take the lead of inboxes without a living leader, up to this host's share of all."""
        names = [os.fsencode(inbox) for inbox in inboxes]
        led = {
            bytes(row[0]): row[1]
            for row in self._connection.execute(
                f"SELECT inbox, owner FROM inboxes WHERE owner IN {_LIVING}"  # noqa: S608 - of our own words alone
            )
        }
        mine = {name for name, owner in led.items() if owner == incarnation and name in names}
        living = self._connection.execute("SELECT count(*) FROM hosts WHERE dead = 0 AND draining = 0").fetchone()[0]
        share = -(-len(names) // max(1, living))
        free = [name for name in names if name not in led]
        for name in free[: max(0, share - len(mine))]:
            self._connection.execute(
                "INSERT INTO inboxes (inbox, owner) VALUES (?, ?) "
                "ON CONFLICT (inbox) DO UPDATE SET owner = excluded.owner",
                (name, incarnation),
            )
            mine.add(name)
        for name, owner in led.items():
            if owner == incarnation and (name not in mine or len(mine) > share):
                self._connection.execute("DELETE FROM inboxes WHERE inbox = ?", (name,))
                mine.discard(name)
        return frozenset(Path(os.fsdecode(name)) for name in mine)

    # --- jobs ---

    def owned(self, incarnation: str) -> Sequence[Job]:
        return self._jobs("closed = 0 AND owner = ?", incarnation)

    def offer(self, job: Job) -> None:
        """Release the job, so that any host may take it. Raises StaleJob."""
        self._own(job, "")

    def take(self, job_id: str, incarnation: str) -> Job | None:
        """Take an open job whose owner is no living host; None where there is none."""
        self.prove_living(incarnation)
        job = next(iter(self._jobs(f"id = ? AND {_OWNERLESS}", job_id)), None)
        if job is None:
            return None
        # All hosts may have carried out commands about it while it had no owner.
        self._connection.execute("DELETE FROM carried_out WHERE owner = ?", (incarnation,))
        try:
            return self._own(job, incarnation)
        except StaleJob:
            return None

    def _own(self, job: Job, owner: str) -> Job:
        after = job.with_(owner=owner, epoch=job.epoch + 1)
        changed = self._connection.execute(
            "UPDATE jobs SET owner = :owner, epoch = :epoch, settled = :settled, facts = :facts "
            "WHERE id = :id AND owner = :before AND epoch = :known AND state = :state AND closed = 0",
            {**self._row(after), "before": job.owner, "known": job.epoch},
        ).rowcount
        if not changed:
            raise StaleJob(f"job {job.id} is not ours any more")
        return after

    def _free_what_dead_hosts_have(self) -> frozenset[str]:
        freed = []
        for job in self._jobs(f"{_OWNERLESS} AND owner != ''"):
            # Where another host was faster, it is done already.
            with contextlib.suppress(StaleJob):
                freed.append(self._own(job, "").id)
        return frozenset(freed)

    def _relieve_hosts_of_earlier_versions(self, tables: int) -> frozenset[str]:
        """Stop hosts that may not pay any more from beginning jobs, and release their unpaid jobs to others.

        Jobs that they are about to claim or pay for stay theirs: none of them pays once the tables are newer.
        """
        earlier = "(SELECT incarnation FROM hosts WHERE dead = 0 AND tables < ?)"
        self._connection.execute(
            "UPDATE hosts SET draining = 1 WHERE dead = 0 AND draining = 0 AND tables < ?", (tables,)
        )
        freed = []
        for job in self._jobs(f"closed = 0 AND state = 'uploaded' AND owner IN {earlier}", tables, most=RELIEVED):
            # Where its host was faster, the host keeps it.
            with contextlib.suppress(StaleJob):
                freed.append(self._own(job, "").id)
        return frozenset(freed)

    def _unclaimed(self) -> tuple[str, ...]:
        rows = self._connection.execute(
            "SELECT id FROM jobs WHERE closed = 0 AND owner = '' AND NOT EXISTS (SELECT 1 FROM procrastinate_jobs "
            "WHERE queueing_lock = jobs.id AND status = 'todo') ORDER BY id LIMIT 1000"
        )
        return tuple(row[0] for row in rows)

    def _waiting(self) -> bool:
        row = self._connection.execute("SELECT EXISTS (SELECT 1 FROM procrastinate_jobs WHERE status = 'todo')")
        return bool(row.fetchone()[0])

    def _members(self) -> frozenset[str]:
        rows = self._connection.execute("SELECT incarnation FROM hosts WHERE dead = 0 AND draining = 0")
        return frozenset(row[0] for row in rows)

    def _owned(self, incarnation: str) -> frozenset[str]:
        rows = self._connection.execute("SELECT id FROM jobs WHERE closed = 0 AND owner = ?", (incarnation,))
        return frozenset(row[0] for row in rows)

    def _room(self) -> int:
        """How many more files may be claimed: no more jobs may wait for a host than all hosts generate at once."""
        row = self._connection.execute(
            "SELECT (SELECT coalesce(sum(workers), 0) FROM hosts WHERE dead = 0 AND draining = 0) "
            "- (SELECT count(*) FROM jobs WHERE closed = 0 AND owner = '')"
        ).fetchone()
        return max(0, int(row[0]))

    def own_images(self, incarnation: str) -> frozenset[str]:
        """The image and task ids of the open jobs of a host."""
        jobs = self.owned(incarnation)
        return frozenset(name for job in jobs for name in (job.image_id, job.task_id) if name)

    def images_elsewhere(self, incarnation: str) -> frozenset[str]:
        """The image and task ids of all other hosts' open jobs, as far as the columns have them."""
        rows = self._connection.execute(
            """SELECT image_id, substring(facts FROM '"task_id":"([^"\\\\]*)"') FROM jobs """
            "WHERE closed = 0 AND owner NOT IN (?, '')",
            (incarnation,),
        )
        return frozenset(name for row in rows for name in (row[0], row[1]) if name)

    # --- commands of people ---

    def commands_for(self, incarnation: str) -> Sequence[Command]:
        """The commands that this host has not carried out yet, oldest first."""
        rows = self._connection.execute(
            "SELECT * FROM commands WHERE number NOT IN (SELECT number FROM carried_out WHERE owner = ?) "
            "ORDER BY number",
            (incarnation,),
        )
        return [command_of(row) for row in rows]

    def has_carried_out(self, command: Command, incarnation: str) -> None:
        self._connection.execute(
            "INSERT INTO carried_out (number, owner) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (command.number, incarnation),
        )
        self._forget_carried_out()

    def _forget_carried_out(self) -> None:
        """Delete the commands that each living host has carried out, once all open jobs have a living owner."""
        self._connection.execute(
            "DELETE FROM commands WHERE NOT EXISTS (SELECT 1 FROM hosts WHERE dead = 0 AND incarnation NOT IN "  # noqa: S608 - of our own words alone
            "(SELECT owner FROM carried_out WHERE carried_out.number = commands.number)) "
            f"AND NOT EXISTS (SELECT 1 FROM jobs WHERE {_OWNERLESS})"
        )
        self._connection.execute("DELETE FROM carried_out WHERE number NOT IN (SELECT number FROM commands)")


T = TypeVar("T")

QUIET = 0.2
"""Seconds for which the absence of commands, seen when a job was taken, counts as current."""


class MemberJobStore(PostgresJobStore):
    """The job store of one host. `incarnation` is the name under which it owns jobs."""

    def __init__(self, url: str, incarnation: str) -> None:
        super().__init__(url)
        self._incarnation = incarnation
        self._quiet_until = float("-inf")

    async def ask(self, work: Callable[[HostChanges], T]) -> T:
        """The result of `work`, run in a transaction. Raises DatabaseAway, and the errors of `work`."""

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
        """Take an open job whose owner is no living host; None where there is none. Raises HostFenced.

        The job's first step needs the commands about it: this call also notes where there are none.
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
