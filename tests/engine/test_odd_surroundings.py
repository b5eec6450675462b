"""Odd files and directories in the way of one job: it waits with a back-off, and all else goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from expandd.domain.errors import FolderAway, GateReason
from expandd.domain.events import Event, GateShut, JobClosed, JobPutOff
from expandd.domain.job import Job
from tests.support.workshop import Workshop

Make = Callable[..., Workshop]

HOURLY = 150
"""Calls that one job may make within an hour in vain."""


class Stubborn:
    """The real folders, but for one method, which has another outcome for the file called `bad.png`."""

    def __init__(self, real: Any, method: str, outcome: object) -> None:
        self._real = real
        self._method = method
        self._outcome = outcome
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._real, name)
        if name != self._method:
            return call

        async def stubborn(*arguments: Any, **options: Any) -> Any:
            if not any("bad.png" in str(one.relative if isinstance(one, Job) else one) for one in arguments):
                return await call(*arguments, **options)
            self.calls += 1
            if isinstance(self._outcome, Exception):
                raise self._outcome
            return self._outcome

        return stubborn


def lines(workshop: Workshop) -> Counter[type[Event]]:
    return Counter(type(event) for event in workshop.recorder.events)


@pytest.mark.parametrize("method", ["publish", "put_away"])
async def test_a_place_that_is_always_taken_by_another_file_is_tried_ever_more_rarely(
    workshop: Workshop, method: str
) -> None:
    workshop.folders = folders = Stubborn(workshop.folders, method, outcome=False)
    workshop.start()
    workshop.drop("bad.png")
    await workshop.until(lambda: folders.calls > 0)
    await workshop.advance(3600.0)

    assert 20 < folders.calls < HOURLY


AWAY = FolderAway(GateReason.CANNOT_STORE, "it may not be touched")


@pytest.mark.parametrize("method", ["tidy", "put_away", "publish", "make_way", "write_result_sidecar"])
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
    assert told[JobPutOff] < HOURLY
    assert told[GateShut] < HOURLY
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize("method", ["tidy", "put_away", "publish"])
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
