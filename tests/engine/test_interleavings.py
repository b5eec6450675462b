"""Searches all that two hosts with one job can come to: freezes, deaths, lost answers, take-overs, a restored database.

Moves are made by the real `moved`, records believed by the real `believing`, unknown jobs resolved by the real
`Reconciler`; the order within the step that pays, the lease and the guard of the job database are told here as coded.
Assumed: what has left a host arrives within `unknown_wait` or never; an upload of yesterday is refused; no host freezes
between a look at its lease and the record that it writes next; people bury only what is gone, and say only what is so.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterator
from enum import Enum, IntEnum
from functools import cache
from typing import Any, NamedTuple

import pytest

from expandd.domain.job import Job, JobState, believing, host_of, moved, owner_name, tells_more
from expandd.domain.settings import ApiSettings
from expandd.domain.spending import Outcome, Payment
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.error_matching import ErrorMatching
from expandd.engine.job.reconcile import RESULT_LIFE, Reconciler
from expandd.engine.jobs import Jobs
from expandd.engine.single_host import SingleHost
from tests.support.fake_api import FakeApi, Image
from tests.support.fakes import FixedRandomness, MemoryJobStore
from tests.support.jobs import OFFSETS, a_job, a_job_in
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder

S = JobState
OVER = {S.DONE, S.FAILED, S.RETURNED}
UNKNOWN_WAIT = ApiSettings().unknown_wait

MISHAPS = 3 if os.environ.get("EXPANDD_STORM") else 2
"""Freezes, deaths, lost calls, lost answers and restored databases on one way, at most."""


class Rule(Enum):
    """What keeps two hosts from paying twice; each can be left out."""

    PROOF = "that a lease is over proves nothing: the host may thaw"
    WAIT_FROM_PROOF = "what a host has sent last of all is waited for once it is proven dead"
    WORD = "that nothing was paid is not taken from a person while a host may still pay"
    RECORD = "the record beside the file says who may still pay"
    LEASE_BEFORE_RECORD = "no record is written by a host that others may take for dead"


class Life(IntEnum):
    UP = 0
    FROZEN = 1
    CRASHED = 2


class By(IntEnum):
    """Who makes it go on: things themselves, sooner or later; luck, as where a frozen host thaws; a mishap."""

    ITSELF = 0
    LUCK = 1
    MISHAP = 2


Step = IntEnum("Step", "NONE LOOKED WRITTEN MARKED CHECKED SENT TAKEN REFUSED LOST", start=0)
"""How far a host is within the step that pays: it has looked at the record, written to the database, and so on."""

# All are tuples: a search compares a great many.


class Row(NamedTuple):
    """What matters here of a job. `image` is the day of its upload."""

    state: JobState
    owner: str
    epoch: int = 0
    sender: str = ""
    held: bool = False
    image: str = ""
    payments: tuple[tuple[float, str], ...] = ()


class Host(NamedTuple):
    """`row` is the job as its process knows it; `dead` and `buried` are what the database says of this run of it.

    `looked` is whether the sender was proven dead when this host began to watch an unknown job.
    """

    name: str
    run: int = 0
    life: Life = Life.UP
    dead: bool = False
    buried: bool = False
    row: Row | None = None
    step: Step = Step.NONE
    looked: bool | None = None

    @property
    def owner(self) -> str:
        return owner_name(self.name, str(self.run))


class Call(NamedTuple):
    """A paid call under way; `watched` where it had left its host when somebody began to watch."""

    owner: str
    image: str
    watched: bool = False


class World(NamedTuple):
    """`before` is the row as it was before the last payment, which a restore brings back, once."""

    row: Row
    hosts: tuple[Host, ...]
    record: Row | None = None
    before: Row | None = None
    restored: bool = False
    calls: tuple[Call, ...] = ()
    paid: int = 0
    spends: int = 0
    day: int = 0
    mishaps: int = 0

    def host(self, me: int, **changes: Any) -> World:
        return self.put(me, self.hosts[me]._replace(**changes))

    def put(self, me: int, host: Host) -> World:
        return self._replace(hosts=(*self.hosts[:me], host, *self.hosts[me + 1 :]))

    def freed(self) -> World:
        """A job that no member carries is anybody's."""
        row = self.row
        if not row.owner or row.state in OVER or any(row.owner == one.owner and not one.dead for one in self.hosts):
            return self
        return self._replace(row=row._replace(owner="", epoch=row.epoch + 1))

    def write(self, me: int, after: Row, step: Step = Step.NONE) -> World:
        """What the database's guard lets through: whoever has lost the job changes nothing, and lets go of it."""
        seen, row = self.hosts[me].row, self.row
        if seen is None or (seen.state, seen.owner, seen.epoch) != (row.state, row.owner, row.epoch):
            return self.host(me, row=None, step=Step.NONE, looked=None)
        return self._replace(row=after).host(me, row=after, step=step, looked=None)

    def arrived(self, call: Call, answer: Step | None = None) -> World:
        """The call is at the API, which takes or refuses it; its sender hears so, or what `answer` says."""
        taken = int(call.image) == self.day
        there = self._replace(paid=self.paid + taken)
        return there.ended(call, answer or (Step.TAKEN if taken else Step.REFUSED))

    def ended(self, call: Call, answer: Step) -> World:
        number = self.calls.index(call)
        left = self._replace(calls=self.calls[:number] + self.calls[number + 1 :])
        waiting = (me for me, host in enumerate(self.hosts) if (host.owner, host.step) == (call.owner, Step.SENT))
        me = next(waiting, None)
        return left if me is None else left.host(me, step=answer)


