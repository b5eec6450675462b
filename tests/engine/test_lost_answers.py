from __future__ import annotations

from collections.abc import Callable

import pytest

from expandd.domain.commands import Command, Verb
from expandd.domain.errors import AccountAway, FaultCode, Later, OutcomeUnknown
from expandd.domain.events import JobHeld
from expandd.domain.job import Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import ApiSettings
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.flow.error_matching import ErrorMatching
from expandd.engine.job.reconcile import Reconciler
from expandd.engine.jobs import Jobs
from expandd.engine.single_host import SingleHost
from tests.support.fake_api import FakeApi, Fate, Image, Lose, Refuse
from tests.support.fakes import FixedRandomness, MemoryJobStore
from tests.support.jobs import a_job_in
from tests.support.manual_clock import ManualClock
from tests.support.recorder import Recorder
from tests.support.workshop import UNKNOWN_WAIT, Workshop

S = JobState
LOST = OutcomeUnknown("the connection was reset")


async def test_an_answer_lost_after_the_job_was_accepted_is_found_by_the_poll(workshop: Workshop) -> None:
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=60.0)

    assert len(workshop.api.paid) == 1
    assert S.UNKNOWN in workshop.recorder.states_of("pic.png")
    assert workshop.api.called("history") == []
    assert workshop.names("outbox") == ["pic.png"]


