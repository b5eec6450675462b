from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from expandd.domain.api_types import Announcement
from expandd.domain.errors import AccountAway
from expandd.domain.events import JobClosed
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Fate, Lose, Slow
from tests.support.workshop import Workshop

S = JobState


async def test_polls_are_never_closer_than_the_interval_however_many_images_wait(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=16)
    names = [f"pic-{number}.png" for number in range(32)]
    workshop.api.fate = Fate(seconds=20.0)
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert len(workshop.api.called("notifications")) < 32
    assert min(workshop.api.gaps()) >= workshop.settings.api.poll_interval


async def test_a_slow_poll_is_followed_by_a_whole_interval(workshop: Workshop) -> None:
    workshop.api.script("notifications", Slow(10.0), Slow(10.0))
    workshop.api.fate = Fate(seconds=40.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert min(workshop.api.gaps()) >= workshop.settings.api.poll_interval


async def test_polls_are_aimed_at_the_ends_that_earlier_images_have_taught(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=13.5)
    workshop.start()
    teachers, pupils = [f"first-{number}.png" for number in range(4)], [f"then-{number}.png" for number in range(3)]
    for names in (teachers, pupils):
        for name in names:
            workshop.drop(name)
        await workshop.closed(*names)
    polls = [call.began for call in workshop.api.called("notifications")]
    ends = [workshop.api.paid_for(name)[0].at + 13.5 for name in pupils]
    waits = [min(poll - end for poll in polls if poll >= end) for end in ends]

    assert max(waits) <= 0.5
    assert min(workshop.api.gaps()) >= workshop.settings.api.poll_interval


async def test_no_poll_is_made_while_no_result_can_be_there(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=30.0)
    workshop.start()
    names = [f"pic-{number}.png" for number in range(8)]
    for name in names:
        workshop.drop(name)
    workshop.drop("lost.png")
    workshop.api.fates["lost.png"] = Fate(seconds=30.0, announced=0)
    await workshop.closed(*names, "lost.png")
    interval = workshop.settings.api.poll_interval

    # The second four end 30 s after the poll that shows the first.
    assert 30.0 - 2 * interval <= max(workshop.api.gaps()) <= 30.0 + interval


async def test_a_paid_call_of_unknown_outcome_is_polled_for_once_each_interval(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=10.0)
    workshop.start()
    names = [f"pic-{number}.png" for number in range(4)]
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)
    workshop.api.script("generate", Lose())
    workshop.api.fates["lost.png"] = Fate(seconds=40.0)
    workshop.drop("lost.png")
    await workshop.reached("lost.png", S.UNKNOWN)
    began = len(workshop.api.gaps()) + 1
    await workshop.closed("lost.png")

    assert set(workshop.api.gaps()[began:]) == {workshop.settings.api.poll_interval}


@pytest.mark.parametrize("behind", [3600.0, -3600.0])
async def test_an_api_whose_clock_differs_is_polled_once_each_interval(workshop: Workshop, behind: float) -> None:
    workshop.api.clock_behind = behind
    workshop.api.fate = Fate(seconds=20.0)
    workshop.start()
    for number in range(12):
        workshop.drop(f"pic-{number}.png")
    await workshop.closed(*(f"pic-{number}.png" for number in range(12)))

    assert set(workshop.api.gaps()) == {workshop.settings.api.poll_interval}


async def test_nobody_is_polled_for_once_nobody_waits(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    polls = len(workshop.api.called("notifications"))
    await workshop.advance(3600.0)

    assert len(workshop.api.called("notifications")) == polls


async def test_the_results_of_one_poll_are_written_down_together(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=4)
    names = [f"pic-{number}.png" for number in range(4)]
    workshop.api.fate = Fate(seconds=20.0)
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.until(lambda: len(workshop.api.paid) == len(names))
    workshop.store.clock, workshop.store.seconds = workshop.clock, 1.0
    await workshop.closed(*names)
    rendered = {
        change.at for job in workshop.store.rows.values() for change in job.state_changes if change.state is S.RENDERED
    }

    assert len(rendered) == 1


async def test_others_notifications_are_never_deleted(workshop: Workshop) -> None:
    foreign = {
        workshop.api.announce(Announcement.RESULT, image_id="another-clients-image", link="https://x.example/1"),
        workshop.api.announce(Announcement.ERROR, image_id="another-clients-image"),
        workshop.api.announce(Announcement.ERROR, owner="another-clients-image"),
        workshop.api.announce(Announcement.RESULT),
        workshop.api.announce(Announcement.OTHER),
    }
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert foreign.isdisjoint(workshop.api.deleted)
    assert workshop.names("outbox") == ["pic.png"]


async def test_each_duplicate_is_deleted_once(workshop: Workshop) -> None:
    workshop.api.fates["pic.png"] = Fate(announced=3)
    workshop.api.fates["slow.png"] = Fate(seconds=120.0)
    workshop.start()
    workshop.drop("pic.png")
    workshop.drop("slow.png")
    await workshop.closed("pic.png", "slow.png")

    assert len(workshop.api.deleted) == 4
    assert set(Counter(workshop.api.deleted).values()) == {1}
    assert workshop.api.items == {}


async def test_a_duplicate_that_comes_after_its_job_is_over_is_deleted_once(workshop: Workshop) -> None:
    workshop.api.fates["slow.png"] = Fate(seconds=120.0)
    workshop.start()
    workshop.drop("pic.png")
    workshop.drop("slow.png")
    await workshop.closed("pic.png")
    [paid] = workshop.api.paid_for("pic.png")
    late = workshop.api.announce(Announcement.RESULT, image_id=paid.image_id, link=paid.link)
    await workshop.closed("slow.png")

    assert workshop.api.deleted.count(late) == 1
    assert len(workshop.api.paid) == 2


async def test_notification_in_an_outdated_answer_is_not_deleted_again(
    workshop: Workshop,
) -> None:
    interval = workshop.settings.api.poll_interval
    workshop.api.fate = Fate(seconds=0.0)
    workshop.api.fates["slow.png"] = Fate(seconds=120.0)
    workshop.api.script("notifications", *[Slow(2.0)] * 5)
    workshop.api.script("download", Slow(interval + 0.5))
    workshop.start()
    workshop.drop("pic.png")
    workshop.drop("slow.png")
    await workshop.closed("pic.png", "slow.png")
    deletes, polls = workshop.api.called("delete"), workshop.api.called("notifications")

    assert any(poll.began < deletes[0].began < (poll.ended or 0.0) for poll in polls)
    assert set(Counter(workshop.api.deleted).values()) == {1}


async def test_a_result_is_also_found_by_the_task_it_names(workshop: Workshop) -> None:
    workshop.api.fate = Fate(by_task=True)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=25.0)

    assert workshop.api.called("history") == []