@cache
def job_of(row: Row) -> Job:
    state, owner, epoch, sender, held, image, payments = row
    known = tuple(Payment(at, Outcome(outcome)) for at, outcome in payments)
    return a_job(state=state, owner=owner, epoch=epoch, sender=sender, held=held, image_id=image, payments=known)


def row_of(job: Job) -> Row:
    payments = tuple((paid.at, paid.outcome.value) for paid in job.payments)
    return Row(job.state, job.owner, job.epoch, job.sender, job.held, job.image_id, payments)


@cache
def to(row: Row, *states: JobState, now: float = 0.0, **changes: Any) -> Row:
    """The row, moved as the table of moves allows. Raises IllegalMove."""
    job = job_of(row)
    for state in states:
        job = moved(job, state, now, **changes)
    return row_of(job)


class Announced(SingleHost):
    """Fulfils Membership: says of a sender what it is told."""

    dead = False

    async def is_dead(self, owner: str) -> bool:
        del owner
        return self.dead


@cache
def verdict(sender: str, *dead: bool, paid: bool, silent: bool, wait: float) -> tuple[JobState, bool]:
    """The state to which the Reconciler brings an unknown job that it watches for so long, and whether it is held.

    `dead` is whether the sender is proven dead when the watch begins, and when it ends.
    """

    async def watched() -> Job:
        clock, member, matching, store = ManualClock(), Announced(), ErrorMatching(), MemoryJobStore()
        api = FakeApi(clock, latency=0.0)
        api.images["image"] = Image(name="pic.png", content=b"", uploaded=clock.monotonic())
        api.history_answers = not silent
        if paid:
            await api.generate("image", OFFSETS)
        store.rows["job-1"] = a_job_in(S.UNKNOWN, sender=sender, image_id="image")
        jobs = Jobs(store, clock, Recorder())
        await jobs.load()
        reconciler = Reconciler(
            jobs=jobs,
            breakers=CircuitBreakers(clock, FixedRandomness(), Recorder()),
            api=api,
            clock=clock,
            error_matching=matching,
            settings=ApiSettings(),
            workers=1,
            store=store,
            membership=member,
        )
        for member.dead, seconds in zip(dead, (wait, 0.0), strict=True):
            await reconciler.resolve_unknown(store.rows["job-1"])
            await clock.advance(seconds)
            matching.read([], "", settled=frozenset(), now=clock.monotonic())
        return store.rows["job-1"]

    job = asyncio.run(watched())
    return job.state, job.held


