"""New settings for a running engine: taken in one instant, while what is in progress goes on as it began."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from expandd.domain.job import JobState
from tests.support.fake_api import Fate
from tests.support.workshop import Workshop, hot_folder

S = JobState


def reconfigure(workshop: Workshop, **changes: object) -> None:
    workshop.settings = replace(workshop.settings, **changes)  # type: ignore[arg-type]  # keywords of any type
    workshop.engine.reconfigure(workshop.settings)


async def test_an_inbox_that_is_exchanged_again_and_again_is_never_worked_on_twice(workshop: Workshop) -> None:
    workshop.start()
    for number in range(20):
        workshop.drop(f"pic-{number}.png")
        reconfigure(workshop, folders=(replace(workshop.hot[0], settle=2.0 + number / 8),))
        await workshop.advance(0.125)
    await workshop.closed(*(f"pic-{number}.png" for number in range(20)))

    assert len(workshop.api.paid) == 20
    assert len(workshop.names("outbox")) == 20


async def test_a_folder_that_is_left_claims_nothing_more_and_finishes_what_it_has(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=30.0)
    workshop.start()
    workshop.drop("old.png")
    await workshop.reached("old.png", S.ACCEPTED)
    reconfigure(workshop, folders=())
    workshop.drop("late.png")
    assert workshop.hot[0].inbox in workshop.engine.in_use
    await workshop.closed("old.png")
    await workshop.advance(600.0)

    assert workshop.names("outbox") == ["old.png"]
    assert workshop.names("inbox") == ["late.png"]
    assert workshop.engine.in_use == frozenset()


async def test_a_folder_that_comes_back_takes_what_has_come_meanwhile(workshop: Workshop) -> None:
    workshop.start()
    reconfigure(workshop, folders=())
    await workshop.advance(60.0)
    workshop.drop("late.png")
    reconfigure(workshop, folders=workshop.hot)
    await workshop.closed("late.png")

    assert workshop.names("outbox") == ["late.png"]


async def test_a_folder_that_is_the_same_is_not_disturbed(workshop: Workshop, ground: Path) -> None:
    workshop.start()
    await workshop.advance(1.0)
    before = workshop.engine.inboxes[0]
    reconfigure(workshop, folders=(*workshop.hot, hot_folder(ground / "more")))
    await workshop.advance(1.0)

    assert workshop.engine.inboxes[0] is before
    assert len(workshop.engine.inboxes) == 2


async def test_fewer_workers_end_nothing_and_begin_nothing_more(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=20.0)
    workshop.start()
    for number in range(8):
        workshop.drop(f"pic-{number}.png")
    await workshop.until(lambda: len(workshop.engine.jobs.in_state(S.ACCEPTED)) == 4, 60.0)
    reconfigure(workshop, workers=1)
    await workshop.until(lambda: len(workshop.engine.jobs.in_state(S.ACCEPTED)) <= 1, 600.0)
    await workshop.finished()

    assert len(workshop.names("outbox")) == 8


async def test_the_start_is_over_once_each_inbox_is_watched_or_known_to_be_away(workshop: Workshop) -> None:
    workshop.hot[0].work.rmdir()
    workshop.hot[0].inbox.rmdir()
    workshop.start()
    await workshop.advance(1.0)
    await workshop.engine.started()

    assert workshop.engine.breakers.inbox(workshop.hot[0].inbox).shut is not None
