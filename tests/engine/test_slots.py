from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from expandd.domain.errors import AccountAway, Later, OutcomeUnknown
from expandd.domain.events import JobMoved, PauseStarted
from expandd.domain.job import UNPAID, JobState
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import ApiSettings
from expandd.engine.flow.slots import GENERATING
from expandd.engine.inbox.candidates import MOST_READY
from expandd.engine.inbox.intake import MOST_TROUBLED
from tests.support.fake_api import Fate, Refuse, Slow
from tests.support.fakes import an_image
from tests.support.workshop import HOUR, Workshop

S = JobState


@pytest.mark.parametrize("workers", [1, 2, 12])
async def test_the_api_never_has_more_images_than_there_are_workers(
    make_workshop: Callable[..., Workshop], workers: int
) -> None:
    workshop = make_workshop(workers=workers)
    names = [f"pic-{number}.png" for number in range(4 * workers)]
    for name in names:
        workshop.drop(name)
    workshop.start()
    await workshop.closed(*names)

    assert workshop.most_at_once(GENERATING) == workers
    # Those that are uploaded wait beside those that are generated: as many as there are workers, and not more than 8.
    assert workshop.most_at_once(UNPAID) == min(workers, 8)


async def test_images_are_uploaded_while_others_are_generated(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=2, ahead=3)
    workshop.api.fate = Fate(seconds=60.0)
    workshop.start()
    for number in range(9):
        workshop.drop(f"pic-{number}.png")
    await workshop.until(lambda: len(workshop.api.called("upload")) == 5)
    await workshop.advance(30.0)

    assert len(workshop.api.called("upload")) == 5
    assert len(workshop.api.paid) == 2


async def test_a_slot_is_given_on_as_soon_as_the_result_is_seen(make_workshop: Callable[..., Workshop]) -> None:
    """The next image, the oldest that is uploaded, is paid for while the result before it is still downloaded."""
    workshop = make_workshop(workers=1, ahead=3)
    workshop.api.script("download", Slow(120.0))
    names = [f"pic-{number}.png" for number in range(4)]
    for name in names:
        workshop.drop(name)
    workshop.start()
    await workshop.until(lambda: len(workshop.api.paid) == 2)
    (download,) = workshop.api.called("download")
    second = workshop.api.called("generate")[1]
    await workshop.closed(*names)

    assert second.began - download.began <= 0.5
    assert download.ended == download.began + 120.0
    moves = workshop.recorder.of(JobMoved)
    claimed, paid = (
        [move.job.id for move in moves if move.job.state is state and move.before is before]
        for state, before in ((S.CLAIMED, None), (S.SUBMITTING, S.UPLOADED))
    )
    assert claimed == paid


async def test_results_that_cannot_be_downloaded_stop_what_is_paid_for(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=2)
    workshop.api.away["download"] = Later("the storage of the results gives no answer")
    names = [f"pic-{number}.png" for number in range(12)]
    for name in names:
        workshop.drop(name)
    workshop.start()
    await workshop.advance(60.0)
    paid = len(workshop.api.paid)
    workshop.api.heal()
    await workshop.closed(*names)

    # Three wait to be downloaded, and two were at the API when the third came.
    assert paid <= 5
    assert len(workshop.api.paid) == 12


async def test_paused_upload_is_repeated_when_it_is_old(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=1, ahead=2)
    workshop.api.fate = Fate(seconds=30.0)
    names = [f"pic-{number}.png" for number in range(3)]
    for name in names:
        workshop.drop(name)
    workshop.start()
    await workshop.until(lambda: len(workshop.api.called("upload")) == 3)
    pause = workshop.hot[0].inbox / "PAUSE"
    pause.touch()
    await workshop.advance(60.0)
    workshop.clock.suspend(24 * 3600.0)
    await workshop.advance(60.0)
    paid = len(workshop.api.paid)
    pause.unlink()
    await workshop.closed(*names)

    assert paid == 1
    assert len(workshop.api.paid) == 3
    assert len(workshop.api.called("upload")) == 5