class Search:
    """Breadth first, from a file that host a has claimed; without one of the rules, if so wished."""

    def __init__(self, mishaps: int, *, without: Rule | None = None) -> None:
        self._mishaps = mishaps
        self._without = without
        claimed = row_of(a_job(owner="a-0"))
        self.began = World(claimed, (Host("a", row=claimed), Host("b")))
        self.ways: dict[World, list[tuple[World, str, By]]] = {self.began: []}
        """All that was reached, each with all ways that led there, the shortest first."""

    def run(self) -> World | None:
        """Look at everything, or up to where an image is paid for twice."""
        ahead = deque([self.began])
        while ahead:
            world = ahead.popleft()
            if world.paid > 1:
                return world
            for what, after, by in self._after(world):
                ways = self.ways.get(after)
                if ways is None:
                    ways = self.ways[after] = []
                    ahead.append(after)
                ways.append((world, what, by))
        return None

    def trace(self, world: World) -> list[str]:
        steps: list[str] = []
        while world != self.began:
            world, what, _ = self.ways[world][0]
            steps.insert(0, what)
        return steps

    def stuck(self, *allowed: By) -> list[World]:
        """From where nothing of what is allowed ever leads to an end, or to a person who is asked."""
        ends = deque(world for world in self.ways if world.row.state in OVER or world.row.held)
        well = set(ends)
        while ends:
            for before, _, by in self.ways[ends.popleft()]:
                if by in allowed and before not in well:
                    well.add(before)
                    ends.append(before)
        return [world for world in self.ways if world not in well]

    def _after(self, world: World) -> Iterator[tuple[str, World, By]]:
        for me, host in enumerate(world.hosts):
            for what, after, by in self._befalls(world, me, host):
                yield f"{host.name} {what}", after, by
            if host.life is Life.UP:
                for what, after in (*self._shares(world, me, host), *self._carries(world, me, host)):
                    yield f"{host.name} {what}", after, By.ITSELF
        for call in world.calls:
            yield f"the paid call of {call.owner} arrives", world.arrived(call), By.ITSELF
        if world.mishaps < self._mishaps:
            for what, after in _mishaps(world._replace(mishaps=world.mishaps + 1)):
                yield what, after, By.MISHAP

    def _befalls(self, world: World, me: int, host: Host) -> Iterator[tuple[str, World, By]]:
        if host.life is Life.FROZEN:
            yield "thaws", world.host(me, life=Life.UP), By.LUCK
        if host.life is Life.CRASHED:
            yield "is started again", world.put(me, Host(host.name, host.run + 1)), By.LUCK
        judged = any(one.life is Life.UP and not one.dead for one in world.hosts)
        if host.life is not Life.UP and not host.dead and judged:
            yield "is taken for dead: its lease is over", world.host(me, dead=True).freed(), By.ITSELF
        if host.life is Life.CRASHED and host.dead and not host.buried:
            yield "is buried by a person", world.host(me, buried=True), By.ITSELF

    def _shares(self, world: World, me: int, host: Host) -> Iterator[tuple[str, World]]:
        row = world.row
        if host.dead:
            yield "finds itself taken for dead and begins anew", world.put(me, Host(host.name, host.run + 1))
        elif row.state not in OVER:
            if (freed := world.freed()) != world:
                yield "frees the job of a run that is over", freed
            if not row.owner:
                mine = row._replace(owner=host.owner, epoch=row.epoch + 1)
                yield "takes the job over", world._replace(row=mine).put(me, Host(host.name, host.run, row=mine))
            if host.row is None and row.owner == host.owner:
                yield "finds the job that is its own", world.host(me, row=row)

    def _carries(self, world: World, me: int, host: Host) -> Iterator[tuple[str, World]]:
        row, record = host.row, world.record
        if row is None or row.state in OVER:
            return
        looks = host.step is Step.NONE and row.state in {S.CLAIMED, S.UPLOADED, S.SUBMITTING}
        if looks and record is not None and tells_more(job_of(record), job_of(row)):
            believed = row_of(believing(job_of(row), job_of(record), 0.0))
            if self._without is Rule.RECORD:
                believed = believed._replace(sender="")
            yield "believes the record", world.write(me, believed)
        elif row.state is S.CLAIMED:
            yield "uploads", world.write(me, to(row, S.UPLOADED, image_id=str(world.day)))
        elif row.state is S.UPLOADED:
            yield from self._pays(world, me, host, row)
        elif row.state is S.SUBMITTING:
            yield from self._submits(world, me, host, row)
        elif row.state is S.UNKNOWN:
            yield from self._resolves(world, me, host, row)
        elif row.state is S.RENDERED:
            yield "delivers", world.write(me, to(row, S.DOWNLOADED, S.DELIVERED, S.DONE))
        if world.paid and host.step is Step.NONE and row.state in {S.UPLOADED, S.ACCEPTED, S.UNKNOWN}:
            yield "reads the notification", world.write(me, to(row, S.RENDERED, held=False))

    def _pays(self, world: World, me: int, host: Host, row: Row) -> Iterator[tuple[str, World]]:
        if int(row.image) < world.day:
            yield "finds the upload too old", world.write(me, to(row, S.CLAIMED, image_id=""))
        elif host.step is Step.LOOKED:
            after = to(row, S.SUBMITTING, now=float(world.spends))
            written = world.write(me, after, Step.WRITTEN)
            if written.row == after:
                written = written._replace(before=row, spends=world.spends + 1)
            yield "writes down that it pays", written
        elif not host.dead:
            # One that is taken for dead learns so before it tries again.
            yield "looks at the record", world.host(me, step=Step.LOOKED)

    def _submits(self, world: World, me: int, host: Host, row: Row) -> Iterator[tuple[str, World]]:
        match host.step:
            case Step.NONE:
                yield "finds a paid call that nobody works on", world.write(me, to(row, S.UNKNOWN))
            case Step.WRITTEN if self._without is Rule.LEASE_BEFORE_RECORD or not host.dead:
                yield "writes the record", world._replace(record=row).host(me, step=Step.MARKED)
            case Step.MARKED if not host.dead:
                yield "looks at its lease for the last time", world.host(me, step=Step.CHECKED)
            case Step.WRITTEN | Step.MARKED:
                yield "finds its lease over", world.write(me, to(row, S.UPLOADED))
            case Step.CHECKED:
                sent = world._replace(calls=(*world.calls, Call(row.owner, row.image)))
                yield "sends the paid call", sent.host(me, step=Step.SENT)
            case Step.TAKEN:
                yield "hears that its call is taken", world.write(me, to(row, S.ACCEPTED))
            case Step.REFUSED:
                yield "hears that its call is refused", world.write(me, to(row, S.CLAIMED, image_id=""))
            case Step.LOST:
                yield "hears no answer", world.write(me, to(row, S.UNKNOWN))

    def _resolves(self, world: World, me: int, host: Host, row: Row) -> Iterator[tuple[str, World]]:
        dead, paid = self._is_dead(world, row.sender), bool(world.paid)
        takes_word = paid or self._without is Rule.WORD or not job_of(row).may_still_be_sent
        if takes_word and not world.calls:
            word = to(row, S.FAILED if paid else S.UPLOADED, held=False)
            yield f"is told by a person that it was {'' if paid else 'not '}paid", world.write(me, word)
        if row.held:
            return
        if host.looked is None:
            yield "begins to watch", _watching(world, me, dead=dead)
            return
        first = dead if self._without is Rule.WAIT_FROM_PROOF else host.looked
        waits = [(UNKNOWN_WAIT, False), (UNKNOWN_WAIT, True)] * (not any(call.watched for call in world.calls))
        waits += [(RESULT_LIFE, False)] * (not world.calls and world.day < self._mishaps)
        for wait, silent in waits:
            state, held = verdict(row.sender, first, dead, paid=paid, silent=silent, wait=wait)
            later = world._replace(day=world.day + (wait == RESULT_LIFE))
            if held:
                yield f"has watched for {wait:.0f} s and asks a person", later.write(me, row._replace(held=True))
            elif state is S.UNKNOWN:
                yield f"has watched for {wait:.0f} s and watches on", _watching(later, me, dead=dead)
            else:
                yield f"has watched for {wait:.0f} s and finds it {state.value}", later.write(me, to(row, state))

    def _is_dead(self, world: World, sender: str) -> bool:
        """Whether the sender is proven dead; without that rule, whether its lease is over."""
        host = next((host for host in world.hosts if host.name == host_of(sender)), world.hosts[0])
        return sender != host.owner or host.buried or (host.dead and self._without is Rule.PROOF)