async def test_a_result_without_a_link_is_waited_for_further(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=20.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    [paid] = workshop.api.paid
    workshop.api.announce(Announcement.RESULT, image_id=paid.image_id)
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic.png"]


async def test_a_failed_job_goes_to_the_error_folder_with_its_reason(workshop: Workshop) -> None:
    workshop.api.fates["bad.png"] = Fate(error="the model has crashed")
    workshop.start()
    workshop.drop("bad.png")
    await workshop.closed("bad.png")

    assert workshop.names("error") == ["bad.png", "bad.png.error.json"]
    assert "the model has crashed" in (workshop.hot[0].error / "bad.png.error.json").read_text()
    assert workshop.names("outbox") == []
    assert len(workshop.api.deleted) == 1


@pytest.mark.parametrize("again", ["", "crashed again"])
async def test_a_failed_file_may_be_moved_back_together_with_its_report(workshop: Workshop, again: str) -> None:
    workshop.api.fates["bad.png"] = Fate(error="the model has crashed")
    workshop.start()
    workshop.drop("bad.png")
    await workshop.closed("bad.png")
    workshop.api.fates["bad.png"] = Fate(error=again)
    hot = workshop.hot[0]
    for name in ("bad.png.error.json", "bad.png"):
        (hot.error / name).rename(hot.inbox / name)
        workshop.watcher.hint(hot.inbox / name)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 2)

    assert workshop.names("inbox") == []
    assert workshop.names("error") == (["bad.png", "bad.png.error.json"] if again else [])


async def test_a_result_that_comes_after_its_jobs_error_is_not_deleted_unread(workshop: Workshop) -> None:
    workshop.api.fates = {
        "bad.png": Fate(error="the model has crashed", nameless=False),
        "next.png": Fate(seconds=30.0),
    }
    workshop.start()
    workshop.drop("bad.png")
    workshop.drop("next.png")
    await workshop.closed("bad.png")
    bad = next(paid for paid in workshop.api.paid if paid.fate.error)
    number = workshop.api.announce(Announcement.RESULT, image_id=bad.image_id, link=bad.link)
    await workshop.closed("next.png")

    assert number not in workshop.api.deleted


@pytest.mark.parametrize("nameless", [True, False])
async def test_an_error_fails_its_own_job_and_no_other(make_workshop: Callable[..., Workshop], nameless: bool) -> None:
    workshop = make_workshop(workers=8)
    names = [f"pic-{number}.png" for number in range(8)]
    for bad in ("pic-2.png", "pic-5.png"):
        workshop.api.fates[bad] = Fate(seconds=4.0, error=f"no luck with {bad}", nameless=nameless)
    workshop.api.fate = Fate(seconds=90.0)
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert [name for name in workshop.names("error") if name.endswith(".png")] == ["pic-2.png", "pic-5.png"]
    for bad in ("pic-2.png", "pic-5.png"):
        assert f"no luck with {bad}" in (workshop.hot[0].error / f"{bad}.error.json").read_text()
    assert len(workshop.names("outbox")) == 6
    assert len(workshop.api.paid) == 8
    assert min(workshop.api.gaps()) >= workshop.settings.api.poll_interval


async def test_a_nameless_error_of_somebody_else_harms_nobody(workshop: Workshop) -> None:
    number = workshop.api.announce(Announcement.ERROR, owner="another-clients-image")
    names = [f"pic-{number}.png" for number in range(4)]
    workshop.api.fate = Fate(seconds=60.0)
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)
    filtered = Counter(call.about for call in workshop.api.called("notifications") if call.about)

    assert workshop.names("error") == []
    assert len(workshop.names("outbox")) == 4
    assert number not in workshop.api.deleted
    assert set(filtered.values()) == {1}


@pytest.mark.parametrize("nameless", [True, False])
async def test_a_result_wins_over_an_error_of_the_same_job(workshop: Workshop, nameless: bool) -> None:
    workshop.api.fate = Fate(error_too="something also went wrong", nameless=nameless)
    workshop.start()
    workshop.drop("pic.png")
    workshop.drop("other.png")
    await workshop.closed("pic.png", "other.png")

    assert workshop.names("error") == []
    assert workshop.names("outbox") == ["other.png", "pic.png"]


async def test_polls_that_fail_are_repeated_and_nothing_is_paid_again(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=30.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    workshop.api.away["notifications"] = AccountAway(PauseReason.API_UNREACHABLE, "no route to host")
    await workshop.advance(300.0)
    del workshop.api.away["notifications"]
    await workshop.closed("pic.png")

    assert len(workshop.api.paid) == 1
    assert min(workshop.api.gaps()) >= workshop.settings.api.poll_interval