async def test_a_folder_that_cannot_take_results_keeps_no_other_from_being_uploaded(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(folders=2, workers=1)
    workshop.hot[0].outbox.rmdir()
    workshop.start()
    workshop.drop("stuck.png", folder=0)
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    began = workshop.clock.monotonic()
    workshop.drop("pic.png", folder=1)
    await workshop.until(lambda: bool(workshop.api.paid))

    assert workshop.api.paid[0].at - began <= workshop.hot[1].settle + 1.0


async def test_more_workers_are_used_at_once(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1, ahead=4)
    workshop.api.fate = Fate(seconds=600.0)
    workshop.start()
    for number in range(6):
        workshop.drop(f"pic-{number}.png")
    await workshop.until(lambda: len(workshop.api.called("upload")) == 5)
    workshop.engine.reconfigure(replace(workshop.settings, workers=4))
    await workshop.advance(2.0)

    assert len(workshop.api.paid) == 4


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
    spare = workshop.engine.slots.generating.spare
    workshop.api.heal()
    await workshop.closed(*names)

    assert spare == 0
    assert workshop.most_at_once(GENERATING) == 2


async def test_a_result_that_never_comes_holds_no_slot_for_ever(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.fates["lost.png"] = Fate(announced=0, in_history=False)
    workshop.start()
    workshop.drop("lost.png")
    await workshop.reached("lost.png", S.ACCEPTED)
    workshop.drop("next.png")

    await workshop.closed("next.png")


async def test_folders_take_turns_however_full_one_of_them_is(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=3, workers=1)
    for number in range(30):
        workshop.drop(f"bulk-{number:02d}.png", folder=0)
    for folder in (1, 2):
        for number in range(3):
            workshop.drop(f"few-{folder}-{number}.png", folder=folder)
    workshop.start()
    await workshop.closed(*(f"few-{folder}-{number}.png" for folder in (1, 2) for number in range(3)))

    claimed = [event.job.folder.inbox for event in workshop.recorder.of(JobMoved) if event.before is None]
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

    assert 0 < workshop.images.inspected <= MOST_READY + max(jobs)
    # However long no file gets through: those that failed often, and those that are tried beside them.
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
    assert workshop.most_at_once(UNPAID) <= 2


async def _dies_paying(workshop: Workshop, calls: int) -> None:
    """The process dies when it has begun so many paid calls. None of those under way is heard."""
    workshop.api.script("generate", *[Refuse(OutcomeUnknown("nobody hears the answer"), HOUR)] * 4)
    await workshop.until(lambda: len(workshop.api.called("generate")) == calls)
    await workshop.crash()
    workshop.api.heal()
    workshop.start()


def _hasty(workshop: Workshop) -> None:
    workshop.settings = replace(workshop.settings, api=ApiSettings(poll_interval=0.5, unknown_wait=600.0))


async def test_lost_answer_frees_its_slot_after_the_usual_time_of_results(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=4)
    _hasty(workshop)
    names = [f"pic-{number}.png" for number in range(12)]
    workshop.api.fates[names[0]] = Fate(seconds=240.0)
    workshop.start()
    for name in names[:4]:
        workshop.drop(name)
    await workshop.closed(*names[:4])
    for name in names[4:]:
        workshop.drop(name)
    await _dies_paying(workshop, calls=8)
    await workshop.closed(*names[8:], within=60.0)
    await workshop.closed(*names)

    assert len(workshop.api.paid) == 12
    # Nothing is paid again before its time.
    called = workshop.api.called("generate")
    again = {call.about for call in called[4:8]}
    first, second = ([call.began for call in calls if call.about in again] for calls in (called[:8], called[8:]))
    assert min(second) - max(first) >= workshop.settings.api.unknown_wait


async def test_no_more_lost_answers_give_their_slots_on_than_there_are_workers(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=4)
    _hasty(workshop)
    workshop.start()
    workshop.drop("first.png")
    await workshop.closed("first.png")
    names = [f"pic-{number:02}.png" for number in range(16)]
    for name in names:
        workshop.drop(name)
    await _dies_paying(workshop, calls=5)
    await _dies_paying(workshop, calls=9)
    await workshop.advance(300.0)

    assert len(workshop.api.called("generate")) == 9
    await workshop.closed(*names, within=24 * 3600.0)
    assert len(workshop.api.paid) == 17


async def test_lost_answers_keep_their_slots_while_nothing_tells_how_long_results_take(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=4)
    _hasty(workshop)
    workshop.start()
    names = [f"pic-{number}.png" for number in range(8)]
    for name in names:
        workshop.drop(name)
    await _dies_paying(workshop, calls=4)
    await workshop.advance(300.0)

    assert len(workshop.api.called("generate")) == 4
    await workshop.closed(*names)
    assert len(workshop.api.paid) == 8


async def _one_done(make_workshop: Callable[..., Workshop]) -> Workshop:
    """Four workers, and one image that was done quickly."""
    workshop = make_workshop(workers=4)
    _hasty(workshop)
    workshop.start()
    workshop.drop("first.png")
    await workshop.closed("first.png")
    return workshop


async def _dies_each_half_minute(workshop: Workshop, times: int) -> int:
    """The API takes each paid call, and the process dies before the answer. The most images at the API at once."""
    most = 0
    for _ in range(times):
        workshop.api.script("generate", *[Slow(HOUR)] * 64)
        await workshop.advance(30.0)
        await workshop.crash()
        workshop.api.heal()
        workshop.start()
        await workshop.advance(1.0)
        now = workshop.clock.monotonic()
        most = max(most, sum(now < paid.at + paid.fate.seconds for paid in workshop.api.paid))
    return most


async def test_slow_api_gets_two_images_for_each_worker_at_most(make_workshop: Callable[..., Workshop]) -> None:
    workshop = await _one_done(make_workshop)
    workshop.api.fate = Fate(seconds=2 * HOUR)
    for number in range(60):
        workshop.drop(f"pic-{number:02}.png")

    assert await _dies_each_half_minute(workshop, 12) == 8


@pytest.mark.parametrize("quick", [0, 4], ids=["one queue", "each fourth image passes it"])
async def test_queue_that_lost_answers_make_is_paid_for_once(
    make_workshop: Callable[..., Workshop], quick: int
) -> None:
    """The API makes one image after the other, as many as there are workers within `unknown_wait`."""
    workshop = await _one_done(make_workshop)
    each = workshop.settings.api.unknown_wait / 4 - 10.0
    names = [f"pic-{number:02}.png" for number in range(24)]
    generate, free = workshop.api.generate, 0.0

    async def in_turn(image_id: str, offsets: Offsets) -> str:
        nonlocal free
        name, now = workshop.api.images[image_id].name, workshop.clock.monotonic()
        if not quick or (names.index(name) + 1) % quick:
            free = max(free, now) + each
            workshop.api.fates[name] = Fate(seconds=free - now)
        return await generate(image_id, offsets)

    workshop.api.generate = in_turn  # type: ignore[method-assign]  # the API has a queue
    for name in names:
        workshop.drop(name)
    await _dies_each_half_minute(workshop, 6)
    await workshop.closed(*names, within=48 * HOUR)

    assert [name for name in names if len(workshop.api.paid_for(name)) != 1] == []
