from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.commands import Command, HoldKind, Verb
from expandd.domain.errors import AccountAway
from expandd.domain.events import DuplicateFound, JobClosed, PauseEnded, PauseStarted
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Budget, Burst, Duplicates
from tests.support.fake_api import Fate, Refuse, Slow
from tests.support.fakes import an_image
from tests.support.workshop import A_WHILE, HOUR, WIDE, Workshop

NUMBERS = count(1)
DAY = 24 * HOUR
MINUTE = 60.0

Make = Callable[..., Workshop]


def with_settings(workshop: Workshop, **changes: Any) -> Workshop:
    workshop.settings = replace(workshop.settings, **changes)
    return workshop


def shut(workshop: Workshop) -> set[PauseReason]:
    return {breaker.shut.reason for breaker in workshop.engine.breakers.shut() if breaker.shut is not None}


# --- budgets ---


async def test_no_more_than_the_days_budget_is_paid_for_and_the_rest_waits_in_the_inbox(make_workshop: Make) -> None:
    workshop = make_workshop(workers=16, budget=Budget(day=3))
    workshop.start()
    for number in range(8):
        workshop.drop(f"{number}.png")
    await workshop.advance(A_WHILE)
    first = (len(workshop.api.paid), len(workshop.names("inbox")))
    workshop.clock.step_wall(DAY)
    await workshop.advance(A_WHILE)

    assert first == (3, 5)
    assert len(workshop.api.paid) == 6
    assert len(workshop.names("outbox")) == 6


async def test_a_months_budget_is_not_renewed_at_midnight(make_workshop: Make) -> None:
    workshop = make_workshop(budget=Budget(month=2))
    workshop.start()
    for number in range(4):
        workshop.drop(f"{number}.png")
    await workshop.advance(A_WHILE)
    workshop.clock.step_wall(DAY)
    await workshop.advance(A_WHILE)
    within = len(workshop.api.paid)
    workshop.clock.step_wall(31 * DAY)
    await workshop.advance(A_WHILE)

    assert within == 2
    assert len(workshop.api.paid) == 4


async def test_the_budget_of_all_folders_together_holds_over_each(make_workshop: Make) -> None:
    workshop = with_settings(make_workshop(folders=3, budget=Budget(day=5)), budget=Budget(day=4))
    workshop.start()
    for folder in range(3):
        for number in range(4):
            workshop.drop(f"{number}.png", folder=folder)
    await workshop.advance(A_WHILE)

    assert len(workshop.api.paid) == 4


async def test_a_folder_without_budget_goes_on_beside_one_whose_budget_is_used_up(make_workshop: Make) -> None:
    workshop = make_workshop(folders=2, workers=1)
    limited = replace(workshop.hot[0], budget=Budget(day=1))
    with_settings(workshop, folders=(limited, workshop.hot[1]))
    workshop.start()
    for folder in (0, 1):
        for number in range(3):
            workshop.drop(f"{number}.png", folder=folder)
    await workshop.advance(A_WHILE)

    assert len(workshop.names("outbox", 0)) == 1
    assert len(workshop.names("outbox", 1)) == 3


@pytest.mark.parametrize("seconds", [1.0, 5.0, 9.0, 20.0, A_WHILE])
async def test_a_crash_does_not_renew_a_budget(make_workshop: Make, seconds: float) -> None:
    workshop = make_workshop(workers=8, budget=Budget(day=3))
    workshop.api.fate = Fate(seconds=8.0)
    for number in range(8):
        workshop.drop(f"{number}.png")
    for _ in range(4):
        workshop.start()
        await workshop.advance(seconds)
        await workshop.crash()
    workshop.start()
    await workshop.advance(A_WHILE)

    assert len(workshop.api.paid) == 3


async def test_pruning_the_store_does_not_renew_a_budget(make_workshop: Make) -> None:
    workshop = make_workshop(budget=Budget(month=2))
    workshop.start()
    for number in range(4):
        workshop.drop(f"{number}.png")
    await workshop.advance(A_WHILE)
    await workshop.crash()
    await workshop.store.prune(workshop.clock.wall() + 1.0)
    workshop.start()
    await workshop.advance(A_WHILE)

    assert len(workshop.api.paid) == 2


