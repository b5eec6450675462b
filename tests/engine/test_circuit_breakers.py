from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from expandd.domain.backoff import Backoff
from expandd.domain.errors import (
    AccountAway,
    Fault,
    FaultCode,
    FileFault,
    FolderAway,
    ImageIdRefused,
    Later,
    OutcomeUnknown,
)
from expandd.domain.events import PauseEnded, PauseStarted
from expandd.domain.job import FileIdentity, FolderSnapshot, Job, JobState, Source, StateChange
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Originals
from expandd.engine.flow.circuit_breaker import PATIENCE, CircuitBreaker, CircuitBreakers
from tests.support.fakes import FixedRandomness
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder

R = PauseReason
FILE_FAULT = FileFault(Fault(FaultCode.REFUSED_BY_API, "no", "no"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def breaker(clock: ManualClock, recorder: Recorder) -> CircuitBreaker:
    return CircuitBreaker("service", Backoff(base=1.0, cap=60.0), clock, FixedRandomness(), recorder)


@pytest.fixture
def breakers(clock: ManualClock, recorder: Recorder) -> CircuitBreakers:
    return CircuitBreakers(clock, FixedRandomness(), recorder)


def a_job(state_changes: tuple[StateChange, ...]) -> Job:
    hot = Path("/hot")
    folder = FolderSnapshot(
        inbox=hot, outbox=hot, done=hot, error=hot, name="{stem}{ext}", preset_name="wide", originals=Originals.MOVE
    )
    return Job(
        id="one",
        folder=folder,
        relative=Path("pic.png"),
        source=Source(identity=FileIdentity(1, 2, 3, 4)),
        state_changes=state_changes,
    )


async def answering(error: Exception | None = None) -> str:
    if error is not None:
        raise error
    return "answer"


def test_an_open_breaker_lets_everybody_pass(breaker: CircuitBreaker, recorder: Recorder) -> None:
    for _ in range(3):
        breaker.enter()

    assert breaker.wait() == 0.0
    assert recorder.events == []


def test_unreachable_shuts_only_when_it_persists(breaker: CircuitBreaker) -> None:
    for _ in range(PATIENCE - 1):
        breaker.failed(R.API_UNREACHABLE, "no route")
    before = breaker.shut
    breaker.failed(R.API_UNREACHABLE, "no route")

    assert before is None
    assert breaker.shut is not None


def test_a_want_of_descriptors_shuts_only_when_it_persists(breaker: CircuitBreaker, recorder: Recorder) -> None:
    for _ in range(10):
        breaker.failed(R.STORAGE_UNAVAILABLE, "Too many open files", is_want=True)
        breaker.passed()
    told = list(recorder.events)
    for _ in range(PATIENCE):
        breaker.failed(R.STORAGE_UNAVAILABLE, "Too many open files", is_want=True)

    assert told == []
    assert breaker.shut is not None


def test_a_success_between_makes_the_count_begin_anew(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        breaker.failed(R.API_UNREACHABLE, "no route")
        breaker.passed()

    assert breaker.shut is None


@pytest.mark.parametrize("reason", [reason for reason in R if reason is not R.API_UNREACHABLE])
def test_every_other_reason_shuts_at_once(breaker: CircuitBreaker, reason: PauseReason) -> None:
    breaker.failed(reason, "why")

    assert breaker.shut is not None
    assert breaker.shut.reason is reason


async def test_one_caller_probes_and_the_others_wait_for_its_outcome(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.failed(R.LOGIN_REFUSED, "rejected")
    await clock.advance(breaker.wait())
    first = CircuitBreakers.enter(breaker)
    second = CircuitBreakers.enter(breaker)

    assert first == 0.0
    assert second == 60.0


async def test_after_a_probe_that_says_nothing_the_next_follows_after_a_back_off(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.failed(R.NO_CREDITS, "none left")
    await clock.advance(breaker.wait())
    CircuitBreakers.enter(breaker)
    breaker.let_go()

    assert 0.0 < breaker.wait() <= 1.0


async def test_a_call_that_was_under_way_does_not_shorten_the_time_the_server_named(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.failed(R.RATE_LIMITED, "429")
    await clock.advance(breaker.wait())
    CircuitBreakers.enter(breaker)
    breaker.failed(R.RATE_LIMITED, "429", 300.0)
    breaker.let_go()

    assert breaker.wait() == 300.0


@pytest.mark.parametrize("error", [Later("this call only"), AccountAway(R.NO_CREDITS, "no credits")])
async def test_probe_that_fails_for_another_reason_does_not_delay_the_next(
    breakers: CircuitBreakers, clock: ManualClock, error: Exception
) -> None:
    breakers.service.failed(R.LOGIN_REFUSED, "rejected")
    await clock.advance(breakers.service.wait())
    CircuitBreakers.enter(breakers.service)
    await asyncio.gather(breakers.through(answering(error)), return_exceptions=True)

    assert 0.0 < breakers.service.wait() <= 1.0


@pytest.mark.parametrize(("paid_after", "opens"), [(1.0, True), (-1.0, False)])
def test_a_result_that_was_paid_for_since_opens_spending(
    breakers: CircuitBreakers, clock: ManualClock, paid_after: float, opens: bool
) -> None:
    breakers.spending.failed(R.NO_CREDITS, "none left")
    state_changes = (
        StateChange(JobState.SUBMITTING, clock.wall() + paid_after),
        StateChange(JobState.RENDERED, clock.wall() + 9.0),
    )
    breakers.made(a_job(state_changes))

    assert (breakers.spending.shut is None) is opens


async def test_probes_become_ever_rarer_up_to_the_cap(breaker: CircuitBreaker, clock: ManualClock) -> None:
    waits = []
    for _ in range(9):
        breaker.failed(R.LOGIN_REFUSED, "rejected")
        waits.append(breaker.wait())
        await clock.advance(breaker.wait())

    assert waits == sorted(waits)
    assert waits[0] <= 1.0
    assert waits[-1] == 45.0  # the cap of 60 s at the middle of its jitter


def test_a_server_that_names_a_time_is_heeded(breaker: CircuitBreaker) -> None:
    breaker.failed(R.RATE_LIMITED, "429", 100.0)

    assert breaker.wait() == 100.0


def test_a_shorter_time_than_our_own_is_not_taken(breaker: CircuitBreaker) -> None:
    breaker.failed(R.RATE_LIMITED, "429", 0.0)

    assert breaker.wait() == 0.75


async def test_opening_says_how_long_it_was_shut(
    breaker: CircuitBreaker, clock: ManualClock, recorder: Recorder
) -> None:
    breaker.failed(R.LOGIN_REFUSED, "rejected")
    await clock.advance(10.0)
    breaker.failed(R.LOGIN_REFUSED, "rejected")
    breaker.passed()
    breaker.passed()

    assert recorder.events == [
        PauseStarted("service", R.LOGIN_REFUSED, "rejected"),
        PauseEnded("service", R.LOGIN_REFUSED, 10.0),
    ]


def test_another_reason_is_announced(breaker: CircuitBreaker, recorder: Recorder) -> None:
    breaker.failed(R.LOGIN_REFUSED, "rejected")
    breaker.failed(R.RATE_LIMITED, "429")

    assert [event.reason for event in recorder.of(PauseStarted)] == [R.LOGIN_REFUSED, R.RATE_LIMITED]


@pytest.mark.parametrize(
    ("reason", "spending"),
    [
        (R.API_UNREACHABLE, False),  # concerns every call
        (R.LOGIN_REFUSED, False),  # concerns every call
        (R.RATE_LIMITED, False),  # concerns every call
        (R.NO_CREDITS, True),  # results can still be fetched
        (R.ENDPOINT_NOT_FOUND, True),  # only generate is at the wrong path
        (R.STORAGE_UNAVAILABLE, True),  # the spool is full: no more results are bought
    ],
)
def test_a_failure_shuts_the_breaker_it_concerns(
    breakers: CircuitBreakers, reason: PauseReason, spending: bool
) -> None:
    for _ in range(PATIENCE):
        breakers.account_failed(AccountAway(reason, "why"))

    assert (breakers.spending.shut is not None) is spending
    assert (breakers.service.shut is not None) is not spending


def test_a_folders_breakers_concern_that_folder(breakers: CircuitBreakers) -> None:
    breakers.storage(Path("/a")).away(FolderAway(R.STORAGE_UNAVAILABLE, "full"))

    assert breakers.claim_wait(Path("/a")) > 0
    assert breakers.claim_wait(Path("/b")) == 0
    assert [breaker.name for breaker in breakers.shut()] == ["storage of /a"]


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (None, True),  # an answer
        (FILE_FAULT, True),  # it refused this image: it serves
        (ImageIdRefused("gone"), True),  # the same
        (Later("this call only"), False),  # says nothing of the API
        (AccountAway(R.API_UNREACHABLE, "no route"), False),  # counted by whoever made the call
        (OutcomeUnknown("reset"), False),  # an outage, rather
    ],
)
async def test_an_answer_opens_the_breaker_and_a_failure_does_not(
    breakers: CircuitBreakers, error: Exception | None, opens: bool
) -> None:
    breakers.service.failed(R.LOGIN_REFUSED, "rejected")
    [outcome] = await asyncio.gather(breakers.through(answering(error)), return_exceptions=True)

    assert outcome == (error or "answer")
    assert (breakers.service.shut is None) is opens


async def test_a_lost_answer_alone_shuts_no_breaker_of_the_api(breakers: CircuitBreakers) -> None:
    for _ in range(PATIENCE):
        with pytest.raises(OutcomeUnknown):
            await breakers.through(answering(OutcomeUnknown("reset")))

    assert breakers.service.shut is None


async def test_a_call_under_way_does_not_end_a_pause_that_the_api_asked_for(
    breakers: CircuitBreakers, clock: ManualClock
) -> None:
    async def slow() -> None:
        breakers.service.failed(R.RATE_LIMITED, "429", 120.0)

    await breakers.through(slow())
    shut = breakers.service.shut
    await clock.advance(120.0)
    CircuitBreakers.enter(breakers.service)
    await breakers.through(answering())

    assert shut is not None
    assert breakers.service.shut is None


def test_nobody_probes_one_breaker_while_another_is_shut_for_longer(breakers: CircuitBreakers) -> None:
    breakers.service.failed(R.RATE_LIMITED, "429", 0.0)
    breakers.spending.failed(R.NO_CREDITS, "none", 500.0)
    first = breakers.service.shut
    waited = CircuitBreakers.enter(breakers.service, breakers.spending)

    assert waited == 500.0
    assert breakers.service.shut is first
