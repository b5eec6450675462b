"""When hosts look for tasks: one of them for each, at once, and no task is overlooked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from expandd.adapters.store.postgres.tasks import MOST, POLL, TaskLookups

HOSTS = ("a-1", "b-1", "c-1", "d-1")


class Watch:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


def looks_of(me: str, watch: Watch) -> TaskLookups:
    """One that has looked, and knows all hosts."""
    lookups = TaskLookups(watch)
    lookups.meet(me, HOSTS)
    assert lookups.begin()
    lookups.looked_up(None)
    return lookups


def test_one_host_looks_at_once_for_each_task_and_each_host_for_its_share(watch: Watch) -> None:
    all_looks = {me: looks_of(me, watch) for me in HOSTS}
    shares: Counter[str] = Counter()
    for task in range(400):
        [first] = [me for me, lookups in all_looks.items() if lookups.announce(task)]
        shares[first] += 1

    assert min(shares[me] for me in HOSTS) > 60


def test_a_host_that_knows_no_other_or_is_not_known_looks_for_each(watch: Watch) -> None:
    alone, unknown = TaskLookups(watch), looks_of("e-1", watch)

    assert alone.begin()
    assert all(lookups.announce(task) for lookups in (alone, unknown) for task in range(20))


def test_lookup_is_made_only_where_a_task_may_wait(watch: Watch) -> None:
    lookups = looks_of("a-1", watch)
    assert not lookups.begin()
    lookups.announce(7)
    lookups.announce(8)
    lookups.looked_up(7)
    assert lookups.begin(), "the other one may wait, whoever was to look for it"
    lookups.looked_up(8)
    assert not lookups.begin(), "nobody has heard of more"
    lookups.announce(9)
    assert lookups.begin()
    lookups.looked_up(None)
    assert not lookups.begin(), "others have taken it"
    watch.now += POLL
    assert lookups.begin(), "a notice may have been lost"


def test_task_announced_during_a_lookup_is_looked_up_again(watch: Watch) -> None:
    lookups = looks_of("a-1", watch)
    lookups.announce(7)
    assert lookups.begin()
    lookups.announce(8)
    lookups.looked_up(None)
    assert lookups.begin()
    lookups.looked_up(None)
    assert not lookups.begin()


def test_of_more_tasks_than_are_remembered_none_is_overlooked(watch: Watch) -> None:
    lookups = looks_of("a-1", watch)
    for task in range(MOST + 1):
        lookups.announce(task)
    lookups.looked_up(0)
    assert lookups.begin()
    lookups.looked_up(None)
    assert not lookups.begin()


async def test_notice_during_a_lookup_causes_another(watch: Watch) -> None:
    lookups = looks_of("a-1", watch)
    lookups.begin()
    await lookups.look_up()
    lookups.looked_up(None)
    assert lookups.begin()
    lookups.looked_up(None)
    assert not lookups.begin()


async def test_what_is_told_of_waiting_tasks_makes_the_queue_look(watch: Watch) -> None:
    told: list[Any] = []

    async def notify(*, channel: str, notification: Any) -> None:
        del channel
        told.append(notification["type"])

    lookups = looks_of("a-1", watch)
    await lookups.look_up()
    assert told == [], "the queue is not open yet"
    pass_on = lookups.filtered(notify)
    await lookups.look_up()
    assert told == ["job_inserted"]
    assert lookups.begin()
    for task in range(400):
        await pass_on(channel="", notification={"type": "job_inserted", "job_id": task})
    assert 1 + 60 < len(told) < 1 + 160
    await pass_on(channel="", notification={"type": "abort_job_requested", "job_id": 1})
    assert told[-1] == "abort_job_requested"