async def test_what_fails_before_it_is_paid_for_costs_no_budget(make_workshop: Make) -> None:
    workshop = make_workshop(budget=Budget(day=1))
    workshop.start()
    workshop.drop("bad.gif", b"no image")
    await workshop.closed("bad.gif")
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic.png"]


async def test_a_budget_that_is_raised_lets_go_on_and_one_that_is_lowered_holds_at_once(make_workshop: Make) -> None:
    workshop = make_workshop(budget=Budget(day=1))
    workshop.start()
    for number in range(4):
        workshop.drop(f"{number}.png")
    await workshop.advance(A_WHILE)
    counts = [len(workshop.api.paid)]
    for day in (3, 2):
        folder = replace(workshop.hot[0], budget=Budget(day=day))
        workshop.engine.reconfigure(replace(workshop.settings, folders=(folder,)))
        await workshop.advance(A_WHILE)
        counts.append(len(workshop.api.paid))

    assert counts == [1, 3, 3]
    assert shut(workshop) == {PauseReason.BUDGET_SPENT}


async def test_a_used_up_budget_is_told_with_what_lifts_it(make_workshop: Make) -> None:
    workshop = make_workshop(budget=Budget(day=1))
    workshop.start()
    workshop.drop("a.png")
    await workshop.closed("a.png")
    [event] = workshop.recorder.of(PauseStarted)

    assert event.reason is PauseReason.BUDGET_SPENT
    assert "midnight" in event.why


# --- the burst guard ---


async def test_more_files_at_once_than_the_burst_guard_allows_wait_for_a_person(make_workshop: Make) -> None:
    workshop = make_workshop(burst=Burst(files=5, within=10 * MINUTE))
    workshop.start()
    for number in range(40):
        workshop.drop(f"{number:02d}.png")
    await workshop.advance(A_WHILE)
    held = len(workshop.names("inbox"))
    workshop.store.requests.append(Command(verb=Verb.RELEASE, at=workshop.clock.wall(), number=next(NUMBERS)))
    await workshop.finished()

    assert held >= 35
    assert len(workshop.names("outbox")) == 40
    assert not [command for command in workshop.store.standing.values() if command.kind is HoldKind.HELD]


async def test_what_is_held_is_held_after_a_crash_too(make_workshop: Make) -> None:
    workshop = make_workshop(burst=Burst(files=5, within=10 * MINUTE))
    workshop.start()
    for number in range(40):
        workshop.drop(f"{number:02d}.png")
    await workshop.advance(MINUTE)
    await workshop.crash()
    before = len(workshop.names("inbox"))
    workshop.start()
    await workshop.advance(A_WHILE)

    assert len(workshop.names("inbox")) == before
    assert shut(workshop) == {PauseReason.BURST}


async def test_as_many_files_as_the_guard_allows_go_on_undisturbed(make_workshop: Make) -> None:
    workshop = make_workshop(burst=Burst(files=40, within=10 * MINUTE))
    workshop.start()
    for number in range(40):
        workshop.drop(f"{number:02d}.png")
    await workshop.finished()

    assert len(workshop.names("outbox")) == 40
    assert workshop.recorder.of(PauseStarted) == []


# --- the credit guard ---


async def test_nothing_is_paid_below_keep_credits(
    make_workshop: Make,
) -> None:
    workshop = with_settings(make_workshop(workers=2), keep_credits=10)
    workshop.api.credits = 13
    workshop.start()
    for number in range(8):
        workshop.drop(f"{number}.png")
    await workshop.advance(A_WHILE)
    guarded = (len(workshop.api.paid), workshop.api.credits)
    workshop.api.credits = 100
    await workshop.finished()

    assert 3 <= guarded[0] <= 3 + 2
    assert guarded[1] >= 10 - 2
    assert len(workshop.names("outbox")) == 8
    assert PauseReason.CREDITS_RESERVED in {event.reason for event in workshop.recorder.of(PauseEnded)}


