from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.commands import Command, Verb
from expandd.domain.errors import AccountAway, DatabaseAway, FaultCode
from expandd.domain.events import BugFound, JobClosed, PauseEnded, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Burst, Duplicates
from tests.support.fake_api import Fate, Refuse
from tests.support.fakes import an_image
from tests.support.workshop import A_WHILE, HOUR, Workshop

S = JobState
NUMBERS = count(1)
MINUTE = 60.0


def command(workshop: Workshop, verb: Verb, **about: Any) -> None:
    """Leave a command as a person does: it is in the job database, and the engine finds it there."""
    workshop.store.requests.append(Command(verb=verb, at=workshop.clock.wall(), number=next(NUMBERS), **about))


def shut(workshop: Workshop) -> set[PauseReason]:
    return {breaker.shut.reason for breaker in workshop.engine.breakers.shut() if breaker.shut is not None}


# --- pause and resume ---


@pytest.mark.parametrize("what", ["all", "folder", "file"])
async def test_nothing_that_is_paused_is_begun_until_it_is_resumed(workshop: Workshop, what: str) -> None:
    about = {"all": {}, "folder": {"inbox": workshop.hot[0].inbox}}.get(
        what, {"inbox": workshop.hot[0].inbox, "relative": Path("pic.png")}
    )
    command(workshop, Verb.PAUSE, **about)
    workshop.start()
    await workshop.advance(5.0)
    workshop.drop("pic.png")
    await workshop.advance(10 * MINUTE)
    meanwhile = (workshop.names("inbox"), len(workshop.api.called("upload")))
    command(workshop, Verb.RESUME, **about)
    await workshop.closed("pic.png", within=MINUTE)

    assert meanwhile == (["pic.png"], 0)
    assert workshop.names("outbox") == ["pic.png"]


async def test_a_pause_outlives_a_crash(workshop: Workshop) -> None:
    command(workshop, Verb.PAUSE)
    workshop.start()
    await workshop.advance(5.0)
    await workshop.crash()
    workshop.drop("pic.png")
    workshop.start()
    await workshop.advance(10 * MINUTE)

    assert workshop.names("inbox") == ["pic.png"]
    assert shut(workshop) == {PauseReason.PAUSED}
    assert workshop.store.requests == []


async def test_what_is_paid_for_is_delivered_during_a_pause(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=30.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    command(workshop, Verb.PAUSE)
    await workshop.closed("pic.png", within=2 * MINUTE)

    assert workshop.names("outbox") == ["pic.png"]


async def test_a_paused_folder_holds_no_slot_of_the_others(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=2, workers=1)
    workshop.api.script("generate", *[Refuse(AccountAway(PauseReason.NO_CREDITS, "no credits"))] * 6)
    workshop.start()
    workshop.drop("a.png")
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    command(workshop, Verb.PAUSE, inbox=workshop.hot[0].inbox)
    await workshop.advance(5.0)
    workshop.drop("b.png", folder=1)
    await workshop.closed("b.png", within=10 * MINUTE)

    assert workshop.names("outbox", 1) == ["b.png"]
    assert workshop.names("outbox", 0) == []


async def test_resuming_everything_resumes_folders_and_files_too(workshop: Workshop) -> None:
    inbox = workshop.hot[0].inbox
    for about in ({}, {"inbox": inbox}, {"inbox": inbox, "relative": Path("pic.png")}):
        command(workshop, Verb.PAUSE, **about)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(MINUTE)
    command(workshop, Verb.RESUME)
    await workshop.closed("pic.png", within=MINUTE)

    assert workshop.store.standing == {}


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        *product(("PAUSE", "pause.txt", "Pause", "PAUSE.TXT", "PAUSE.txt.txt"), (False, True)),
        ("pAuSE", False),
        ("paUse.tXt.TxT", False),
    ],
)
async def test_something_named_pause_in_the_inbox_pauses_its_folder(
    workshop: Workshop, name: str, directory: bool
) -> None:
    path = workshop.hot[0].inbox / name
    if directory:
        path.mkdir()
    else:
        path.touch()
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(10 * MINUTE)
    meanwhile = workshop.names("inbox")
    why = [event.why for event in workshop.recorder.of(PauseStarted)]
    (path.rmdir if directory else path.unlink)()
    await workshop.closed("pic.png", within=MINUTE)

    assert "pic.png" in meanwhile
    assert len(why) == 1
    assert name in why[0]
    assert workshop.names("error") == []


