"""Several hosts share an inbox, an account and a job database; one dies, freezes or is cut off at the worst time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.commands import Command, Verb
from expandd.domain.errors import HostFenced, OutcomeUnknown
from expandd.domain.job import Job, JobState
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Budget, ClusterSettings, Duplicates
from expandd.domain.spending import Denied, Limits
from expandd.engine.control.holds import Cause
from tests.support.fake_api import FakeApi, Fate
from tests.support.fake_cluster import FakeCluster, FakeMembership, SharedJobStore
from tests.support.fakes import MemorySpool, an_image
from tests.support.manual_clock import ManualClock
from tests.support.workshop import HOUR, Workshop

S = JobState


class FreezesBeforePaying:
    """The API as seen from a host that freezes just before it sends a paid call, until it `thaws`."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self.thaws = asyncio.Event()
        self.frozen = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._api, name)

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        self.frozen.set()
        await self.thaws.wait()
        return await self._api.generate(image_id, offsets)


Call = Callable[[], Awaitable[object]]


class Around:
    """Something of a host, whose calls of one name are made by another."""

    def __init__(self, real: object, name: str, made: Callable[[Call], Awaitable[object]]) -> None:
        self._real = real
        self._name = name
        self._made = made

    def __getattr__(self, name: str) -> object:
        real = getattr(self._real, name)
        return real if name != self._name else lambda *values: self._made(partial(real, *values))


MakeHost = Callable[[str], Workshop]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(ManualClock())


@pytest.fixture
def host(cluster: FakeCluster, ground: Path, make_workshop: Callable[..., Workshop]) -> MakeHost:
    """Makes a host of the cluster: folders and API are those of all, the spool is its own."""
    api = FakeApi(cluster.clock)

    def make(owner: str) -> Workshop:
        workshop = make_workshop(clock=cluster.clock)
        workshop.api = api
        workshop.store = SharedJobStore(cluster, owner)
        workshop.membership = FakeMembership(cluster, owner)
        spool = ground / f"spool-{owner}"
        spool.mkdir()
        workshop.spool = MemorySpool(spool)
        return workshop

    return make


def membership_of(host: Workshop) -> FakeMembership:
    assert isinstance(host.membership, FakeMembership)
    return host.membership


def is_over(cluster: FakeCluster, images: int) -> Callable[[], bool]:
    return lambda: sum(job.closed for job in cluster.rows.rows.values()) == images


async def reach(cluster: FakeCluster, host: Workshop, state: JobState) -> None:
    """Until a job of the host is in this state."""
    owner = host.membership.owner
    await host.until(lambda: any((job.owner, job.state) == (owner, state) for job in cluster.rows.rows.values()))


async def test_hosts_share_the_files_of_one_inbox_and_each_is_paid_for_once(
    cluster: FakeCluster, host: MakeHost
) -> None:
    first, second = host("a"), host("b")
    first.start()
    second.start()
    for number in range(24):
        first.drop(f"{number:02}.png")
    await first.until(is_over(cluster, 24))

    assert len(first.api.paid) == 24
    assert first.names("outbox") == [f"{number:02}.png" for number in range(24)]
    assert {job.owner for job in cluster.rows.rows.values()} == {"a", "b"}
    assert first.in_work() == []


async def test_two_hosts_never_choose_one_name_for_their_results(cluster: FakeCluster, host: MakeHost) -> None:
    first, second = host("a"), host("b")
    membership_of(first).carries = membership_of(second).carries = 1
    first.start()
    second.start()
    # One result's name, from two files of equal bytes: each could take the other's result for its own.
    content = an_image(note="the same bytes")
    first.drop("pic.png", content)
    first.drop("pic.jpg", content)
    await first.until(is_over(cluster, 2))

    assert {job.owner for job in cluster.rows.rows.values()} == {"a", "b"}
    assert len(first.names("outbox")) == 2


