"""Odd files and directories in the way of one job: it waits with a back-off, and all else goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from expandd.domain.errors import FolderAway
from expandd.domain.events import Event, JobClosed, JobRetrying, PauseStarted
from expandd.domain.job import Job, JobState
from expandd.domain.pauses import PauseReason
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

Make = Callable[..., Workshop]

HOURLY = 150
"""Calls that one job may make within an hour in vain."""


class Stubborn:
    """The real folders, but for one method, which has another outcome for files whose path has `bad` in it."""

    def __init__(self, real: Any, method: str, outcome: object) -> None:
        self._real = real
        self._method = method
        self._outcome = outcome
        self.calls = 0

    def heal(self) -> None:
        self._method = ""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._real, name)
        if name != self._method:
            return call

        async def stubborn(*arguments: Any, **options: Any) -> Any:
            if not any("bad" in str(one.relative if isinstance(one, Job) else one) for one in arguments):
                return await call(*arguments, **options)
            self.calls += 1
            if isinstance(self._outcome, Exception):
                raise self._outcome
            return self._outcome

        return stubborn


def lines(workshop: Workshop) -> Counter[type[Event]]:
    return Counter(type(event) for event in workshop.recorder.events)


@pytest.mark.parametrize("method", ["publish", "archive"])
async def test_a_place_that_is_always_taken_by_another_file_is_tried_ever_more_rarely(
    workshop: Workshop, method: str
) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, method, outcome=False)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    await workshop.advance(3600.0)

    assert 20 < folders.calls < HOURLY


AWAY = FolderAway(PauseReason.STORAGE_UNAVAILABLE, "it may not be touched")


@pytest.mark.parametrize("method", ["tidy", "archive", "publish", "make_directories", "write_result_sidecar"])
async def test_what_cannot_be_done_for_one_file_is_tried_ever_more_rarely(make_workshop: Make, method: str) -> None:
    workshop = make_workshop(sidecar=True)
    workshop.folders = folders = Stubborn(workshop.folders, method, AWAY)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    before = lines(workshop)
    await workshop.advance(3600.0)
    told = lines(workshop) - before

    assert folders.calls < HOURLY
    assert told[JobRetrying] < HOURLY
    assert told[PauseStarted] < HOURLY
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize("method", ["tidy", "archive", "publish"])
async def test_other_files_that_go_through_do_not_make_the_one_that_does_not_spin(
    workshop: Workshop, method: str
) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, method, AWAY)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    for number in range(20):
        workshop.drop(f"good-{number}.png")
        await workshop.advance(30.0)
    closed = {event.job.relative.name for event in workshop.recorder.of(JobClosed)}

    assert folders.calls < HOURLY
    assert {f"good-{number}.png" for number in range(18)} <= closed


# --- what is the fault of one file, not of its folder ---

OWN = FolderAway(
    PauseReason.STORAGE_UNAVAILABLE, "not allowed in the inbox", may_be_file=True, detail="permission denied"
)
BOTH = pytest.mark.parametrize("method", ["claim", "tidy", "archive", "publish", "make_directories", "digest"])


@BOTH
async def test_a_file_that_is_at_fault_itself_waits_alone_and_says_why(workshop: Workshop, method: str) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, method, OWN)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    for number in range(12):
        workshop.drop(f"good-{number}.png")
    await workshop.closed(*(f"good-{number}.png" for number in range(12)), within=120.0)
    await workshop.advance(1200.0)
    [job] = workshop.engine.jobs

    assert workshop.recorder.of(PauseStarted) == []
    assert job.relative.name == "bad.png"
    assert "permission denied" in job.note
    assert len(workshop.store.rows) == 13
    assert folders.calls < HOURLY
    assert not workshop.engine.finished


async def test_unclaimable_files_hold_back_no_other(workshop: Workshop) -> None:
    workshop.folders = Stubborn(workshop.folders, "claim", OWN)
    workshop.start()
    for number in range(70):
        workshop.drop(f"bad-{number:03d}.png")
    await workshop.until(lambda: len(workshop.engine.jobs) == 70, within=3600.0)
    workshop.drop("good.png")
    await workshop.closed("good.png", within=120.0)
    await workshop.advance(60.0)

    assert workshop.recorder.of(PauseStarted) == []
    assert len(workshop.store.rows) == 71
    assert len(workshop.names("inbox")) == 70


async def test_once_the_file_may_be_claimed_it_is_expanded_once(workshop: Workshop) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, "claim", OWN)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.advance(900.0)
    folders.heal()
    await workshop.closed("bad.png", within=120.0)

    assert workshop.names("done") == ["bad.png"]
    assert len(workshop.api.paid) == 1
    assert len(workshop.store.rows) == 1


async def test_new_file_under_the_name_of_an_unclaimable_one_is_taken(
    workshop: Workshop,
) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, "claim", OWN)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    (workshop.hot[0].inbox / "bad.png").unlink()
    await workshop.advance(60.0)
    workshop.drop("bad.png", an_image(70, 70))
    folders.heal()
    await workshop.until(lambda: workshop.names("done") == ["bad.png"] and not len(workshop.engine.jobs))

    assert len(workshop.api.paid) == 1


async def test_paid_images_that_cannot_be_stored_one_after_the_other_stop_the_buying(workshop: Workshop) -> None:
    workshop.folders = Stubborn(workshop.folders, "publish", OWN)
    workshop.start()
    for number in range(30):
        workshop.drop(f"bad-{number}.png")
        await workshop.advance(5.0)
    await workshop.advance(120.0)

    assert workshop.recorder.of(PauseStarted) != []
    # The second failure of a paid image ends the buying; those that were being paid for then come to their end.
    assert len(workshop.api.paid) <= 2 + workshop.settings.workers


async def test_a_folder_that_is_away_itself_is_no_fault_of_a_file(workshop: Workshop) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, "publish", OWN)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.reached("bad.png", JobState.ACCEPTED)
    workshop.hot[0].outbox.rmdir()
    await workshop.until(lambda: bool(workshop.recorder.of(PauseStarted)), within=120.0)

    assert folders.calls < HOURLY


async def test_a_file_that_cannot_even_be_looked_at_keeps_no_other_back(workshop: Workshop) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, "stat", OWN)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    workshop.drop("good.png")
    await workshop.closed("good.png", within=120.0)
    await workshop.advance(600.0)
    [inbox] = workshop.engine.inboxes

    assert workshop.recorder.of(PauseStarted) == []
    assert folders.calls < HOURLY
    assert inbox.is_baffled
    assert not workshop.engine.finished