@pytest.mark.parametrize("price", [1, 2])
@pytest.mark.parametrize("workers", [4])
@pytest.mark.parametrize("left", [5, 40])
async def test_what_is_to_be_kept_is_kept_however_many_images_are_begun_at_once(
    make_workshop: Make, left: int, workers: int, price: int
) -> None:
    workshop = with_settings(make_workshop(workers=workers), keep_credits=3)
    workshop.api.credits, workshop.api.price = left, price
    workshop.start()
    for number in range(45):
        workshop.drop(f"{number:02d}.png")
    await workshop.advance(500.0)

    assert workshop.api.credits >= 3
    assert workshop.api.credits < 3 + price or workshop.names("inbox") == []


async def test_credits_are_asked_for_once_a_minute_while_images_are_paid_for(
    make_workshop: Make,
) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.credits, workshop.api.fate = 100, Fate(seconds=20.0)
    workshop.start()
    for number in range(10):
        workshop.drop(f"{number}.png")
    await workshop.advance(120.0)
    account = workshop.engine.account
    assert account.at is not None
    assert workshop.clock.wall() - account.at <= 61.0
    await workshop.finished()
    await workshop.advance(70.0)
    told, asked = account.credits, len(workshop.api.called("account"))
    await workshop.advance(3600.0)

    assert told == 90
    assert len(workshop.api.called("account")) == asked


async def test_a_top_up_is_noticed_within_a_minute(make_workshop: Make) -> None:
    workshop = with_settings(make_workshop(workers=2), keep_credits=10)
    workshop.api.credits = 13
    workshop.start()
    for number in range(8):
        workshop.drop(f"{number}.png")
    await workshop.advance(400.0)
    before = len(workshop.api.paid)
    workshop.api.credits = 100
    await workshop.advance(70.0)

    assert before == 3
    assert len(workshop.api.paid) > before


async def test_a_top_up_after_a_402_is_noticed_within_a_minute(workshop: Workshop) -> None:
    workshop.api.credits = 1
    workshop.start()
    for number in range(4):
        workshop.drop(f"{number}.png")
    await workshop.advance(1800.0)
    before = len(workshop.api.paid)
    workshop.api.credits = 100
    await workshop.advance(70.0)

    assert before == 1
    assert len(workshop.api.paid) == 4


async def test_nobody_asks_for_the_credits_each_minute_while_nothing_waits_for_them(make_workshop: Make) -> None:
    workshop = with_settings(make_workshop(workers=2), keep_credits=10)
    workshop.api.credits = 11
    workshop.start()
    workshop.drop("pic.png")
    await workshop.finished()
    before = len(workshop.api.called("account"))
    await workshop.advance(HOUR)

    assert len(workshop.api.called("account")) - before <= 7


async def test_a_guard_that_is_not_told_the_credits_pays_nothing(make_workshop: Make) -> None:
    workshop = with_settings(make_workshop(), keep_credits=10)
    workshop.api.credits = None
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(A_WHILE)

    assert workshop.api.paid == []
    assert shut(workshop) == {PauseReason.CREDITS_RESERVED}


async def test_the_credits_are_known_soon_after_something_was_paid_and_asked_for_rarely(workshop: Workshop) -> None:
    workshop.api.credits = 50
    workshop.start()
    for number in range(30):
        workshop.drop(f"{number}.png")
    await workshop.finished()
    await workshop.advance(HOUR)

    assert workshop.engine.account.credits == Decimal(20)
    assert len(workshop.api.called("account")) <= 3


# --- duplicates ---


def twice(workshop: Workshop) -> None:
    for name in ("a.png", "b.png"):
        workshop.drop(name, an_image(note="the same"))


