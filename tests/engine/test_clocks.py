"""Wall clocks that step by years and machines that sleep: waits and lifetimes stay right, and nothing is paid twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import pytest

from expandd.domain.errors import AccountAway, OutcomeUnknown
from expandd.domain.events import Event, JobHeld, JobMoved
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Fate, Lose, Refuse
from tests.support.recorder import Recorder
from tests.support.workshop import Workshop

S = JobState
YEAR = 365 * 86400.0
HOUR = 3600.0
YEARS = (-30.0, -1.0, 1.0, 30.0)
LOST = OutcomeUnknown("the connection was reset")

ON_THE_WAY = (S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.UNKNOWN, S.RENDERED, S.DOWNLOADED, S.DELIVERED)


class Hooked(Recorder):
    """Does something at the very instant a job enters a state for the first time."""

    def __init__(self, state: JobState, action: Callable[[], None]) -> None:
        super().__init__()
        self._state = state
        self._actions = [action]

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, JobMoved) and event.job.state is self._state and self._actions:
            self._actions.pop()()


def at(workshop: Workshop, state: JobState, action: Callable[[], None]) -> None:
    if state is S.UNKNOWN:
        workshop.api.script("generate", Lose())
    workshop.recorder = Hooked(state, action)


def assert_paid_once_and_delivered(workshop: Workshop) -> None:
    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == workshop.names("done") == ["pic.png"]
    assert workshop.names("error") == workshop.names("inbox") == workshop.in_work() == []


@pytest.mark.parametrize("years", YEARS)
@pytest.mark.parametrize("state", ON_THE_WAY)
async def test_a_wall_clock_that_steps_by_years_at_any_state_changes_nothing(
    workshop: Workshop, state: JobState, years: float
) -> None:
    at(workshop, state, lambda: workshop.clock.step_wall(years * YEAR))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=120.0)

    assert_paid_once_and_delivered(workshop)
    assert len(workshop.api.called("upload")) <= 2
    assert len(workshop.api.calls) < 20


@pytest.mark.parametrize("years", YEARS)
@pytest.mark.parametrize("state", ON_THE_WAY)
async def test_a_restart_into_another_year_changes_nothing(workshop: Workshop, state: JobState, years: float) -> None:
    """A machine without a battery for its clock boots in 1970, or the time server has come back meanwhile."""
    at(workshop, state, workshop.kill)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.clock.until(lambda: state in workshop.recorder.states_of("pic.png"), within=60.0)
    await workshop.crash()
    workshop.clock.step_wall(years * YEAR)
    workshop.start()
    await workshop.closed("pic.png")

    assert_paid_once_and_delivered(workshop)


async def test_a_wall_clock_that_never_stands_still_changes_nothing(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=50.0, announced=0)
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    for years in (step for step, _ in zip(cycle(YEARS), range(200), strict=False)):
        workshop.clock.step_wall(years * YEAR)
        await workshop.advance(3.0)

    assert_paid_once_and_delivered(workshop)


@pytest.mark.parametrize("years", YEARS)
async def test_the_wait_for_an_unknown_outcome_is_neither_cut_short_nor_drawn_out(
    workshop: Workshop, years: float
) -> None:
    workshop.api.script("generate", Refuse(LOST))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    unknown_at = workshop.clock.monotonic()
    workshop.clock.step_wall(years * YEAR)
    await workshop.closed("pic.png")
    waited = workshop.api.paid[0].at - unknown_at

    assert_paid_once_and_delivered(workshop)
    assert workshop.settings.api.unknown_wait <= waited < workshop.settings.api.unknown_wait + 60.0


@pytest.mark.parametrize("years", YEARS)
async def test_a_pause_the_api_asked_for_lasts_as_long_as_it_said(workshop: Workshop, years: float) -> None:
    workshop.api.script("upload", Refuse(AccountAway(PauseReason.RATE_LIMITED, "429", 120.0)))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: workshop.api.called("upload") != [])
    workshop.clock.step_wall(years * YEAR)
    await workshop.closed("pic.png")
    first, second, *_ = workshop.api.calls

    assert 120.0 <= second.began - first.began < 150.0


@pytest.mark.parametrize("years", YEARS)
async def test_a_file_settles_by_the_clock_that_does_not_step(workshop: Workshop, years: float) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(1.0)
    workshop.clock.step_wall(years * YEAR)
    await workshop.advance(0.5)
    too_soon = list(workshop.recorder.of(JobMoved))
    await workshop.advance(2.0)

    assert too_soon == []
    assert workshop.recorder.of(JobMoved) != []


@pytest.mark.parametrize("years", YEARS)
async def test_an_idle_engine_does_no_more_in_another_year(workshop: Workshop, years: float) -> None:
    workshop.start()
    await workshop.advance(60.0)
    workshop.clock.step_wall(years * YEAR)
    # A step that made anything spin would end in the clock's own error.
    await workshop.advance(HOUR)

    assert workshop.api.calls == []


@pytest.mark.parametrize("hours", [1.0, 10.0])
@pytest.mark.parametrize("state", ON_THE_WAY)
async def test_a_machine_that_sleeps_for_hours_at_any_state_goes_on_when_it_wakes(
    workshop: Workshop, state: JobState, hours: float
) -> None:
    at(workshop, state, lambda: workshop.clock.suspend(hours * HOUR))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=hours * HOUR + 120.0)

    assert_paid_once_and_delivered(workshop)
    assert len(workshop.api.calls) < 20


@pytest.mark.parametrize("state", [S.CLAIMED, S.UPLOADED])
async def test_an_image_the_api_forgot_during_a_long_sleep_is_uploaded_again(
    workshop: Workshop, state: JobState
) -> None:
    at(workshop, state, lambda: workshop.clock.suspend(25 * HOUR))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=26 * HOUR)

    assert_paid_once_and_delivered(workshop)


async def test_a_result_the_api_forgot_during_a_long_sleep_needs_a_person(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    workshop.clock.suspend(25 * HOUR)
    await workshop.event(lambda event: isinstance(event, JobHeld))

    assert len(workshop.api.paid) == 1
    assert workshop.in_work() == ["pic.png"]