@pytest.mark.parametrize(
    ("state", "missing"), [(S.ACCEPTED, ""), (S.DOWNLOADED, "outbox"), (S.DELIVERED, "done")], ids=str
)
async def test_what_a_dead_host_has_begun_is_finished_by_another_for_nothing(
    cluster: FakeCluster, host: MakeHost, state: JobState, missing: str
) -> None:
    first, second = host("a"), host("b")
    first.start()
    first.drop("pic.png")
    await reach(cluster, first, S.ACCEPTED)
    if missing:
        directory: Path = getattr(first.hot[0], missing)
        directory.rename(directory.with_name("away"))
        await reach(cluster, first, state)
        directory.with_name("away").rename(directory)
    await first.crash()
    second.start()
    cluster.take_for_dead("a")
    await second.until(is_over(cluster, 1))

    assert len(first.api.paid) == 1
    assert second.names("outbox") == ["pic.png"]
    assert second.names("done") == ["pic.png"]


async def test_result_is_not_published_twice_after_its_host_died(cluster: FakeCluster, host: MakeHost) -> None:
    first, second = host("a"), host("b")
    away = first.hot[0].done.with_name("away")
    first.start()
    first.drop("pic.png")
    await reach(cluster, first, S.ACCEPTED)
    first.hot[0].done.rename(away)
    await reach(cluster, first, S.DELIVERED)
    away.rename(first.hot[0].done)
    await first.crash()
    rows = cluster.rows.rows
    for job in tuple(rows.values()):
        rows[job.id] = job.with_(state=S.DOWNLOADED, state_changes=job.state_changes[:-1])
    second.start()
    cluster.take_for_dead("a")
    await second.until(is_over(cluster, 1))

    assert len(first.api.paid) == 1
    assert second.names("outbox") == second.names("done") == ["pic.png"]


@pytest.mark.parametrize(
    "content", [an_image(), an_image(6000, 4000, note="camera")], ids=["as the API made it", "finished"]
)
async def test_a_result_that_a_frozen_host_publishes_after_it_thaws_is_the_only_one(
    cluster: FakeCluster, host: MakeHost, content: bytes
) -> None:
    first, second = host("a"), host("b")
    frozen, thaws, linked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def freeze_before(publish: Call) -> object:
        frozen.set()
        await thaws.wait()
        published = await publish()
        linked.set()
        return published

    async def thaw_before(download: Call) -> object:
        thaws.set()
        await linked.wait()
        return await download()

    first.folders = Around(first.folders, "publish", freeze_before)  # type: ignore[assignment]  # it is one
    # Its spool lacks what the first one has downloaded: it fetches it again, and chooses a name only then.
    second.api = Around(second.api, "download", thaw_before)  # type: ignore[assignment]  # it is one
    first.start()
    first.drop("pic.png", content)
    await first.until(frozen.is_set)
    cluster.take_for_dead("a")
    second.start()
    await second.until(is_over(cluster, 1))
    first.kill()

    assert first.names("outbox") == ["pic.png"]
    assert len(first.api.paid) == 1


async def frozen_before_paying(
    cluster: FakeCluster, host: MakeHost, befalls: Callable[[], None] = lambda: None
) -> tuple[Workshop, Workshop, FreezesBeforePaying]:
    """A host that froze before it sent a paid call, which another has taken over since; what befalls in between."""
    first, second = host("a"), host("b")
    api = first.api
    freezing = FreezesBeforePaying(api)
    first.api = freezing  # type: ignore[assignment]  # it is one, but for one call
    first.start()
    first.drop("pic.png")
    await first.until(freezing.frozen.is_set)
    befalls()
    cluster.take_for_dead("a")
    second.start()
    await reach(cluster, second, S.UNKNOWN)
    return first, second, freezing


async def test_call_of_a_frozen_host_is_not_paid_again_before_it_is_dead(cluster: FakeCluster, host: MakeHost) -> None:
    first, second, _ = await frozen_before_paying(cluster, host)
    first.kill()
    await second.advance(20 * second.settings.api.unknown_wait)
    assert second.api.paid == []
    [job] = cluster.rows.rows.values()
    assert "cluster bury a" in job.note

    cluster.proven_dead.add("a")
    await second.until(is_over(cluster, 1))
    assert len(second.api.paid) == 1


async def assert_paid_only_once_it_is_dead(cluster: FakeCluster, frozen: Workshop, other: Workshop) -> None:
    """The `frozen` host dies, and the other pays, but not before that is proven."""
    frozen.kill()
    await other.advance(20 * other.settings.api.unknown_wait)
    assert other.api.paid == []

    cluster.proven_dead.add("a")
    await other.until(is_over(cluster, 1))
    assert len(other.api.paid) == 1