@pytest.mark.parametrize(
    ("duplicates", "paid", "outbox"),
    [
        (Duplicates.EXPAND, 2, ["a.png", "b.png"]),
        (Duplicates.REUSE, 1, ["a.png", "b.png"]),
        (Duplicates.SKIP, 1, ["a.png"]),
    ],
)
async def test_the_same_bytes_are_expanded_reused_or_skipped_as_the_folder_says(
    make_workshop: Make, duplicates: Duplicates, paid: int, outbox: list[str]
) -> None:
    workshop = make_workshop(duplicates=duplicates)
    workshop.start()
    workshop.drop("a.png", an_image(note="the same"))
    await workshop.closed("a.png")
    workshop.drop("b.png", an_image(note="the same"))
    await workshop.closed("b.png")

    assert len(workshop.api.paid) == paid
    assert workshop.names("outbox") == outbox
    assert workshop.names("done") == ["a.png", "b.png"]


@pytest.mark.parametrize("workers", [4])
async def test_the_same_bytes_dropped_twice_at_once_are_paid_once(make_workshop: Make, workers: int) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE, workers=workers)
    workshop.start()
    twice(workshop)
    await workshop.closed("a.png", "b.png")
    results = {(workshop.hot[0].outbox / name).read_bytes() for name in ("a.png", "b.png")}

    assert len(workshop.api.paid) == 1
    assert len(results) == 1


async def test_a_kept_result_that_is_damaged_is_paid_for_anew(make_workshop: Make) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    workshop.start()
    workshop.drop("a.png", an_image(note="the same"))
    await workshop.closed("a.png")
    for path in workshop.settings.state_dir.glob("spool/kept-*"):
        path.write_bytes(b"damaged")
    workshop.drop("b.png", an_image(note="the same"))
    await workshop.closed("b.png")

    assert len(workshop.api.paid) == 2
    assert workshop.names("outbox") == ["a.png", "b.png"]


async def test_other_offsets_make_another_image(make_workshop: Make) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    workshop.start()
    workshop.drop("a.png", an_image(note="the same"))
    await workshop.closed("a.png")
    wider = replace(WIDE, left=WIDE.top)
    workshop.engine.reconfigure(replace(workshop.settings, folders=(replace(workshop.hot[0], preset=wider),)))
    workshop.drop("b.png", an_image(note="the same"))
    await workshop.closed("b.png")

    assert len(workshop.api.paid) == 2


@pytest.mark.parametrize("moment", range(0, 64, 5))
async def test_a_crash_at_any_instant_never_pays_for_a_duplicate(make_workshop: Make, moment: int) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    workshop.start()
    twice(workshop)
    await workshop.advance(2.0 + moment / 8)
    await workshop.crash()
    workshop.start()
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) >= 2)
    await workshop.finished()

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["a.png", "b.png"]


# --- who waits for whom ---


async def test_a_budget_is_not_taken_up_by_what_is_paused_before_it_is_paid_for(make_workshop: Make) -> None:
    workshop = with_settings(make_workshop(folders=2), budget=Budget(day=4))
    workshop.api.script("upload", *[Slow(30.0)] * 4)
    workshop.start()
    for number in range(4):
        workshop.drop(f"{number}.png")
    await workshop.until(lambda: len(workshop.engine.jobs) == 4)
    workshop.store.requests.append(
        Command(verb=Verb.PAUSE, at=workshop.clock.wall(), number=next(NUMBERS), inbox=workshop.hot[0].inbox)
    )
    await workshop.advance(MINUTE)
    for number in range(4):
        workshop.drop(f"{number}.png", folder=1)
    await workshop.advance(A_WHILE)

    assert len(workshop.api.paid) == len(workshop.names("outbox", 1)) == 4


@pytest.mark.parametrize("days", [40, 400, 30 * 366])
async def test_a_clock_that_steps_to_another_month_and_back_renews_no_budget(make_workshop: Make, days: int) -> None:
    workshop = make_workshop(budget=Budget(month=2))
    workshop.start()
    for name in ("a.png", "b.png"):
        workshop.drop(name)
    await workshop.closed("a.png", "b.png")
    workshop.clock.step_wall(days * DAY)
    await workshop.advance(A_WHILE)
    workshop.drop("elsewhen.png")
    await workshop.closed("elsewhen.png")
    workshop.clock.step_wall(-days * DAY)
    await workshop.advance(A_WHILE)
    for number in range(4):
        workshop.drop(f"{number}.png")
    await workshop.advance(A_WHILE)

    assert len(workshop.api.paid) == 3


