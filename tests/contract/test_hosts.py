"""What hosts write about each other in the database that they share: leases, jobs, inboxes, commands, polls."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from expandd.adapters.api.tokens import Pair
from expandd.adapters.clock import SystemClock
from expandd.adapters.store.postgres.account import FRESH, SharedAccount, SharedPair
from expandd.adapters.store.postgres.connection import PostgresConnection
from expandd.adapters.store.postgres.hosts import HostChanges, HostFacts, MemberJobStore, Seen
from expandd.adapters.store.postgres.job_store import write_commands
from expandd.adapters.store.postgres.membership import Clock, HostMembership
from expandd.adapters.store.postgres.tasks import TaskQueue
from expandd.domain.api_types import Announcement, Notification
from expandd.domain.commands import Command, Hold, HoldKind, Verb
from expandd.domain.errors import AccountAway, DatabaseAway, HostFenced, StaleJob
from expandd.domain.job import Job, JobState
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from tests.support.jobs import OFFSETS, a_job, a_job_in
from tests.support.manual_clock import ManualClock
from tests.support.postgres import Server, running, standby

T = TypeVar("T")
INBOXES = [Path("/srv/one/inbox"), Path("/srv/two/inbox")]
LEASE = 0.5


def facts(name: str, **changes: object) -> HostFacts:
    host = HostFacts(
        incarnation=f"{name}-1",
        name=name,
        machine=f"machine of {name}",
        boot="boot",
        version="1",
        digest="d",
        workers=4,
        lease=LEASE,
    )
    return replace(host, **changes)  # type: ignore[arg-type]  # keywords of any type


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
def hosts(url: str) -> Iterator[HostChanges]:
    """Each call is a transaction of its own."""
    with closing(PostgresConnection(url)) as connection:
        yield HostChanges(connection)


@pytest.fixture
def store_of(url: str) -> Iterator[Callable[[str], MemberJobStore]]:
    with ExitStack() as stack:
        yield lambda incarnation: stack.enter_context(closing(MemberJobStore(url, incarnation)))


def renewed(hosts: HostChanges, host: HostFacts, *, judges: bool = False) -> Seen:
    return hosts.renew(host, INBOXES, judges=judges)


async def test_a_host_whose_lease_is_over_is_fenced_and_its_jobs_are_anybodys(hosts: HostChanges) -> None:
    first, second = facts("a"), facts("b", lease=60.0)
    assert hosts.register(first)
    assert hosts.register(second)
    hosts.add(a_job_in(JobState.ACCEPTED).with_(owner="a-1"))
    await asyncio.sleep(1.2 * LEASE)
    assert renewed(hosts, second).unclaimed == (), "who does not judge takes nobody for dead"
    assert renewed(hosts, second, judges=True).unclaimed == ("job-1",)

    with pytest.raises(HostFenced):
        renewed(hosts, first)
    with pytest.raises(HostFenced):
        hosts.take("job-1", "a-1")
    taken = hosts.take("job-1", "b-1")
    assert taken is not None
    assert (taken.owner, taken.epoch, taken.state) == ("b-1", 2, JobState.ACCEPTED)
    assert hosts.job("job-1") == taken
    assert hosts.take("job-1", "b-1") is None, "it is carried already"
    assert not hosts.is_proven_dead("a-1"), "it may be frozen"


async def test_a_host_is_remembered_as_dead_as_long_as_a_job_waits_for_that(hosts: HostChanges) -> None:
    living = facts("b", lease=60.0)
    assert hosts.register(facts("a"))
    assert hosts.register(living)
    # No text, and so no JSON to Postgres.
    odd = Path(os.fsdecode(b"caf\xe9.png"))
    job = a_job_in(JobState.UNKNOWN).with_(owner="b-1", sender="a-1", relative=odd)
    hosts.add(job)
    hosts.execute("UPDATE hosts SET dead = 1, proven = 1, lease_until = epoch_now() - 90000 WHERE name = ?", ("a",))

    renewed(hosts, living, judges=True)
    assert hosts.is_proven_dead("a-1")

    hosts.save(job.with_(state=JobState.RENDERED, sender=""), JobState.UNKNOWN)
    renewed(hosts, living, judges=True)
    assert [line.name for line in hosts.hosts()] == ["b"]


async def test_what_a_host_that_was_taken_for_dead_writes_is_refused(
    hosts: HostChanges, store_of: Callable[[str], MemberJobStore]
) -> None:
    for name in "ab":
        assert hosts.register(facts(name, lease=LEASE if name == "a" else 60.0))
    store = store_of("a-1")
    job = a_job().with_(owner="a-1")
    await store.add(job)
    await asyncio.sleep(1.2 * LEASE)
    renewed(hosts, facts("b"), judges=True)

    with pytest.raises(StaleJob):
        await store.save(job.with_(note="from the dead"), JobState.CLAIMED)
    with pytest.raises(DatabaseAway):
        await store.add(a_job("job-2").with_(owner="a-1"))


def test_a_new_run_on_the_same_machine_proves_that_the_one_before_is_dead(hosts: HostChanges) -> None:
    assert hosts.register(facts("a", lease=60.0))
    hosts.add(a_job().with_(owner="a-1"))
    assert hosts.register(facts("a", incarnation="a-2", lease=60.0))

    assert hosts.is_proven_dead("a-1")
    assert renewed(hosts, facts("a", incarnation="a-2")).unclaimed == ("job-1",)


@pytest.mark.parametrize("other", [{"machine": "another"}, {"boot": "another"}], ids=str)
def test_second_host_of_one_name_is_refused_while_the_first_lives(hosts: HostChanges, other: dict[str, str]) -> None:
    assert hosts.register(facts("a", lease=60.0))
    assert not hosts.register(facts("a", incarnation="a-2", **other))
    assert not hosts.is_proven_dead("a-1")


def test_a_boot_that_an_earlier_version_wrote_as_the_kernel_prints_it_is_the_same(hosts: HostChanges) -> None:
    assert hosts.register(facts("a", boot="0609f8c2-11\n", lease=60.0))
    assert hosts.register(facts("a", boot="0609f8c211", incarnation="a-2"))


def test_a_dead_host_is_proven_dead_by_a_person_and_a_living_one_is_not(hosts: HostChanges) -> None:
    assert hosts.register(facts("a", lease=0.0))
    assert hosts.register(facts("b", lease=60.0))
    renewed(hosts, facts("b"), judges=True)

    assert (hosts.bury("a"), hosts.bury("b")) == (1, 0)
    assert (hosts.is_proven_dead("a-1"), hosts.is_proven_dead("b-1")) == (True, False)


def test_each_inbox_is_led_by_one_host(hosts: HostChanges) -> None:
    first, second = facts("a", lease=60.0), facts("b", lease=60.0)
    hosts.register(first)
    assert renewed(hosts, first).leads == frozenset(INBOXES)
    hosts.register(second)
    led = [renewed(hosts, host).leads for host in (first, second)]
    assert [len(inboxes) for inboxes in led] == [1, 1]
    assert led[0] | led[1] == frozenset(INBOXES)

    hosts.drain("a", draining=True)
    assert renewed(hosts, first).leads == frozenset()
    assert renewed(hosts, second).leads == frozenset(INBOXES)
    assert (hosts.drain("a", draining=False), renewed(hosts, first).draining) == (1, False)


async def test_hosts_of_an_older_version_leave_unpaid_jobs_to_others(
    hosts: HostChanges, store_of: Callable[[str], MemberJobStore]
) -> None:
    old, new = facts("old", tables=2), facts("new")
    assert hosts.register(old)
    assert renewed(hosts, old).leads == set(INBOXES)
    store = store_of("old-1")
    uploaded, accepted, claimed = (
        a_job_in(state, id=state.value, owner="old-1", relative=Path(f"{state.value}.png"))
        for state in (JobState.UPLOADED, JobState.ACCEPTED, JobState.CLAIMED)
    )
    for job in (uploaded, accepted, claimed):
        await store.add(job)
    assert hosts.register(new)
    seen = renewed(hosts, new)
    assert seen.freed == {"uploaded"}
    assert (renewed(hosts, old).leads, renewed(hosts, old).draining) == (frozenset(), True)
    assert (hosts.drain("old", draining=False), renewed(hosts, old).draining) == (0, True)
    assert renewed(hosts, new).leads == set(INBOXES)
    assert {job.id for job in hosts.owned("old-1")} == {"accepted", "claimed"}
    assert hosts.take("uploaded", "new-1") is not None
    with pytest.raises(StaleJob):
        await store.save(uploaded.with_(tries=1), JobState.UPLOADED)


def test_command_is_kept_until_each_living_host_has_carried_it_out(hosts: HostChanges, url: str) -> None:
    first, second = facts("a", lease=60.0), facts("b", lease=60.0)
    hosts.register(first)
    hosts.register(second)
    hosts.add(a_job().with_(owner="a-1"))
    hosts.offer(a_job().with_(owner="a-1"))
    write_commands(url, [Command(verb=Verb.CANCEL, at=1.0, job_id="job-1")])
    [command] = hosts.commands_for("a-1")
    hosts.has_carried_out(command, "a-1")
    assert hosts.commands_for("a-1") == []
    hosts.has_carried_out(command, "b-1")
    assert len(hosts.commands()) == 1, "the job that it is about is nobody's"

    assert hosts.take("job-1", "b-1") is not None
    assert len(hosts.commands_for("b-1")) == 1, "it is carried out once more, on this job"
    hosts.has_carried_out(command, "b-1")
    assert hosts.commands() == []


async def test_what_was_ordered_when_a_job_is_taken_is_told_before_its_first_step(
    hosts: HostChanges, url: str, store_of: Callable[[str], MemberJobStore]
) -> None:
    assert hosts.register(facts("a", lease=60.0))
    for name in ("job-1", "job-2", "job-3"):
        hosts.add(a_job(name))
    store = store_of("a-1")
    await store.holds()
    assert await store.take("job-1") is not None
    assert (await store.commands(), await store.holds_changed()) == ((), False)

    write_commands(url, [Command(verb=Verb.CANCEL, at=1.0, job_id="job-2")])
    assert await store.take("job-2") is not None
    [command] = await store.commands()
    await store.carried_out(command)
    hosts.set_hold(Hold(kind=HoldKind.PAUSED, at=1.0))
    assert await store.take("job-3") is not None
    assert await store.holds_changed()


async def test_job_is_carried_though_the_answer_to_its_take_over_was_lost(
    hosts: HostChanges, url: str, store_of: Callable[[str], MemberJobStore]
) -> None:
    host = facts("a", lease=1.0)
    assert hosts.register(host)
    hosts.add(a_job().with_(owner="a-1"))
    queue = TaskQueue(url, heartbeat=1.0)
    membership = HostMembership(
        host, store=store_of("a-1"), queue=queue, clock=SystemClock(), at_once=2, inboxes=lambda: INBOXES
    )
    known: set[str] = set()
    carried = asyncio.Event()

    async def carry(job: Job) -> None:
        known.add(job.id)
        carried.set()

    running = asyncio.create_task(membership.run(carry, known.__contains__, lambda: None))
    async with asyncio.timeout(20.0):
        await carried.wait()
    running.cancel()
    await asyncio.wait({running})
    assert known == {"job-1"}


async def test_job_offered_while_the_queue_reopens_waits_for_the_next_renewal(url: str) -> None:
    queue = TaskQueue(url, heartbeat=1.0)
    with pytest.raises(DatabaseAway):
        await queue.offer(["job-1"])


async def test_a_task_that_others_have_removed_meanwhile_is_no_bug(hosts: HostChanges, url: str) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    queue, carried = TaskQueue(url, heartbeat=1.0), asyncio.Queue[str]()

    async def carry(job_id: str) -> None:
        hosts.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock = ?", (job_id,))
        carried.put_nowait(job_id)

    async with queue.opened(), asyncio.timeout(20.0):
        working = asyncio.create_task(queue.work(carry, at_once=1))
        for job_id in ("job-1", "job-2"):
            # The second is begun once the first is over.
            await queue.offer([job_id])
            assert await carried.get() == job_id
        working.cancel()
        await asyncio.wait({working})
    gc.collect()
    assert told == []


async def test_tasks_announced_to_another_host_are_taken_once_they_wait(url: str) -> None:
    queue, carried = TaskQueue(url, heartbeat=1.0), asyncio.Queue[str]()
    names = {f"job-{number}" for number in range(20)}

    async def carry(job_id: str) -> None:
        carried.put_nowait(job_id)

    async with queue.opened(), asyncio.timeout(20.0):
        # The other one is dead, or has no room.
        queue.lookups.meet("b-1", {"a-1", "b-1"})
        working = asyncio.create_task(queue.work(carry, at_once=4))
        await queue.offer(sorted(names))
        await queue.lookups.look_up()
        assert {await carried.get() for _ in names} == names
        working.cancel()
        await asyncio.wait({working})


async def test_renewal_queues_the_jobs_of_a_dead_host(
    hosts: HostChanges, url: str, store_of: Callable[[str], MemberJobStore]
) -> None:
    living = facts("b", lease=1.0)
    for host in (facts("a"), living):
        assert hosts.register(host)
    hosts.add(a_job("dead").with_(owner="a-1"))
    hosts.add(a_job("offered"))
    hosts.leave_cluster("a-1")
    seen = hosts.renew(living, [], judges=True)

    assert seen.freed == {"dead"}
    assert seen.unclaimed == ("dead", "offered")
    assert seen.members == {"b-1"}
    assert not seen.waiting
    queue = TaskQueue(url, heartbeat=1.0)
    async with queue.opened():
        await queue.offer(["dead"])
    again = hosts.renew(living, [], judges=True)
    assert again.waiting
    assert (again.freed, again.unclaimed) == (frozenset(), ("offered",))

    membership = HostMembership(
        living,
        store=store_of("b-1"),
        queue=TaskQueue(url, heartbeat=1.0),
        clock=SystemClock(),
        at_once=2,
        inboxes=list,
    )
    carried = asyncio.Queue[str]()

    async def carry(job: Job) -> None:
        carried.put_nowait(job.id)

    running = asyncio.create_task(membership.run(carry, lambda _: True, lambda: None))
    async with asyncio.timeout(20.0):
        assert {await carried.get(), await carried.get()} == {"dead", "offered"}
    running.cancel()
    await asyncio.wait({running})


class Polled:
    """An API that takes everything until it is `spent`; its answer to each poll."""

    def __init__(self, answer: Sequence[Notification] = ()) -> None:
        self._answer = answer
        self.polls = 0
        self.spent = False
        self.taken: list[str] = []

    async def upload(self, source: Path, name: str) -> None:
        del source
        self.taken.append(name)

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        del offsets
        if self.spent:
            raise AccountAway(PauseReason.NO_CREDITS, "none left", 60.0)
        self.taken.append(image_id)
        return "task"

    async def notifications(self, image_id: str) -> Sequence[Notification]:
        del image_id
        self.polls += 1
        return self._answer


def account_of(store: MemberJobStore, incarnation: str, api: Polled, clock: Clock) -> SharedAccount:
    return SharedAccount(api, store=store, incarnation=incarnation, clock=clock, interval=lambda: 1.0)  # type: ignore[arg-type]  # as far as it is called


async def test_common_pause_is_checked_before_each_paid_call(
    store_of: Callable[[str], MemberJobStore],
) -> None:
    api, clock = Polled(), ManualClock()
    first, second = (account_of(store_of(f"{name}-1"), f"{name}-1", api, clock) for name in "ab")
    await second.upload(Path("pic.png"), "one")
    api.spent = True
    with pytest.raises(AccountAway):
        await first.generate("image", OFFSETS)
    await second.upload(Path("pic.png"), "two")
    api.spent = False
    with pytest.raises(AccountAway, match="none left"):
        await second.generate("image", OFFSETS)
    await clock.advance(FRESH)
    with pytest.raises(AccountAway, match="none left"):
        await second.upload(Path("pic.png"), "three")

    assert api.taken == ["one", "two"]


async def test_one_poll_tells_each_host_what_concerns_its_own_images(
    hosts: HostChanges, store_of: Callable[[str], MemberJobStore]
) -> None:
    for name in "ab":
        hosts.register(facts(name, lease=60.0))
        hosts.add(a_job_in(JobState.ACCEPTED, f"of-{name}", image_id=name, task_id=f"task-{name}", owner=f"{name}-1"))
    named = [("a", ""), ("", "task-a"), ("b", ""), ("", "task-b"), ("another program's", ""), ("", "")]
    api = Polled(
        [
            Notification(id=number, kind=Announcement.RESULT, image_id=image, task_id=task)
            for number, (image, task) in enumerate(named)
        ]
    )
    accounts = [account_of(store_of(f"{name}-1"), f"{name}-1", api, SystemClock()) for name in "ab"]
    # Both have asked before either may.
    hosts.execute("UPDATE shared SET poll_ended = epoch_now()")
    async with asyncio.timeout(20.0):
        answers = await asyncio.gather(*(account.notifications() for account in accounts))
    told = [{item.id for item in answer} for answer in answers]

    assert api.polls == 1
    assert [numbers - {4} for numbers in told] == [{0, 1, 5}, {2, 3, 5}]
    assert sum(4 in numbers for numbers in told) == 1, "whoever has polled sees to what may be of a job that is over"


async def test_a_queue_whose_database_is_away_at_its_start_says_so_at_once(tmp_path: Path) -> None:
    queue = TaskQueue(f"postgresql://postgres@/jobs?host={tmp_path}", heartbeat=1.0)
    async with asyncio.timeout(20.0):
        with pytest.raises(DatabaseAway, match="not open"):
            await queue.offer(["job-1"])
        with pytest.raises(DatabaseAway, match="No such file"):
            async with queue.opened():
                pass


async def test_a_queue_finds_the_server_that_takes_writes_among_those_of_its_address(
    postgres: Server, url: str
) -> None:
    with standby(postgres) as follower:
        queue = TaskQueue(postgres.reached(url, follower), heartbeat=1.0)
        async with queue.opened():
            await queue.offer(["job-1"])


async def test_a_host_begins_anew_where_a_standby_has_taken_over() -> None:
    host = facts("a", lease=1.0)
    with running() as primary, standby(primary) as follower:
        url = primary.reached(primary.database(), follower)
        with closing(MemberJobStore(url, "a-1")) as store:
            assert await store.ask(lambda database: database.register(host))
            queue, clock = TaskQueue(url, heartbeat=1.0), SystemClock()
            member = HostMembership(host, store=store, queue=queue, clock=clock, at_once=2, inboxes=lambda: INBOXES)
            renewed = asyncio.Event()
            working = asyncio.create_task(member.run(_carry_nothing, lambda _: True, renewed.set))
            async with asyncio.timeout(20.0):
                await renewed.wait()
                await asyncio.to_thread(primary.stop)
                await asyncio.to_thread(follower.promote)
                with pytest.raises(HostFenced, match="standby"):
                    await working


async def test_the_token_pair_is_locked_for_all_hosts_and_a_dead_ones_lock_is_free(
    hosts: HostChanges, store_of: Callable[[str], MemberJobStore]
) -> None:
    for name in "ab":
        hosts.register(facts(name, lease=60.0))
    first, second = (SharedPair(store_of(f"{name}-1"), f"{name}-1", SystemClock()) for name in "ab")
    pair = Pair(access_token="x", refresh_token="y", fingerprint="z", obtained=1.0)
    async with first.locked():
        waiting = asyncio.create_task(second.locked().__aenter__())
        await first.store(pair)
        assert not (await asyncio.wait({waiting}, timeout=0.5))[0]
        hosts.leave_cluster("a-1")
        async with asyncio.timeout(20.0):
            await waiting
    assert await second.load() == pair


async def test_a_host_that_froze_as_it_queued_a_job_keeps_no_other_from_its_lease(
    hosts: HostChanges, url: str, store_of: Callable[[str], MemberJobStore]
) -> None:
    host = facts("a", lease=1.0)
    assert hosts.register(host)
    hosts.add(a_job())
    with psycopg.connect(url) as frozen:
        frozen.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock) VALUES ('jobs', 'carry', 'job-1')"
        )
        membership = HostMembership(
            host,
            store=store_of("a-1"),
            queue=TaskQueue(url, heartbeat=1.0),
            clock=SystemClock(),
            at_once=2,
            inboxes=lambda: INBOXES,
        )
        running = asyncio.create_task(membership.run(_carry_nothing, lambda _: True, lambda: None))
        done, _ = await asyncio.wait({running}, timeout=2.5)
        assert not done
        assert membership.may_send()
        running.cancel()
        await asyncio.wait({running})


async def _carry_nothing(job: Job) -> None:
    del job