async def test_a_restored_database_does_not_forget_that_a_frozen_host_may_still_pay(
    cluster: FakeCluster, host: MakeHost
) -> None:
    def restore() -> None:
        [(job_id, job)] = cluster.rows.rows.items()
        cluster.rows.rows[job_id] = job.with_(
            state=S.UPLOADED, sender="", payments=(), state_changes=job.state_changes[:-1]
        )

    first, second, _ = await frozen_before_paying(cluster, host, restore)
    await assert_paid_only_once_it_is_dead(cluster, first, second)


async def test_resolve_not_paid_is_refused_while_a_frozen_host_may_pay(cluster: FakeCluster, host: MakeHost) -> None:
    first, second, _ = await frozen_before_paying(cluster, host)
    [job_id] = cluster.rows.rows
    cluster.rows.requests.append(Command(verb=Verb.NOT_PAID, at=0.0, job_id=job_id, number=1))
    await assert_paid_only_once_it_is_dead(cluster, first, second)


async def test_a_host_that_others_may_take_for_dead_writes_no_record_over_theirs(
    cluster: FakeCluster, host: MakeHost
) -> None:
    first = host("a")
    first.start()
    submit = first.store.submit

    async def freeze_after(job: Job, expected: JobState, limits: Limits) -> Denied | None:
        denied = await submit(job, expected, limits)
        membership_of(first).lease_is_over = True
        return denied

    first.store.submit = freeze_after  # type: ignore[method-assign]  # of this one host
    first.drop("pic.png")
    await first.until(lambda: membership_of(first).lease_is_over)
    await first.advance(1.0)
    [job] = cluster.rows.rows.values()

    assert await first.folders.read_record(job.folder.inbox, job.id) is None
    assert first.api.paid == []


async def test_a_call_that_a_host_sends_after_it_thaws_is_the_only_one(cluster: FakeCluster, host: MakeHost) -> None:
    first, second, _ = await frozen_before_paying(cluster, host)
    await second.advance(5 * second.settings.api.unknown_wait)
    [image_id] = second.api.images
    offsets = Offsets(left=20, right=20, top=10, bottom=10)
    sent = asyncio.ensure_future(second.api.generate(image_id, offsets))
    await second.until(is_over(cluster, 1))
    await sent

    assert len(second.api.paid) == 1
    assert second.names("outbox") == ["pic.png"]
    with pytest.raises(HostFenced):
        await first.crash()


async def test_last_call_of_a_dead_host_is_waited_for(cluster: FakeCluster, host: MakeHost) -> None:
    first, second, _ = await frozen_before_paying(cluster, host)
    await second.advance(5 * second.settings.api.unknown_wait)
    [image_id] = second.api.images
    sent = asyncio.ensure_future(second.api.generate(image_id, Offsets(left=20, right=20, top=10, bottom=10)))
    cluster.proven_dead.add("a")
    await second.until(is_over(cluster, 1))
    await sent

    assert len(second.api.paid) == 1
    assert second.names("outbox") == ["pic.png"]
    with pytest.raises(HostFenced):
        await first.crash()


async def two_at_work(host: MakeHost, **settings: Any) -> tuple[Workshop, Workshop]:
    """Two hosts, each of which carries two images at once."""
    pair = host("a"), host("b")
    for one in pair:
        membership_of(one).carries = 2
        one.settings = replace(one.settings, **settings)
        one.start()
    return pair


async def test_a_budget_is_kept_by_all_hosts_together_and_shown_by_each(cluster: FakeCluster, host: MakeHost) -> None:
    first, second = await two_at_work(host, budget=Budget(day=5))
    for number in range(12):
        first.drop(f"{number:02}.png")
    await first.advance(900.0)

    assert len(first.api.paid) == 5
    for one in (first, second):
        pause = one.engine.breakers.pauses.at(None, Cause.BUDGET).shut
        assert pause is not None
        assert pause.reason is PauseReason.BUDGET_SPENT


