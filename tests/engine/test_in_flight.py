from __future__ import annotations

from collections.abc import Callable

import pytest

from expandd.domain.errors import AccountAway, Later
from expandd.domain.events import JobMoved
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.engine.inbox.candidates import MOST_READY
from expandd.engine.inbox.intake import MOST_TROUBLED
from tests.support.fake_api import Fate, Refuse
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

S = JobState


@pytest.mark.parametrize("workers", [1, 2, 7])
async def test_never_more_images_than_workers_are_between_claim_and_spool(
    make_workshop: Callable[..., Workshop], workers: int
) -> None:
    workshop = make_workshop(workers=workers)
    names = [f"pic-{number}.png" for number in range(4 * workers)]
    for name in names:
        workshop.drop(name)
    workshop.start()
    await workshop.closed(*names)

    assert workshop.most_in_flight() == workers


async def test_an_outage_longer_than_the_patience_for_a_result_frees_no_slot(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.fate = Fate(seconds=60.0)
    workshop.start()
    names = [f"pic-{number}.png" for number in range(6)]
    for name in names:
        workshop.drop(name)
    await workshop.reached("pic-1.png", S.ACCEPTED)
    workshop.api.away["*"] = AccountAway(PauseReason.API_UNREACHABLE, "no route to host")
    await workshop.advance(2 * workshop.settings.api.unknown_wait)
    spare = workshop.engine.slots.spare
    workshop.api.heal()
    await workshop.closed(*names)

    assert spare == 0
    assert workshop.most_in_flight() == 2


async def test_a_result_that_never_comes_holds_no_slot_for_ever(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.fates["lost.png"] = Fate(announced=0, in_history=False)
    workshop.start()
    workshop.drop("lost.png")
    await workshop.reached("lost.png", S.ACCEPTED)
    workshop.drop("next.png")

    await workshop.closed("next.png", within=2 * workshop.settings.api.unknown_wait)


async def test_folders_take_turns_however_full_one_of_them_is(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=3, workers=1)
    for number in range(30):
        workshop.drop(f"bulk-{number:02d}.png", folder=0)
    for folder in (1, 2):
        for number in range(3):
            workshop.drop(f"few-{folder}-{number}.png", folder=folder)
    workshop.start()
    await workshop.closed(*(f"few-{folder}-{number}.png" for folder in (1, 2) for number in range(3)))

    claimed = [event.job.place.inbox for event in workshop.recorder.of(JobMoved) if event.before is None]
    first_nine = [claimed[:9].count(folder.inbox) for folder in workshop.hot]
    assert first_nine == [3, 3, 3]


async def test_a_backlog_stays_in_its_inbox_unread(workshop: Workshop) -> None:
    for number in range(1_000):
        (workshop.hot[0].inbox / f"pic-{number:04d}.png").write_bytes(an_image())
    workshop.api.away["*"] = Later("the API takes its time")
    workshop.start()
    jobs = []
    for _ in range(45):
        await workshop.advance(10.0)
        jobs.append(len(workshop.engine.jobs))

    assert 0 < workshop.images.examined <= MOST_READY + max(jobs)
    # However long no file gets through: those that failed often, and one for each slot.
    assert max(jobs) <= MOST_TROUBLED + workshop.settings.workers
    assert jobs[-1] == jobs[-8]


async def test_a_backlog_larger_than_the_window_is_worked_off_to_the_last_file(workshop: Workshop) -> None:
    names = [f"pic-{number:04d}.png" for number in range(300)]
    for name in names:
        (workshop.hot[0].inbox / name).write_bytes(an_image())
    workshop.api.fate = Fate(seconds=0.0)
    workshop.start()
    await workshop.finished(within=24 * 3600.0)

    assert workshop.names("outbox") == names
    assert len(workshop.api.paid) == 300


async def test_a_job_that_cannot_go_on_gives_its_slot_to_others(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1)
    workshop.start()
    workshop.api.script("upload", *[Refuse(Later("not this one, not now"))] * 12)
    workshop.drop("stuck.png")
    await workshop.until(lambda: len(workshop.api.called("upload")) == 4)
    workshop.api._scripts["upload"].clear()  # noqa: SLF001 - the API is well again
    workshop.drop("next.png")
    await workshop.closed("next.png")
    await workshop.closed("stuck.png")

    assert len(workshop.api.paid_for("stuck.png")) == 1
    assert len(workshop.api.paid_for("next.png")) == 1


async def test_a_parked_job_gets_a_free_slot_before_a_new_file(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.script("upload", *[Refuse(Later("not now"))] * 4)
    workshop.start()
    workshop.drop("parked.png")
    await workshop.until(lambda: len(workshop.api.called("upload")) == 4)
    names = [f"new-{number}.png" for number in range(12)]
    for name in names:
        workshop.drop(name)
    await workshop.closed("parked.png")
    earlier = len(workshop.api.paid) - 1
    await workshop.closed(*names)

    # It is due again after half a minute, and the one slot is then given to it as soon as it is free.
    assert earlier <= 3
    assert workshop.most_in_flight() <= 2