async def test_a_lost_answer_and_a_lost_notification_are_found_by_history(workshop: Workshop) -> None:
    workshop.api.fate = Fate(announced=0)
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_an_accepted_job_whose_notification_is_lost_is_found_by_history(workshop: Workshop) -> None:
    workshop.api.fate = Fate(announced=0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 1
    assert 1 <= len(workshop.api.called("history")) <= 3
    assert workshop.names("outbox") == ["pic.png"]


async def test_what_was_never_accepted_is_paid_exactly_once_more_when_the_wait_is_over(workshop: Workshop) -> None:
    workshop.api.script("generate", Refuse(LOST))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    unknown_at = workshop.clock.monotonic()
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 2
    assert len(workshop.api.paid) == 1
    assert workshop.api.paid[0].at - unknown_at >= workshop.settings.api.unknown_wait
    assert workshop.names("outbox") == ["pic.png"]


async def test_each_lost_answer_is_waited_out_anew(workshop: Workshop) -> None:
    workshop.api.script("generate", Refuse(LOST), Refuse(LOST))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    times = [call.began for call in workshop.api.called("generate")]

    assert len(workshop.api.paid) == 1
    assert min(times[1] - times[0], times[2] - times[1]) >= workshop.settings.api.unknown_wait


async def test_undecidable_job_is_held_for_a_person(workshop: Workshop) -> None:
    workshop.api.history_answers = False
    workshop.api.script("generate", Refuse(LOST))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.event(lambda event: isinstance(event, JobHeld))
    await workshop.advance(4 * 3600.0)

    assert len(workshop.api.called("generate")) == 1
    assert workshop.recorder.states_of("pic.png")[-1] is S.UNKNOWN
    assert len(workshop.recorder.of(JobHeld)) == 1


async def test_a_held_job_keeps_no_slot_and_no_poll(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.history_answers = False
    workshop.api.script("generate", Refuse(LOST))
    workshop.start()
    workshop.drop("held.png")
    await workshop.event(lambda event: isinstance(event, JobHeld))
    workshop.drop("next.png")
    await workshop.closed("next.png", within=120.0)
    polls = len(workshop.api.called("notifications"))
    await workshop.advance(3600.0)

    assert len(workshop.api.called("notifications")) == polls


async def test_a_held_job_whose_result_turns_up_in_history_goes_on(workshop: Workshop) -> None:
    workshop.api.history_answers = False
    workshop.api.fate = Fate(announced=0)
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.event(lambda event: isinstance(event, JobHeld))
    workshop.api.history_answers = True
    await workshop.closed("pic.png", within=7200.0)

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_history_being_away_when_the_wait_is_over_pays_nothing(workshop: Workshop) -> None:
    workshop.api.fate = Fate(announced=0)
    workshop.api.script("generate", Lose())
    workshop.api.away["history"] = AccountAway(PauseReason.API_UNREACHABLE, "no route to host")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(3 * 3600.0)
    paid_meanwhile = len(workshop.api.called("generate"))
    del workshop.api.away["history"]
    await workshop.closed("pic.png")

    assert paid_meanwhile == 1
    assert len(workshop.api.called("generate")) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_an_error_of_a_job_whose_answer_was_lost_is_its_end(workshop: Workshop) -> None:
    workshop.api.fate = Fate(error="no luck")
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=60.0)

    assert len(workshop.api.paid) == 1
    assert "pic.png" in workshop.names("error")
    fault = workshop.recorder.latest("pic.png").fault
    assert fault is not None
    assert fault.code is FaultCode.FAILED_AT_API


@pytest.mark.parametrize("nameless", [True, False])
async def test_lost_call_is_not_paid_again_while_notifications_fail(workshop: Workshop, nameless: bool) -> None:
    """The API took the call and failed: only its error says so."""
    workshop.api.fate = Fate(error="no luck", nameless=nameless)
    workshop.api.script("generate", Lose())
    workshop.api.away["notifications"] = Later("not now")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    await workshop.advance(2 * workshop.settings.api.unknown_wait)
    workshop.api.heal()
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 1
    assert workshop.recorder.states_of("pic.png")[-1] is S.FAILED


async def test_an_error_that_may_be_its_own_keeps_a_lost_call_from_being_paid_again(workshop: Workshop) -> None:
    workshop.api.script("generate", Lose(), Lose())
    workshop.api.fates = {name: Fate(seconds=UNKNOWN_WAIT - 10.0, error="no luck") for name in ("one.png", "two.png")}
    workshop.start()
    for name in ("one.png", "two.png"):
        workshop.drop(name)
    await workshop.closed("one.png", "two.png")

    assert len(workshop.api.called("generate")) == 2


async def test_job_without_a_result_for_a_day_is_held() -> None:
    clock, recorder = ManualClock(), Recorder()
    api = FakeApi(clock, latency=0.0)
    api.images["image-of-job-1"] = Image(name="pic.png", content=b"", uploaded=clock.monotonic())
    store = Held(a_job_in(S.ACCEPTED))
    jobs = Jobs(store, clock, recorder)
    breakers = CircuitBreakers(clock, FixedRandomness(), recorder)
    reconciler = Reconciler(
        jobs=jobs,
        breakers=breakers,
        api=api,
        clock=clock,
        error_matching=ErrorMatching(),
        settings=ApiSettings(),
        workers=1,
        store=store,
        membership=SingleHost(),
    )
    await jobs.load()
    began = clock.monotonic()
    while not recorder.of(JobHeld):
        [job] = jobs
        next_activation = await reconciler.await_result(job)
        await clock.advance(next_activation or 0.0)
    [job] = jobs

    assert clock.monotonic() - began >= 24 * 3600.0
    assert (job.state, job.held) == (S.UNKNOWN, True)
    assert 10 < len(api.called("history")) < 120
    assert api.called("generate") == []


@pytest.mark.parametrize("step", [-7200.0, 90_000.0])
async def test_a_wall_clock_that_jumps_never_cuts_the_wait_short(workshop: Workshop, step: float) -> None:
    workshop.api.fate = Fate(seconds=0.75 * UNKNOWN_WAIT)
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    workshop.clock.step_wall(step)
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_results_that_never_come_do_not_stop_the_others_for_a_day(make_workshop: Callable[..., Workshop]) -> None:
    """As many lost outcomes as workers: after `unknown_wait` their slots go to others, and nothing is lost."""
    workshop = make_workshop(workers=1)
    workshop.api.fates = {"stuck.png": Fate(seconds=10**6)}
    workshop.start()
    workshop.drop("stuck.png")
    await workshop.reached("stuck.png", S.ACCEPTED)
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=2 * 3600.0)

    assert workshop.recorder.states_of("stuck.png")[-1] is S.ACCEPTED
    assert len(workshop.api.paid) == 2


