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
from expandd.domain.events import GateOpened, GateShut
from expandd.domain.job import FileIdentity, Job, JobState, Place, Source, Stamp
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Originals
from expandd.engine.flow.circuit_breaker import PATIENCE, Gate, Gates
from tests.support.fakes import FixedChance
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
def gate(clock: ManualClock, recorder: Recorder) -> Gate:
    return Gate("service", Backoff(base=1.0, cap=60.0), clock, FixedChance(), recorder)


@pytest.fixture
def gates(clock: ManualClock, recorder: Recorder) -> Gates:
    return Gates(clock, FixedChance(), recorder)


def a_job(stamps: tuple[Stamp, ...]) -> Job:
    hot = Path("/hot")
    place = Place(
        inbox=hot, outbox=hot, done=hot, error=hot, name="{stem}{ext}", preset_name="wide", originals=Originals.MOVE
    )
    return Job(
        id="one", place=place, relative=Path("pic.png"), source=Source(identity=FileIdentity(1, 2, 3, 4)), stamps=stamps
    )


async def answering(error: Exception | None = None) -> str:
    if error is not None:
        raise error
    return "answer"


def test_an_open_gate_lets_everybody_pass(gate: Gate, recorder: Recorder) -> None:
    for _ in range(3):
        gate.enter()

    assert gate.wait() == 0.0
    assert recorder.events == []


def test_unreachable_shuts_only_when_it_persists(gate: Gate) -> None:
    for _ in range(PATIENCE - 1):
        gate.failed(R.API_UNREACHABLE, "no route")
    before = gate.shut
    gate.failed(R.API_UNREACHABLE, "no route")

    assert before is None
    assert gate.shut is not None


def test_a_want_of_descriptors_shuts_only_when_it_persists(gate: Gate, recorder: Recorder) -> None:
    for _ in range(10):
        gate.failed(R.STORAGE_UNAVAILABLE, "Too many open files", is_want=True)
        gate.passed()
    told = list(recorder.events)
    for _ in range(PATIENCE):
        gate.failed(R.STORAGE_UNAVAILABLE, "Too many open files", is_want=True)

    assert told == []
    assert gate.shut is not None


def test_a_success_between_makes_the_count_begin_anew(gate: Gate) -> None:
    for _ in range(10):
        gate.failed(R.API_UNREACHABLE, "no route")
        gate.passed()

    assert gate.shut is None


@pytest.mark.parametrize("reason", [reason for reason in R if reason is not R.API_UNREACHABLE])
def test_every_other_reason_shuts_at_once(gate: Gate, reason: PauseReason) -> None:
    gate.failed(reason, "why")

    assert gate.shut is not None
    assert gate.shut.reason is reason


async def test_one_caller_probes_and_the_others_wait_for_its_outcome(gate: Gate, clock: ManualClock) -> None:
    gate.failed(R.LOGIN_REFUSED, "rejected")
    await clock.advance(gate.wait())
    first = Gates.enter(gate)
    second = Gates.enter(gate)

    assert first == 0.0
    assert second == 60.0


async def test_after_a_probe_that_says_nothing_the_next_follows_after_a_back_off(
    gate: Gate, clock: ManualClock
) -> None:
    gate.failed(R.NO_CREDITS, "none left")
    await clock.advance(gate.wait())
    Gates.enter(gate)
    gate.let_go()

    assert 0.0 < gate.wait() <= 1.0


async def test_a_call_that_was_under_way_does_not_shorten_the_time_the_server_named(
    gate: Gate, clock: ManualClock
) -> None:
    gate.failed(R.RATE_LIMITED, "429")
    await clock.advance(gate.wait())
    Gates.enter(gate)
    gate.failed(R.RATE_LIMITED, "429", 300.0)
    gate.let_go()

    assert gate.wait() == 300.0


@pytest.mark.parametrize("error", [Later("this call only"), AccountAway(R.NO_CREDITS, "no credits")])
async def test_a_probe_of_the_service_that_fails_for_another_reason_does_not_hold_up_the_next(
    gates: Gates, clock: ManualClock, error: Exception
) -> None:
    gates.service.failed(R.LOGIN_REFUSED, "rejected")
    await clock.advance(gates.service.wait())
    Gates.enter(gates.service)
    await asyncio.gather(gates.through(answering(error)), return_exceptions=True)

    assert 0.0 < gates.service.wait() <= 1.0


@pytest.mark.parametrize(("paid_after", "opens"), [(1.0, True), (-1.0, False)])
def test_a_result_that_was_paid_for_since_opens_spending(
    gates: Gates, clock: ManualClock, paid_after: float, opens: bool
) -> None:
    gates.spending.failed(R.NO_CREDITS, "none left")
    stamps = (Stamp(JobState.INTENT, clock.wall() + paid_after), Stamp(JobState.RENDERED, clock.wall() + 9.0))
    gates.made(a_job(stamps))

    assert (gates.spending.shut is None) is opens


