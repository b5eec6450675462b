"""Hours of outage of every kind: files wait, few calls are made, and the return is no stampede."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from expandd.domain.errors import AccountAway, OutcomeUnknown
from expandd.domain.events import PauseEnded, PauseStarted
from expandd.domain.pauses import PauseReason
from expandd.engine.flow.slots import GENERATING
from tests.support.fake_api import Fate
from tests.support.workshop import Workshop

HOUR = 3600.0
HOURS = 6 if os.environ.get("EXPANDD_STORM") == "1" else 1
WORKERS = 4
MOST_CALLS = 90
"""An hour, of the whole account, once an outage has lasted."""


@dataclass(frozen=True, slots=True)
class Outage:
    """How the API is away: what every call but the paid one raises, and how long each takes to fail."""

    why: str
    takes: float = 0.125
    generate: Exception | None = None
    """What the paid call raises instead, where a failure does not prove that it never arrived."""

    def begin(self, workshop: Workshop) -> None:
        error = AccountAway(PauseReason.API_UNREACHABLE, self.why)
        workshop.api.away = {"*": error, "generate": self.generate or error}
        workshop.api.latency = self.takes

    @staticmethod
    def end(workshop: Workshop) -> None:
        workshop.api.away = {}
        workshop.api.latency = 0.125


OUTAGES = (
    Outage("the name cannot be found"),
    Outage("a web page came back", generate=OutcomeUnknown("a web page came back")),
    Outage("no answer in time", takes=30.0, generate=OutcomeUnknown("no answer in time")),
)
IDS = ("dns", "captive portal", "hung")
Make = Callable[..., Workshop]


def drop_many(workshop: Workshop, number: int, prefix: str = "pic") -> list[str]:
    names = [f"{prefix}-{one:02d}.png" for one in range(number)]
    for name in names:
        workshop.drop(name)
    return names


def assert_all_paid_once(workshop: Workshop, names: list[str]) -> None:
    assert workshop.names("outbox") == workshop.names("done") == sorted(names)
    assert workshop.names("error") == workshop.names("inbox") == workshop.in_work() == []
    assert len(workshop.api.paid) == len(names)


def calls_from(workshop: Workshop, began: float, seconds: float) -> int:
    return sum(began <= call.began < began + seconds for call in workshop.api.calls)


@pytest.mark.parametrize("outage", OUTAGES, ids=IDS)
async def test_outage_probes_once_a_minute_and_recovery_is_spread(make_workshop: Make, outage: Outage) -> None:
    workshop = make_workshop(workers=WORKERS)
    workshop.start()
    outage.begin(workshop)
    names = drop_many(workshop, 12)
    await workshop.advance(120.0)
    began = workshop.clock.monotonic()
    await workshop.advance(HOURS * HOUR)

    # The longest pause is a minute, half of it chance; a test's chance is three quarters.
    assert 40 * HOURS < calls_from(workshop, began, HOURS * HOUR) <= MOST_CALLS * HOURS
    assert workshop.names("error") == []
    assert sorted(workshop.names("inbox") + workshop.in_work()) == names
    assert [event.reason for event in workshop.recorder.of(PauseStarted)] == [PauseReason.API_UNREACHABLE]

    outage.end(workshop)
    await workshop.event(lambda event: isinstance(event, PauseEnded))
    back_at = workshop.clock.monotonic()
    await workshop.closed(*names)

    # As many as there are workers are paid for, they and as many more uploaded; beside that there is the one poll.
    assert calls_from(workshop, back_at, 1.0) <= 3 * WORKERS + 1
    assert workshop.most_at_once(GENERATING) <= WORKERS
    assert_all_paid_once(workshop, names)


@pytest.mark.parametrize("outage", OUTAGES, ids=IDS)
async def test_an_outage_in_the_middle_of_everything_is_waited_out(make_workshop: Make, outage: Outage) -> None:
    """Some jobs upload, some are paid for, some are rendered: each goes on from where it was."""
    workshop = make_workshop(workers=WORKERS)
    workshop.api.fates = {f"pic-{one:02d}.png": Fate(seconds=7.0 * one) for one in range(12)}
    workshop.start()
    names = drop_many(workshop, 12)
    await workshop.advance(17.0)
    outage.begin(workshop)
    await workshop.advance(120.0)
    began = workshop.clock.monotonic()
    await workshop.advance(HOUR)

    assert calls_from(workshop, began, HOUR) <= MOST_CALLS
    assert workshop.names("error") == []

    outage.end(workshop)
    await workshop.closed(*names, within=3 * HOUR)
    assert_all_paid_once(workshop, names)


async def test_a_flapping_api_is_used_while_it_is_there(make_workshop: Make) -> None:
    workshop = make_workshop(workers=WORKERS)
    workshop.start()
    names = drop_many(workshop, 12)
    outage = Outage("no route to host", generate=OutcomeUnknown("the connection was reset"))
    for _ in range(2 * 30):
        await workshop.advance(40.0)
        outage.begin(workshop)
        await workshop.advance(80.0)
        outage.end(workshop)
    await workshop.closed(*names, within=3 * HOUR)

    assert_all_paid_once(workshop, names)


async def test_a_flapping_api_is_not_polled_faster_than_a_steady_one(make_workshop: Make) -> None:
    workshop = make_workshop(workers=WORKERS)
    workshop.api.fate = Fate(seconds=900.0)
    workshop.start()
    names = drop_many(workshop, 4)
    outage = Outage("no route to host")
    for _ in range(400):
        await workshop.advance(2.0)
        outage.begin(workshop)
        await workshop.advance(1.0)
        outage.end(workshop)
    await workshop.closed(*names)
    polls = workshop.api.called("notifications")

    assert min(after.began - before.began for before, after in pairwise(polls)) >= 3.0
    assert_all_paid_once(workshop, names)


async def test_files_dropped_during_an_outage_stay_in_the_inbox(
    make_workshop: Make,
) -> None:
    workshop = make_workshop(workers=WORKERS)
    workshop.start()
    Outage("no route to host").begin(workshop)
    early = drop_many(workshop, 6)
    await workshop.advance(HOUR / 2)
    late = drop_many(workshop, 20, "late")
    await workshop.advance(HOUR / 2)
    for name in late[:10]:
        (workshop.hot[0].inbox / name).unlink()
    Outage.end(workshop)
    await workshop.closed(*early, *late[10:])

    assert_all_paid_once(workshop, early + late[10:])
