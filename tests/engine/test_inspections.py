"""Looks into files go on beside each other: a slow or deadly one holds up no other, and none is tried for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.roots import Roots
from expandd.domain.errors import FaultCode
from expandd.domain.events import JobClosed, JobMoved, PauseEnded, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settle import FileStat
from tests.support.manual_clock import at_once
from tests.support.workshop import Workshop

S = JobState


async def test_slow_inspections_hold_up_no_other_file_of_the_inbox(workshop: Workshop) -> None:
    slow = [f"slow-{number}.png" for number in range(5)]
    workshop.images.slow = dict.fromkeys(slow, asyncio.Event())
    workshop.start()
    for name in (*slow, "good-1.png", "good-2.png"):
        workshop.drop(name)
    await workshop.closed("good-1.png", "good-2.png", within=120.0)
    taken = {event.job.relative.name for event in workshop.recorder.of(JobMoved)}
    workshop.images.slow[slow[0]].set()
    await workshop.closed(*slow)

    assert taken == {"good-1.png", "good-2.png"}
    assert workshop.names("outbox") == sorted((*slow, "good-1.png", "good-2.png"))


async def test_a_folder_of_slow_files_has_few_inspections_at_once(workshop: Workshop) -> None:
    names = [f"{number}.png" for number in range(20)]
    workshop.images.slow = dict.fromkeys(names, asyncio.Event())
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.advance(60.0)

    # Each had its short look, one its long one; the others wait for that.
    assert workshop.images.inspected == len(names) + 1


async def test_first_of_many_files_are_claimed_before_the_next_scan(workshop: Workshop) -> None:
    asked: Counter[str] = Counter()

    class Asked(LocalFolders):
        async def stat(self, path: Path) -> FileStat | None:
            asked[path.name] += 1
            return await super().stat(path)

    workshop.folders = Asked(Disk(Roots.of(workshop.hot)), run=at_once)
    names = [f"{number:02}.png" for number in range(60)]
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.until(lambda: any(workshop.recorder.of(JobMoved)))

    assert [asked[name] for name in names[30:]] == [1] * 30


async def test_a_file_that_changes_while_it_is_looked_into_is_looked_into_again(workshop: Workshop) -> None:
    workshop.images.slow = {"pic.png": asyncio.Event()}
    workshop.start()
    path = workshop.drop("pic.png")
    await workshop.until(lambda: workshop.images.inspected == 2)
    workshop.drop("pic.png", b"image 300x200 turned 1 \n")
    workshop.images.slow.pop("pic.png").set()
    await workshop.closed("pic.png")

    [job] = [event.job for event in workshop.recorder.of(JobClosed)]
    assert job.source.size is not None
    assert job.source.size.width == 300
    assert not path.exists()


async def test_a_file_whose_reader_dies_again_and_again_goes_to_the_error_folder(workshop: Workshop) -> None:
    workshop.images.deaths = 100
    workshop.start()
    workshop.drop("deadly.png")
    await workshop.closed("deadly.png", within=60.0)

    [job] = [event.job for event in workshop.recorder.of(JobClosed)]
    assert workshop.names("error") == ["deadly.png", "deadly.png.error.json"]
    assert job.fault is not None
    assert job.fault.code is FaultCode.UNREADABLE
    assert workshop.images.deaths == 97


async def test_a_reader_that_dies_twice_costs_its_file_nothing(workshop: Workshop) -> None:
    workshop.images.deaths = 2
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic.png"]


async def test_a_decoder_that_cannot_be_started_is_a_pause_that_ends_by_itself(workshop: Workshop) -> None:
    workshop.images.away = "python cannot be started: Permission denied."
    workshop.start()
    for number in range(20):
        workshop.drop(f"{number}.png")
    shut = await workshop.event(lambda event: isinstance(event, PauseStarted), within=60.0)
    await workshop.advance(90.0)
    waiting = len(workshop.names("inbox"))
    workshop.images.away = ""
    await workshop.event(lambda event: isinstance(event, PauseEnded), within=60.0)
    await workshop.finished()

    assert isinstance(shut, PauseStarted)
    assert shut.reason is PauseReason.DECODER_UNAVAILABLE
    assert "Permission denied" in shut.why
    assert waiting == 20
    assert len(workshop.names("outbox")) == 20
    assert len(list(workshop.recorder.of(PauseStarted))) == 1


async def test_what_was_paid_for_is_fetched_once_it_can_be_checked_again(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    workshop.images.away = "python is gone"
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    await workshop.advance(90.0)
    workshop.images.away = ""
    await workshop.closed("pic.png")

    [job] = [event.job for event in workshop.recorder.of(JobClosed)]
    assert workshop.names("outbox") == ["pic.png"]
    assert job.state is S.DONE
