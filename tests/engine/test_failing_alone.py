"""Images that fail again and again while others pass, and outages in which everything fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import pytest

from expandd.domain.errors import AccountAway, FaultCode, FolderAway, Later, OutcomeUnknown
from expandd.domain.events import PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Folders
from tests.support.workshop import Workshop

ANSWERS_500 = AccountAway(PauseReason.API_UNREACHABLE, "The API answered 500.")
TIMES_OUT = AccountAway(PauseReason.API_UNREACHABLE, "The API did not answer in time.")
LATER = Later("not this one, not now")
LOST = OutcomeUnknown("the API answered 500")
HOUR = 3600.0
BAD = ("bad-0.png", "bad-1.png", "bad-2.png")
Make = Callable[..., Workshop]


def codes(workshop: Workshop) -> list[FaultCode]:
    return [job.fault.code for job in workshop.store.rows.values() if job.fault is not None]


def shuts(workshop: Workshop) -> list[PauseReason]:
    return [event.reason for event in workshop.recorder.of(PauseStarted)]


@pytest.mark.parametrize("error", [ANSWERS_500, TIMES_OUT, LATER], ids=["500", "time-out", "later"])
@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_images_that_cannot_be_uploaded_go_to_error_and_hold_up_no_other(
    make_workshop: Make, error: Exception, workers: int
) -> None:
    workshop = make_workshop(folders=2, workers=workers)
    workshop.api.bad = {("upload", name): error for name in BAD}
    workshop.start()
    for name in BAD:
        workshop.drop(name, folder=0)
    good = [f"pic-{number}.png" for number in range(10)]
    for number, name in enumerate(good):
        workshop.drop(name, folder=number % 2)
    await workshop.closed(*good, within=120.0)
    await workshop.closed(*BAD, within=HOUR)

    assert workshop.names("error") == sorted(name + end for name in BAD for end in ("", ".error.json"))
    assert codes(workshop) == [FaultCode.NOT_TAKEN_BY_API] * 3
    assert len(workshop.api.paid) == len(good)
    assert shuts(workshop) == []


@pytest.mark.parametrize("workers", [1, 2])
async def test_image_refused_each_time_goes_to_error_unpaid(make_workshop: Make, workers: int) -> None:
    workshop = make_workshop(workers=workers)
    workshop.api.bad = {("generate", name): ANSWERS_500 for name in BAD}
    workshop.start()
    for name in BAD:
        workshop.drop(name)
    good = [f"pic-{number}.png" for number in range(6)]
    for name in good:
        workshop.drop(name)
    await workshop.closed(*good, within=120.0)
    await workshop.closed(*BAD)

    assert workshop.names("error") == sorted(name + end for name in BAD for end in ("", ".error.json"))
    assert len(workshop.api.paid) == 6


async def test_images_whose_paid_call_is_answered_500_hold_up_no_other_and_end(make_workshop: Make) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.bad = {("generate", name): LOST for name in BAD}
    workshop.start()
    for name in BAD:
        workshop.drop(name)
    await workshop.until(lambda: len(workshop.engine.jobs.in_state(JobState.UNKNOWN)) >= 2)
    good = [f"pic-{number}.png" for number in range(4)]
    for name in good:
        workshop.drop(name)
    await workshop.closed(*good, within=300.0)
    # Each loses its answer again after the long wait that proves that nothing was made.
    for hour in range(6):
        workshop.drop(f"late-{hour}.png")
        await workshop.advance(HOUR)

    assert set(BAD) <= set(workshop.names("error"))
    assert len(workshop.api.paid) == len(good) + 6


async def test_an_outage_of_everything_sends_nobody_to_error_also_across_restarts(make_workshop: Make) -> None:
    workshop = make_workshop(workers=2)
    workshop.start()
    workshop.drop("first.png")
    await workshop.closed("first.png")
    workshop.api.away["*"] = ANSWERS_500
    for name in BAD:
        workshop.drop(name)
    for _ in range(3):
        await workshop.advance(HOUR / 2)
        await workshop.crash()
        workshop.start()
    assert workshop.names("error") == []
    workshop.api.heal()
    await workshop.closed(*BAD)

    assert workshop.names("error") == []
    assert len(workshop.api.paid) == 4


async def test_uploads_that_fail_for_all_send_nobody_to_error(make_workshop: Make) -> None:
    """Many fail in the same way and none passes: it is no fault of theirs, whatever else the API serves."""
    workshop = make_workshop(workers=4)
    workshop.api.away["upload"] = ANSWERS_500
    workshop.start()
    names = [f"pic-{number}.png" for number in range(8)]
    for name in names:
        workshop.drop(name)
    await workshop.advance(HOUR / 2)
    assert workshop.names("error") == []
    workshop.api.heal()
    await workshop.closed(*names)

    assert len(workshop.api.paid) == 8


async def test_strikes_survive_a_restart(make_workshop: Make) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.bad = {("upload", "bad-0.png"): ANSWERS_500}
    workshop.start()
    workshop.drop("bad-0.png")
    await workshop.until(lambda: any(job.strikes >= 4 for job in workshop.engine.jobs))
    tried = len(workshop.api.called("upload"))
    await workshop.crash()
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    workshop.drop("more.png")
    await workshop.closed("more.png", "bad-0.png")

    assert codes(workshop) == [FaultCode.NOT_TAKEN_BY_API]
    assert len([call for call in workshop.api.called("upload") if call.about == "bad-0.png"]) <= tried + 3


async def test_a_good_image_is_taken_at_once_after_bad_ones_alone(make_workshop: Make) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.bad = {("upload", name): ANSWERS_500 for name in BAD}
    workshop.start()
    for name in BAD:
        workshop.drop(name)
    await workshop.advance(120.0)
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=60.0)


async def test_an_unreachable_api_is_probed_by_the_free_account_call(make_workshop: Make) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.away["*"] = ANSWERS_500
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(HOUR)
    calls = [call.endpoint for call in workshop.api.calls[-20:]]

    assert calls.count("account") >= 8


async def test_lack_of_descriptors_does_not_shut_the_folders_breaker(
    make_workshop: Make,
) -> None:
    workshop = make_workshop(workers=2)
    folders, want = workshop.folders, itertools.cycle([True, False])

    class Scarce:
        """Folders for which a descriptor is left every other time that a result is published."""

        def __getattr__(self, name: str) -> Any:
            return getattr(folders, name)

        async def publish(self, *arguments: Any) -> bool:
            if next(want):
                raise FolderAway(PauseReason.STORAGE_UNAVAILABLE, "Too many open files", is_want=True)
            return await folders.publish(*arguments)

    workshop.folders = cast("Folders", Scarce())
    names = [f"pic-{number}.png" for number in range(6)]
    for name in names:
        workshop.drop(name)
    workshop.start()
    await workshop.closed(*names)

    assert workshop.names("outbox") == names
    assert shuts(workshop) == []