def _watching(world: World, me: int, *, dead: bool) -> World:
    return world._replace(calls=tuple(call._replace(watched=True) for call in world.calls)).host(me, looked=dead)


def _mishaps(world: World) -> Iterator[tuple[str, World]]:
    for me, host in enumerate(world.hosts):
        if host.life is Life.UP:
            yield f"{host.name} freezes", world.host(me, life=Life.FROZEN)
        if host.life is not Life.CRASHED:
            yield f"{host.name} crashes", world.put(me, Host(host.name, host.run, Life.CRASHED, dead=host.dead))
    for call in world.calls:
        yield f"the paid call of {call.owner} never arrives", world.ended(call, Step.LOST)
        yield f"the answer to {call.owner} is lost", world.arrived(call, Step.LOST)
    if world.before and not world.restored and world.row.state not in OVER:
        restored = world._replace(row=world.before, restored=True)
        yield "the database is restored to what it was before the last payment", restored


NEEDS = dict.fromkeys(Rule, 1) | {Rule.RECORD: 2, Rule.LEASE_BEFORE_RECORD: 2}
"""How many mishaps it takes for a rule to be missed."""


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name.lower())
def test_without_any_of_the_rules_two_hosts_pay_for_one_image(rule: Rule) -> None:
    search = Search(NEEDS[rule], without=rule)
    twice = search.run()

    assert twice is not None, f"no way was found on which this is missed: {rule.value}"
    assert sum(step.endswith("sends the paid call") for step in search.trace(twice)) == 2


def test_only_a_host_frozen_after_its_last_lease_check_can_pay_late() -> None:
    search = Search(1, without=Rule.PROOF)
    twice = search.run()
    assert twice is not None
    way = search.trace(twice)
    told = [
        "a looks at its lease for the last time",
        "a freezes",
        "a is taken for dead: its lease is over",
        "b takes the job over",
        f"b has watched for {UNKNOWN_WAIT:.0f} s and finds it uploaded",
        "b sends the paid call",
        "the paid call of b-0 arrives",
    ]

    assert [step for step in way if step in told] == told, "\n".join(way)


def test_with_all_rules_nothing_is_paid_twice_and_nothing_stands_still() -> None:
    search = Search(MISHAPS)
    twice = search.run()
    assert twice is None, "\n".join(search.trace(twice))

    # However bad the luck was so far: once it ends, all ends well, or a person is asked.
    for world in search.stuck(By.ITSELF, By.LUCK):
        pytest.fail("\n".join(search.trace(world)))
    # While one host is up that needs no luck either: whoever froze or died may stay so for ever.
    for world in search.stuck(By.ITSELF):
        if any(host.life is Life.UP for host in world.hosts):
            pytest.fail("\n".join(search.trace(world)))