async def test_lost_call_is_not_paid_again_while_an_earlier_job_is_unfinished(
    workshop: Workshop,
) -> None:
    """The API has one worker: what is sent last is made last, and /history shows nothing of it till then."""
    patience = workshop.settings.api.unknown_wait
    workshop.api.fates = {"first.png": Fate(seconds=2.5 * patience), "last.png": Fate(seconds=4.9 * patience)}
    workshop.api.script("generate", None, Lose())
    workshop.start()
    workshop.drop("first.png")
    await workshop.reached("first.png", S.ACCEPTED)
    workshop.drop("last.png")
    await workshop.closed("last.png", within=8 * patience)

    assert len(workshop.api.called("generate")) == 2
    assert workshop.names("outbox") == ["first.png", "last.png"]


async def test_a_lost_call_is_paid_again_once_what_was_accepted_earlier_is_finished(workshop: Workshop) -> None:
    patience = workshop.settings.api.unknown_wait
    workshop.api.fates = {"first.png": Fate(seconds=2.5 * patience)}
    workshop.api.script("generate", None, Refuse(LOST))
    workshop.start()
    workshop.drop("first.png")
    await workshop.reached("first.png", S.ACCEPTED)
    workshop.drop("last.png")
    await workshop.closed("last.png", within=8 * patience)

    assert len(workshop.api.paid) == 2
    assert workshop.api.paid[1].at - workshop.api.paid[0].at >= 2.5 * patience


async def test_a_lost_call_is_watched_for_as_long_as_the_last_results_took(workshop: Workshop) -> None:
    patience = workshop.settings.api.unknown_wait
    workshop.api.fate = Fate(seconds=1.5 * patience)
    workshop.api.script("generate", None, Lose())
    workshop.start()
    workshop.drop("first.png")
    await workshop.closed("first.png", within=4 * patience)
    workshop.drop("last.png")
    await workshop.closed("last.png", within=4 * patience)

    assert len(workshop.api.called("generate")) == 2


class Held(MemoryJobStore):
    """A job database that is asked at each write whether a process that died now could pay again."""

    async def save(self, job: Job, expected: JobState) -> None:
        await super().save(job, expected)
        assert job.held or job.state is not S.UNKNOWN, "a job that was taken waits for a person from the same write on"


async def test_late_notification_is_used_after_an_empty_history(
    workshop: Workshop,
) -> None:
    workshop.api.script("generate", Refuse(LOST))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    workshop.api.away["generate"] = AccountAway(PauseReason.NO_CREDITS, "402")
    await workshop.until(lambda: workshop.recorder.states_of("pic.png").count(S.SUBMITTING) == 2)
    workshop.drop("other.png")
    [job] = [job for job in workshop.engine.jobs if job.relative.name == "pic.png"]
    workshop.api.announce_result(job.image_id)
    await workshop.crash()
    workshop.api.away.clear()
    workshop.api.script("generate", Refuse(AccountAway(PauseReason.NO_CREDITS, "402")))
    workshop.start()
    await workshop.closed("pic.png", "other.png")

    assert len(workshop.api.paid_for("pic.png")) == 1
    assert workshop.names("outbox") == ["other.png", "pic.png"]


@pytest.mark.parametrize("lost", [Lose(), None])
async def test_repeated_retries_do_not_add_calls(workshop: Workshop, lost: Lose | None) -> None:
    workshop.api.fate = Fate(seconds=10**6)
    workshop.api.script("generate", lost)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: len(workshop.api.called("history")) == 3)
    before = len(workshop.api.called("history"))
    for number in range(30):
        workshop.store.requests.append(Command(verb=Verb.RETRY, at=workshop.clock.wall(), number=number))
        await workshop.advance(2.0)

    assert len(workshop.api.called("history")) - before <= 1