# --- cancel ---


async def test_cancelled_waiting_file_goes_to_error(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.fate = Fate(seconds=120.0)
    workshop.start()
    workshop.drop("a.png")
    await workshop.reached("a.png", S.ACCEPTED)
    for name in ("b.png", "c.png"):
        workshop.drop(name)
    await workshop.advance(10.0)
    command(workshop, Verb.CANCEL, inbox=workshop.hot[0].inbox, relative=Path("b.png"))
    await workshop.closed("a.png", "b.png", "c.png")

    assert workshop.names("outbox") == ["a.png", "c.png"]
    assert workshop.names("error") == ["b.png", "b.png.error.json"]
    fault = workshop.recorder.latest("b.png").fault
    assert fault is not None
    assert fault.code is FaultCode.CANCELLED


async def test_a_cancelled_folder_is_emptied_of_all_that_is_not_paid_for(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(workers=1)
    workshop.api.fate = Fate(seconds=120.0)
    workshop.start()
    for number in range(400):
        workshop.drop(f"{number:03d}.png")
    await workshop.event(lambda event: getattr(getattr(event, "job", None), "state", None) is S.ACCEPTED)
    command(workshop, Verb.CANCEL, inbox=workshop.hot[0].inbox)
    await workshop.finished()
    workshop.drop("later.png")
    await workshop.closed("later.png")

    assert len(workshop.names("outbox")) == 2
    assert len([name for name in workshop.names("error") if not name.endswith(".json")]) == 399
    assert workshop.store.standing == {}


@pytest.mark.parametrize("state", [S.CLAIMED, S.UPLOADED, S.ACCEPTED, S.UNKNOWN])
async def test_a_job_is_cancelled_only_while_nothing_can_have_been_paid(workshop: Workshop, state: JobState) -> None:
    workshop.api.fate = Fate(seconds=30.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", state if state is not S.UNKNOWN else S.ACCEPTED)
    [job] = workshop.engine.jobs
    command(workshop, Verb.CANCEL, job_id=job.id)
    await workshop.closed("pic.png")
    paid = len(workshop.api.paid)

    assert (workshop.names("outbox") == ["pic.png"]) is bool(paid)
    assert (workshop.names("error") == ["pic.png", "pic.png.error.json"]) is not bool(paid)
    if state in {S.ACCEPTED, S.UNKNOWN}:
        assert paid == 1


# --- retry, redo ---


async def test_a_file_in_error_is_retried_without_anybody_moving_it(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png", b"no image at all")
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    (workshop.hot[0].error / "pic.png").write_bytes(workshop.drop("other.png").read_bytes())
    command(workshop, Verb.RETRY, job_id=job.id)
    await workshop.event(
        lambda event: (
            isinstance(event, JobClosed) and event.job.relative.name == "pic.png" and event.job.state is S.DONE
        )
    )

    assert workshop.names("error") == []
    assert "pic.png" in workshop.names("outbox")


async def test_all_files_in_error_of_a_folder_are_retried_and_no_others(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(folders=2)
    workshop.start()
    for folder in (0, 1):
        for name in ("a.gif", "b.gif"):
            workshop.drop(name, b"no image", folder=folder)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 4)
    command(workshop, Verb.RETRY, inbox=workshop.hot[1].inbox)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 6)
    again = [event.job.folder.inbox for event in workshop.recorder.of(JobClosed)][4:]

    assert again == [workshop.hot[1].inbox] * 2
    assert workshop.names("error", 1) == ["a.gif", "a.gif.error.json", "b.gif", "b.gif.error.json"]


async def test_what_is_retrying_is_tried_at_once(workshop: Workshop) -> None:
    workshop.api.script("upload", *[Refuse(AccountAway(PauseReason.RATE_LIMITED, "slow", 3000.0))])
    workshop.start()
    workshop.drop("pic.png")
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    [job] = workshop.engine.jobs
    command(workshop, Verb.RETRY, job_id=job.id)
    await workshop.advance(10.0)
    [after] = workshop.engine.jobs

    assert after.attempts == 0


async def test_a_redo_pays_once_more_also_where_duplicates_are_reused(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    command(workshop, Verb.REDO, job_id=job.id)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 2)

    assert len(workshop.api.paid) == 2
    assert workshop.names("outbox") == ["pic-2.png", "pic.png"]
    assert workshop.names("done") == ["pic.png"]
    assert workshop.store.standing == {}


async def test_another_file_under_the_name_of_an_original_is_not_taken_for_it(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    (workshop.hot[0].done / "pic.png").write_bytes(an_image(note="another one"))
    command(workshop, Verb.REDO, job_id=job.id)
    await workshop.advance(MINUTE)

    assert workshop.names("done") == ["pic.png"]
    assert len(workshop.api.paid) == 1
    assert workshop.store.requests == []


async def test_a_command_about_a_folder_that_is_away_waits_for_it(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.gif", b"no image")
    await workshop.closed("pic.gif")
    [job] = workshop.store.rows.values()
    aside = workshop.hot[0].inbox.with_name("aside")
    workshop.hot[0].inbox.rename(aside)
    command(workshop, Verb.RETRY, job_id=job.id)
    await workshop.advance(MINUTE)
    meanwhile = workshop.names("error")
    aside.rename(workshop.hot[0].inbox)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 2)

    assert meanwhile == ["pic.gif", "pic.gif.error.json"]
    assert workshop.store.requests == []


# --- what is opened is said ---


async def test_each_pause_is_told_once_and_so_is_its_end(workshop: Workshop) -> None:
    command(workshop, Verb.PAUSE)
    command(workshop, Verb.PAUSE)
    workshop.start()
    await workshop.advance(MINUTE)
    command(workshop, Verb.RESUME)
    await workshop.advance(MINUTE)

    assert [event.reason for event in workshop.recorder.of(PauseStarted)] == [PauseReason.PAUSED]
    assert [event.reason for event in workshop.recorder.of(PauseEnded)] == [PauseReason.PAUSED]


async def test_a_folder_that_is_not_served_any_more_leaves_no_pause_behind(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(folders=2)
    command(workshop, Verb.PAUSE, inbox=workshop.hot[0].inbox)
    workshop.start()
    await workshop.advance(MINUTE)
    workshop.engine.reconfigure(replace(workshop.settings, folders=workshop.hot[1:]))
    await workshop.advance(MINUTE)

    assert shut(workshop) == set()


# --- what stands still keeps nothing from others ---


async def test_retry_of_everything_brings_each_file_back_once(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(folders=2)
    workshop.start()
    for folder in (0, 1):
        workshop.drop("pic.gif", b"no image", folder=folder)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 2)
    aside = workshop.hot[1].inbox.with_name("aside")
    workshop.hot[1].inbox.rename(aside)
    await workshop.advance(MINUTE)
    command(workshop, Verb.RETRY)
    await workshop.advance(10 * MINUTE)
    meanwhile = len(workshop.recorder.of(JobClosed))
    await workshop.crash()
    workshop.start()
    await workshop.advance(10 * MINUTE)
    after_a_restart = len(workshop.recorder.of(JobClosed))
    aside.rename(workshop.hot[1].inbox)
    await workshop.advance(10 * MINUTE)

    assert (meanwhile, after_a_restart, len(workshop.recorder.of(JobClosed))) == (3, 3, 4)
    assert workshop.store.requests == []


async def test_a_redo_whose_command_cannot_be_crossed_out_pays_once_more_and_no_more(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(settle=0.25)
    workshop.api.fate = Fate(seconds=0.25)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    crossed_out = workshop.store.carried_out

    async def fails(command: Command) -> None:
        raise DatabaseAway("the store is away for a moment")

    workshop.store.carried_out = fails  # type: ignore[method-assign]  # one call of one fake
    command(workshop, Verb.REDO, job_id=job.id)
    await workshop.advance(10 * MINUTE)
    workshop.store.carried_out = crossed_out  # type: ignore[method-assign]  # one call of one fake
    await workshop.advance(10 * MINUTE)

    assert len(workshop.api.paid) == 2
    assert workshop.names("outbox") == ["pic-2.png", "pic.png"]


async def test_failed_files_of_a_removed_folder_stay_in_error(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(folders=2)
    workshop.start()
    workshop.drop("pic.gif", b"no image")
    await workshop.closed("pic.gif")
    workshop.engine.reconfigure(replace(workshop.settings, folders=workshop.hot[1:]))
    command(workshop, Verb.RETRY)
    await workshop.advance(MINUTE)

    assert workshop.names("error") == ["pic.gif", "pic.gif.error.json"]
    assert workshop.store.requests == []


async def test_a_redo_waits_for_a_done_folder_that_is_away(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    aside = workshop.hot[0].done.with_name("aside")
    workshop.hot[0].done.rename(aside)
    command(workshop, Verb.REDO, job_id=job.id)
    await workshop.advance(MINUTE)
    aside.rename(workshop.hot[0].done)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 2)

    assert len(workshop.api.paid) == 2
    assert workshop.names("done") == ["pic.png"]


async def test_a_redo_of_an_original_that_is_gone_makes_no_later_duplicate_cost_again(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    workshop.start()
    content = workshop.drop("pic.png").read_bytes()
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    (workshop.hot[0].done / "pic.png").unlink()
    command(workshop, Verb.REDO, job_id=job.id)
    await workshop.advance(MINUTE)
    workshop.drop("again.png", content)
    await workshop.closed("again.png")

    assert len(workshop.api.paid) == 1
    assert workshop.store.standing == {}


async def test_a_redo_that_waits_for_its_budget_over_a_day_is_still_a_redo(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(duplicates=Duplicates.REUSE)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    [job] = workshop.store.rows.values()
    workshop.api.script("generate", *[Refuse(AccountAway(PauseReason.NO_CREDITS, "402"))] * 1)
    workshop.api.credits = 0
    command(workshop, Verb.REDO, job_id=job.id)
    await workshop.advance(A_WHILE)
    workshop.clock.suspend(24 * HOUR)
    await workshop.advance(A_WHILE)
    workshop.api.credits = None
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 2)

    assert len(workshop.api.paid) == 2
    assert workshop.store.standing == {}


async def test_a_folder_that_is_served_again_is_paused_as_before(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=2)
    workshop.start()
    command(workshop, Verb.PAUSE, inbox=workshop.hot[0].inbox)
    await workshop.advance(5.0)
    for number in range(40):
        workshop.drop(f"{number}.png")
    for folders in (workshop.hot[1:], workshop.hot):
        workshop.engine.reconfigure(replace(workshop.settings, folders=folders))
        await workshop.advance(10 * MINUTE)

    assert len(workshop.names("inbox")) == 40
    assert shut(workshop) == {PauseReason.PAUSED}


async def test_a_pause_of_a_folder_that_is_not_served_shuts_nothing(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=2)
    command(workshop, Verb.PAUSE, inbox=workshop.hot[0].inbox)
    workshop.settings = replace(workshop.settings, folders=workshop.hot[1:])
    workshop.start()
    await workshop.advance(MINUTE)

    assert shut(workshop) == set()


@pytest.mark.parametrize("eighths", range(0, 40, 4))
async def test_what_waits_for_a_pause_file_to_go_is_not_begun_by_a_restart(
    make_workshop: Callable[..., Workshop], eighths: int
) -> None:
    workshop = make_workshop(workers=16)
    workshop.start()
    for number in range(16):
        workshop.drop(f"{number}.png")
    await workshop.advance(eighths / 8)
    await workshop.crash()
    (workshop.hot[0].inbox / "PAUSE").touch()
    look = workshop.folders.first_there

    async def slowly(directory: Path, names: Sequence[str]) -> str:
        await workshop.clock.sleep(5.0)
        return await look(directory, names)

    workshop.folders.first_there = slowly  # type: ignore[method-assign]  # one call of one fake
    before = len(workshop.api.called("generate"))
    workshop.start()
    await workshop.advance(10 * MINUTE)

    assert len(workshop.api.called("generate")) == before


async def test_a_paused_file_can_be_cancelled(workshop: Workshop) -> None:
    about = {"inbox": workshop.hot[0].inbox, "relative": Path("pic.png")}
    command(workshop, Verb.PAUSE, **about)
    workshop.start()
    await workshop.advance(5.0)
    workshop.drop("pic.png")
    await workshop.advance(MINUTE)
    command(workshop, Verb.CANCEL, **about)
    await workshop.closed("pic.png")

    assert workshop.names("error") == ["pic.png", "pic.png.error.json"]


async def test_many_paused_files_hold_up_no_others(workshop: Workshop) -> None:
    for number in range(300):
        command(workshop, Verb.PAUSE, inbox=workshop.hot[0].inbox, relative=Path(f"{number:03d}.png"))
    workshop.start()
    await workshop.advance(5.0)
    for number in range(300):
        workshop.drop(f"{number:03d}.png")
    await workshop.advance(10.0)
    workshop.drop("zzz.png")
    await workshop.closed("zzz.png", within=10 * MINUTE)

    assert len(workshop.names("inbox")) == 300


async def test_a_held_folder_whose_files_are_cancelled_takes_new_ones(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(burst=Burst(files=3, within=MINUTE))
    workshop.start()
    for number in range(20):
        workshop.drop(f"{number:02d}.png")
    await workshop.advance(MINUTE)
    command(workshop, Verb.CANCEL, inbox=workshop.hot[0].inbox)
    await workshop.finished()
    await workshop.advance(10.0)
    workshop.drop("new.png")
    await workshop.closed("new.png", within=MINUTE)

    assert "new.png" in workshop.names("outbox")


async def test_a_command_that_meets_a_bug_is_let_go_of_and_others_are_carried_out(workshop: Workshop) -> None:
    workshop.bugs_expected = True
    workshop.start()
    workshop.drop("pic.gif", b"no image")
    await workshop.closed("pic.gif")
    [job] = workshop.store.rows.values()
    workshop.store.rows[job.id] = job.with_(state_changes=())
    command(workshop, Verb.RETRY, inbox=workshop.hot[0].inbox)
    command(workshop, Verb.PAUSE)
    await workshop.advance(MINUTE)

    assert shut(workshop) == {PauseReason.PAUSED}
    assert workshop.store.requests == []
    assert len(workshop.recorder.of(BugFound)) == 1


async def test_retry_of_a_folder_skips_files_that_a_person_cancelled(
    workshop: Workshop,
) -> None:
    workshop.start()
    command(workshop, Verb.PAUSE)
    await workshop.advance(5.0)
    workshop.drop("pic.png")
    workshop.drop("bad.gif", b"no image")
    await workshop.closed("bad.gif")
    command(workshop, Verb.CANCEL, inbox=workshop.hot[0].inbox, relative=Path("pic.png"))
    await workshop.closed("pic.png")
    command(workshop, Verb.RESUME)
    command(workshop, Verb.RETRY, inbox=workshop.hot[0].inbox)
    await workshop.until(lambda: len(workshop.recorder.of(JobClosed)) == 3)
    await workshop.advance(MINUTE)
    left = workshop.names("error")
    [job] = [job for job in workshop.store.rows.values() if job.relative.name == "pic.png"]
    command(workshop, Verb.RETRY, job_id=job.id)
    await workshop.until(lambda: workshop.names("outbox") == ["pic.png"])

    assert left == ["bad.gif", "bad.gif.error.json", "pic.png", "pic.png.error.json"]


async def test_a_dismissed_error_is_remembered_as_such_and_its_file_stays(workshop: Workshop) -> None:
    workshop.start()
    for name in ("a.gif", "b.gif"):
        workshop.drop(name, b"no image")
    await workshop.closed("a.gif", "b.gif")
    [job] = [job for job in workshop.store.rows.values() if job.relative.name == "a.gif"]
    command(workshop, Verb.DISMISS, job_id=job.id)
    await workshop.advance(5.0)

    assert {row.relative.name for row in workshop.store.rows.values() if row.dismissed} == {"a.gif"}
    assert {"a.gif", "b.gif"} <= set(workshop.names("error"))


async def test_nothing_is_finished_before_the_commands_that_were_left_are_carried_out(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    await workshop.crash()
    [job] = workshop.store.rows.values()
    command(workshop, Verb.REDO, job_id=job.id)
    workshop.store.clock, workshop.store.seconds = workshop.clock, 5.0
    workshop.start()
    await workshop.finished()

    assert len(workshop.api.paid) == 2