async def test_probes_become_ever_rarer_up_to_the_cap(gate: Gate, clock: ManualClock) -> None:
    waits = []
    for _ in range(9):
        gate.failed(R.LOGIN_REFUSED, "rejected")
        waits.append(gate.wait())
        await clock.advance(gate.wait())

    assert waits == sorted(waits)
    assert waits[0] <= 1.0
    assert waits[-1] == 45.0  # the cap of 60 s at the middle of its jitter


def test_a_server_that_names_a_time_is_heeded(gate: Gate) -> None:
    gate.failed(R.RATE_LIMITED, "429", 100.0)

    assert gate.wait() == 100.0


def test_a_shorter_time_than_our_own_is_not_taken(gate: Gate) -> None:
    gate.failed(R.RATE_LIMITED, "429", 0.0)

    assert gate.wait() == 0.75


async def test_opening_says_how_long_it_was_shut(gate: Gate, clock: ManualClock, recorder: Recorder) -> None:
    gate.failed(R.LOGIN_REFUSED, "rejected")
    await clock.advance(10.0)
    gate.failed(R.LOGIN_REFUSED, "rejected")
    gate.passed()
    gate.passed()

    assert recorder.events == [
        GateShut("service", R.LOGIN_REFUSED, "rejected"),
        GateOpened("service", R.LOGIN_REFUSED, 10.0),
    ]


def test_another_reason_is_announced(gate: Gate, recorder: Recorder) -> None:
    gate.failed(R.LOGIN_REFUSED, "rejected")
    gate.failed(R.RATE_LIMITED, "429")

    assert [event.reason for event in recorder.of(GateShut)] == [R.LOGIN_REFUSED, R.RATE_LIMITED]


@pytest.mark.parametrize(
    ("reason", "spending"),
    [
        (R.API_UNREACHABLE, False),  # concerns every call
        (R.LOGIN_REFUSED, False),  # concerns every call
        (R.RATE_LIMITED, False),  # concerns every call
        (R.NO_CREDITS, True),  # results can still be fetched
        (R.ENDPOINT_NOT_FOUND, True),  # only generate is at the wrong path
        (R.STORAGE_UNAVAILABLE, True),  # the vault is full: no more results are bought
    ],
)
def test_a_failure_shuts_the_gate_it_concerns(gates: Gates, reason: PauseReason, spending: bool) -> None:
    for _ in range(PATIENCE):
        gates.account_failed(AccountAway(reason, "why"))

    assert (gates.spending.shut is not None) is spending
    assert (gates.service.shut is not None) is not spending


def test_a_folders_gates_concern_that_folder(gates: Gates) -> None:
    gates.storage(Path("/a")).away(FolderAway(R.STORAGE_UNAVAILABLE, "full"))

    assert gates.claim_wait(Path("/a")) > 0
    assert gates.claim_wait(Path("/b")) == 0
    assert [gate.name for gate in gates.shut()] == ["storage of /a"]


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (None, True),  # an answer
        (FILE_FAULT, True),  # it refused this picture: it serves
        (ImageIdRefused("gone"), True),  # the same
        (Later("this call only"), False),  # says nothing of the service
        (AccountAway(R.API_UNREACHABLE, "no route"), False),  # counted by whoever made the call
        (OutcomeUnknown("reset"), False),  # an outage, rather
    ],
)
async def test_an_answer_opens_the_gate_and_a_failure_does_not(
    gates: Gates, error: Exception | None, opens: bool
) -> None:
    gates.service.failed(R.LOGIN_REFUSED, "rejected")
    [outcome] = await asyncio.gather(gates.through(answering(error)), return_exceptions=True)

    assert outcome == (error or "answer")
    assert (gates.service.shut is None) is opens


async def test_a_lost_answer_alone_says_nothing_of_the_service(gates: Gates) -> None:
    for _ in range(PATIENCE):
        with pytest.raises(OutcomeUnknown):
            await gates.through(answering(OutcomeUnknown("reset")))

    assert gates.service.shut is None


async def test_a_call_under_way_does_not_end_a_pause_that_the_service_asked_for(
    gates: Gates, clock: ManualClock
) -> None:
    async def slow() -> None:
        gates.service.failed(R.RATE_LIMITED, "429", 120.0)

    await gates.through(slow())
    shut = gates.service.shut
    await clock.advance(120.0)
    Gates.enter(gates.service)
    await gates.through(answering())

    assert shut is not None
    assert gates.service.shut is None


def test_nobody_probes_one_gate_while_another_is_shut_for_longer(gates: Gates) -> None:
    gates.service.failed(R.RATE_LIMITED, "429", 0.0)
    gates.spending.failed(R.NO_CREDITS, "none", 500.0)
    first = gates.service.shut
    waited = Gates.enter(gates.service, gates.spending)

    assert waited == 500.0
    assert gates.service.shut is first