@pytest.mark.parametrize("ahead", range(1, 4))
async def test_a_burst_is_held_also_when_the_store_fails_at_that_moment(make_workshop: Make, ahead: int) -> None:
    workshop = make_workshop(burst=Burst(files=5, within=10 * MINUTE))
    workshop.start()
    await workshop.advance(MINUTE)
    for number in range(6):
        workshop.drop(f"{number:02d}.png")
    workshop.store.fails.add(workshop.store.writes + ahead)
    await workshop.advance(A_WHILE)

    assert shut(workshop) == {PauseReason.BURST}


async def test_many_copies_of_one_image_wait_for_it_in_their_inbox(make_workshop: Make) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE, workers=2)
    workshop.api.fate = Fate(seconds=10 * MINUTE)
    workshop.start()
    for number in range(100):
        workshop.drop(f"{number:03d}.png", an_image(note="the same"))
    await workshop.advance(5 * MINUTE)
    meanwhile = len(workshop.engine.jobs)
    await workshop.finished(within=2 * HOUR)

    assert meanwhile <= 80
    assert len(workshop.api.paid) == 1
    assert len(workshop.names("outbox")) == 100


async def test_other_folders_go_on_while_one_waits_for_an_image_that_it_has_many_times(make_workshop: Make) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE, workers=2, folders=2)
    workshop.api.fate = Fate(seconds=10 * MINUTE)
    workshop.start()
    for number in range(200):
        workshop.drop(f"{number:03d}.png", an_image(note="the same"))
    await workshop.advance(MINUTE)
    workshop.api.fate = Fate(seconds=1.0)
    workshop.drop("other.png", folder=1)
    await workshop.closed("other.png", within=2 * MINUTE)

    assert workshop.names("outbox", 1) == ["other.png"]


async def test_nothing_waits_for_a_duplicate_in_a_paused_folder(make_workshop: Make) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE, folders=2)
    workshop.api.script("generate", Refuse(AccountAway(PauseReason.RATE_LIMITED, "slow", 60.0)))
    workshop.start()
    workshop.drop("a.png", an_image(note="the same"))
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    pause = Command(verb=Verb.PAUSE, at=workshop.clock.wall(), number=next(NUMBERS), inbox=workshop.hot[0].inbox)
    workshop.store.requests.append(pause)
    await workshop.advance(5.0)
    workshop.drop("b.png", an_image(note="the same"), folder=1)
    await workshop.closed("b.png", within=10 * MINUTE)
    workshop.store.requests.append(replace(pause, verb=Verb.RESUME, number=next(NUMBERS)))
    await workshop.closed("a.png", within=10 * MINUTE)

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox", 0) == ["a.png"]


async def test_the_same_bytes_uploaded_side_by_side_are_paid_once(make_workshop: Make) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    # The first one's digest takes longer than the second one's whole upload.
    digest = workshop.folders.digest
    slow = [True]

    async def slowly(path: Path) -> str:
        if slow:
            slow.clear()
            await workshop.clock.sleep(5.0)
        return await digest(path)

    workshop.folders.digest = slowly  # type: ignore[method-assign]  # one call of one fake
    workshop.api.script("upload", Slow(10.0))
    workshop.start()
    twice(workshop)
    await workshop.closed("a.png", "b.png")

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["a.png", "b.png"]


async def test_paying_again_for_the_same_bytes_is_announced_once(
    workshop: Workshop,
) -> None:
    twice(workshop)
    workshop.drop("other.png")
    workshop.start()
    await workshop.finished()
    workshop.drop("again.png", an_image(note="the same"))
    await workshop.finished()
    [found] = [event.job for event in workshop.recorder.of(DuplicateFound) if event.job.relative.name == "again.png"]
    row = workshop.store.rows[found.id]

    assert len(workshop.api.paid) == 4
    assert workshop.store.rows[row.duplicate_of].relative.name in {"a.png", "b.png"}
    assert {job.relative.name for job in workshop.store.rows.values() if job.duplicate_of} <= {"again.png", "b.png"}