async def test_several_images_may_ask_at_once_what_was_spent(cluster: FakeCluster, host: MakeHost) -> None:
    first = host("a")
    first.start()
    first.drop("pic.png")
    await first.until(is_over(cluster, 1))
    budgets = first.engine.budgets
    await asyncio.gather(budgets.load(), budgets.load())

    assert budgets.used(None).today == 1


async def test_all_hosts_together_have_no_more_images_generated_than_in_flight_says(
    cluster: FakeCluster, host: MakeHost
) -> None:
    first, _ = await two_at_work(host, cluster=ClusterSettings(in_flight=1))
    for number in range(4):
        first.drop(f"{number}.png")
    await first.until(is_over(cluster, 4))
    began = sorted(paid.at for paid in first.api.paid)

    assert all(later - earlier >= Fate().seconds for earlier, later in pairwise(began))


@pytest.mark.parametrize("duplicates", [Duplicates.SKIP, Duplicates.REUSE])
async def test_the_same_bytes_are_paid_for_by_one_host_alone(
    cluster: FakeCluster, host: MakeHost, duplicates: Duplicates
) -> None:
    first, second = host("a"), host("b")
    for one in (first, second):
        membership_of(one).carries = 2
        folders = tuple(replace(folder, duplicates=duplicates) for folder in one.hot)
        one.settings = replace(one.settings, folders=folders)
        # As `cluster.spool` has it.
        one.spool = first.spool
        one.start()
    content = an_image(note="the same bytes")
    for number in range(4):
        first.drop(f"{number}.png", content)
    await first.until(is_over(cluster, 4))

    assert len(first.api.paid) == 1
    assert len(first.names("outbox")) == (4 if duplicates is Duplicates.REUSE else 1)


async def test_what_is_to_be_kept_of_the_credits_is_kept_by_all_hosts_together(
    cluster: FakeCluster, host: MakeHost
) -> None:
    first, _ = await two_at_work(host, keep_credits=10)
    first.api.credits = 14
    for number in range(10):
        first.drop(f"{number}.png")
    await first.advance(1800.0)

    assert first.api.credits >= 10
    assert len(first.api.paid) >= 3


async def test_a_pause_file_stops_what_other_hosts_than_the_one_that_scans_have_taken(
    cluster: FakeCluster, host: MakeHost
) -> None:
    first, second = host("a"), host("b")
    first.start()
    await first.advance(1.0)
    membership_of(first).carries = 0
    membership_of(second).lease_is_over = True
    second.start()
    first.drop("pic.png")
    await reach(cluster, second, S.UPLOADED)
    first.drop("PAUSE", b"")
    await second.advance(10.0)
    membership_of(second).lease_is_over = False
    await second.advance(120.0)
    assert second.api.paid == []

    (first.hot[0].inbox / "PAUSE").unlink()
    await second.until(is_over(cluster, 1))
    assert len(second.api.paid) == 1


async def test_a_host_that_others_may_take_for_dead_pays_for_nothing(cluster: FakeCluster, host: MakeHost) -> None:
    first = host("a")
    membership_of(first).lease_is_over = True
    first.start()
    first.drop("pic.png")
    await reach(cluster, first, S.UPLOADED)
    await first.advance(60.0)
    assert first.api.paid == []

    membership_of(first).lease_is_over = False
    await first.until(is_over(cluster, 1))
    assert len(first.api.paid) == 1


async def test_a_lost_call_is_watched_while_an_earlier_one_of_another_host_is_unfinished(
    cluster: FakeCluster, host: MakeHost
) -> None:
    first, second = host("a"), host("b")
    first.api.fates = {"slow.png": Fate(seconds=6 * first.settings.api.unknown_wait)}
    first.start()
    first.drop("slow.png")
    await reach(cluster, first, S.ACCEPTED)
    # Nobody but the second host carries the next one.
    membership_of(first).carries = 0
    first.api.away["generate"] = OutcomeUnknown("the connection was reset")
    second.start()
    first.drop("lost.png")
    await reach(cluster, second, S.UNKNOWN)
    first.api.heal()
    await second.advance(4 * second.settings.api.unknown_wait)
    assert [job.state for job in cluster.rows.rows.values() if job.relative.name == "lost.png"] == [S.UNKNOWN]

    await second.until(is_over(cluster, 2), within=24 * HOUR)
    assert len(first.api.paid_for("lost.png")) == 1
