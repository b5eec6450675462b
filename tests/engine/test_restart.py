from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from expandd.domain.commands import Command, Verb
from expandd.domain.events import JobHeld, Recovered
from expandd.domain.job import FileIdentity, FolderSnapshot, Job, JobState, Result
from tests.support.fake_api import Fate, Image, Lose, Paid, Slow
from tests.support.fakes import MemoryJobStore, an_image, sha256
from tests.support.jobs import EXPECTED, a_job_in, a_result
from tests.support.workshop import Workshop

S = JobState

DROPPED = an_image(note="image.png")
RESULT = an_image(EXPECTED.width, EXPECTED.height, note="made of 'image.png'")


@pytest.mark.parametrize("eighth", range(0, 120, 2))
async def test_a_crash_at_any_instant_neither_loses_nor_pays_twice(workshop: Workshop, eighth: int) -> None:
    workshop.store.clock, workshop.store.seconds = workshop.clock, 0.125
    workshop.api.fate = Fate(seconds=3.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(eighth / 8)
    await workshop.crash()
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == ["pic.png"] and not len(workshop.engine.jobs))

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("inbox") == []
    assert workshop.in_work() == []


@pytest.mark.parametrize("seconds", [0.125, 1.0, 2.5])
async def test_crashes_again_and_again_neither_lose_nor_pay_twice(workshop: Workshop, seconds: float) -> None:
    workshop.store.clock, workshop.store.seconds = workshop.clock, 0.125
    names = [f"pic-{number}.png" for number in range(6)]
    for name in names:
        workshop.drop(name)
    for run in range(40):
        workshop.start()
        await workshop.advance(2.0 + seconds * (1 + run % 5))
        await workshop.crash()
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == names and not len(workshop.engine.jobs))

    assert [len(workshop.api.paid_for(name)) for name in names] == [1] * 6
    assert workshop.names("outbox") == names
    assert workshop.in_work() == []


class Past:
    """What an earlier run left behind: one job in the job database, and a disk and an API that match it."""

    def __init__(self, workshop: Workshop, state: JobState) -> None:
        self.workshop = workshop
        job = a_job_in(state, at=workshop.clock.wall() - 60.0)
        self.job = job.with_(folder=FolderSnapshot.of(workshop.hot[0]), target=None, archived_to=None)
        self.put(self.job.work_file)
        identity = self._identity()
        source = replace(self.job.source, identity=identity, sha256=sha256(DROPPED))
        self.write(source=source, result=self._result() if self.job.result else None)

    def put(self, path: Path, content: bytes = DROPPED) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def write(self, **changes: object) -> None:
        self.job = self.job.with_(**changes)
        self.workshop.store.rows[self.job.id] = self.job

    def uploaded(self) -> Past:
        image = Image(name="image.png", content=DROPPED, uploaded=self.workshop.clock.monotonic() - 60.0)
        self.workshop.api.images[self.job.image_id] = image
        return self

    def paid(self, fate: Fate | None = None) -> Past:
        self.uploaded()
        paid = Paid(
            image_id=self.job.image_id,
            offsets=self.job.offsets,
            at=self.workshop.clock.monotonic() - 50.0,
            fate=fate or Fate(),
        )
        self.workshop.api.paid.append(paid)
        self.write(link=paid.link if self.job.link else "")
        return self

    def downloaded(self) -> Past:
        self.put(self.workshop.spool.path(self.job.id), RESULT)
        return self

    def _result(self) -> Result:
        return a_result(sha256=sha256(RESULT), bytes=len(RESULT))

    def _identity(self) -> FileIdentity:
        found = self.job.work_file.stat()
        return replace(
            self.job.source.identity,
            device=found.st_dev,
            inode=found.st_ino,
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
        )


async def ends_well(workshop: Workshop, *, accepted: int = 1) -> None:
    """The engine is started on what was left behind; the image must come out, whole, and be paid for once."""
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == ["image.png"] and not len(workshop.engine.jobs))

    assert len(workshop.api.paid) == accepted
    assert workshop.names("outbox") == ["image.png"]
    assert (workshop.hot[0].outbox / "image.png").read_bytes() == RESULT
    assert workshop.names("inbox") == []
    assert workshop.in_work() == []
    assert not any(workshop.spool.path("x").parent.iterdir())


async def test_a_claim_that_was_not_yet_renamed_is_renamed(workshop: Workshop) -> None:
    past = Past(workshop, S.CLAIMED)
    past.job.work_file.rename(workshop.hot[0].inbox / "image.png")
    past.job.work_dir.rmdir()
    await ends_well(workshop)

    assert workshop.recorder.states_of("image.png")[0] is S.UPLOADED


async def test_a_claim_that_was_renamed_goes_on_with_its_upload(workshop: Workshop) -> None:
    Past(workshop, S.CLAIMED)
    await ends_well(workshop)


async def test_a_claim_whose_file_is_gone_is_returned(workshop: Workshop) -> None:
    past = Past(workshop, S.CLAIMED)
    shutil.rmtree(past.job.work_dir)
    workshop.start()
    await workshop.until(lambda: not len(workshop.engine.jobs))

    assert workshop.recorder.states_of("image.png") == [S.RETURNED]
    assert workshop.api.calls == []


async def test_an_uploaded_job_is_paid_without_a_second_upload(workshop: Workshop) -> None:
    Past(workshop, S.UPLOADED).uploaded()
    await ends_well(workshop)

    assert workshop.api.called("upload") == []


async def test_an_upload_that_the_api_has_forgotten_is_repeated(workshop: Workshop) -> None:
    Past(workshop, S.UPLOADED)
    await ends_well(workshop)

    assert len(workshop.api.called("upload")) == 1


async def test_an_intent_that_was_accepted_is_found_and_not_paid_again(workshop: Workshop) -> None:
    Past(workshop, S.SUBMITTING).paid()
    await ends_well(workshop)

    assert workshop.api.called("generate") == []


async def test_an_intent_that_never_left_is_paid_after_the_wait(workshop: Workshop) -> None:
    Past(workshop, S.SUBMITTING).uploaded()
    began = workshop.clock.monotonic()
    await ends_well(workshop)

    assert workshop.api.paid[0].at - began >= workshop.settings.api.unknown_wait


@pytest.mark.parametrize("state", [S.ACCEPTED, S.UNKNOWN])
@pytest.mark.parametrize("announced", [0, 1])
async def test_a_job_that_waits_for_its_result_finds_it(workshop: Workshop, state: JobState, announced: int) -> None:
    Past(workshop, state).paid(Fate(announced=announced))
    await ends_well(workshop)

    assert workshop.api.called("generate") == []


async def test_a_rendered_job_is_fetched(workshop: Workshop) -> None:
    Past(workshop, S.RENDERED).paid()
    await ends_well(workshop)

    assert len(workshop.api.called("download")) == 1


async def test_a_half_finished_download_is_fetched_anew(workshop: Workshop) -> None:
    past = Past(workshop, S.RENDERED).paid()
    past.put(workshop.spool.incoming(past.job.id), RESULT[:10])
    await ends_well(workshop)


async def test_a_download_that_is_in_the_spool_but_not_in_the_store_is_not_fetched_again(workshop: Workshop) -> None:
    Past(workshop, S.RENDERED).paid().downloaded()
    await ends_well(workshop)

    assert workshop.api.called("download") == []


async def test_a_downloaded_job_is_delivered(workshop: Workshop) -> None:
    Past(workshop, S.DOWNLOADED).paid().downloaded()
    await ends_well(workshop)

    assert workshop.api.called("download") == []


async def test_result_in_the_outbox_that_was_not_stored_is_not_delivered_twice(
    workshop: Workshop,
) -> None:
    past = Past(workshop, S.DOWNLOADED).paid().downloaded()
    past.write(target=workshop.hot[0].outbox / "image.png")
    past.put(workshop.hot[0].outbox / "image.png", RESULT)
    await ends_well(workshop)


async def test_a_delivered_job_puts_its_original_away(workshop: Workshop) -> None:
    past = Past(workshop, S.DELIVERED).paid().downloaded()
    past.put(workshop.hot[0].outbox / "image.png", RESULT)
    past.write(target=workshop.hot[0].outbox / "image.png")
    await ends_well(workshop)


async def test_an_original_that_was_archived_but_not_written_down_stays_where_it_is(workshop: Workshop) -> None:
    past = Past(workshop, S.DELIVERED).paid().downloaded()
    past.put(workshop.hot[0].outbox / "image.png", RESULT)
    past.write(target=workshop.hot[0].outbox / "image.png", archived_to=workshop.hot[0].done / "image.png")
    past.job.work_file.rename(workshop.hot[0].done / "image.png")
    await ends_well(workshop)


async def test_a_done_job_that_was_not_closed_is_closed(workshop: Workshop) -> None:
    past = Past(workshop, S.DONE).paid()
    past.put(workshop.hot[0].outbox / "image.png", RESULT)
    past.job.work_file.rename(workshop.hot[0].done / "image.png")
    past.job.work_dir.rmdir()
    await ends_well(workshop)

    assert workshop.store.rows[past.job.id].closed


async def test_a_failed_job_reaches_the_error_folder(workshop: Workshop) -> None:
    past = Past(workshop, S.FAILED)
    workshop.start()
    await workshop.until(lambda: workshop.store.rows[past.job.id].closed)

    assert workshop.names("error") == ["image.png", "image.png.error.json"]
    assert workshop.in_work() == []


async def test_a_returned_job_reaches_the_inbox_and_is_picked_up_anew(workshop: Workshop) -> None:
    past = Past(workshop, S.RETURNED)
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == ["image.png"])

    assert workshop.store.rows[past.job.id].closed
    assert len(workshop.api.paid) == 1
    assert len(workshop.store.rows) == 2


async def test_files_in_the_work_folder_that_no_job_owns_go_back_to_the_inbox(workshop: Workshop) -> None:
    work = workshop.hot[0].work
    (work / "stray-1").mkdir()
    (work / "stray-1" / "pic.png").write_bytes(an_image())
    (work / "stray-1" / ".upright").write_bytes(b"ours")
    (work / "stray-2").mkdir()
    workshop.start()
    recovered = await workshop.event(lambda event: isinstance(event, Recovered))
    await workshop.closed("pic.png")

    assert recovered == Recovered(0, 1)
    assert list(work.iterdir()) == []
    assert workshop.names("done") == ["pic.png"]


async def test_nothing_is_paid_before_what_was_paid_for_is_known(workshop: Workshop) -> None:
    Past(workshop, S.ACCEPTED).paid(Fate(seconds=120.0))
    workshop.api.script("notifications", Slow(30.0))
    workshop.drop("new.png")
    workshop.start()
    await workshop.closed("new.png")
    first = workshop.api.called("notifications")[0]

    assert len(workshop.api.called("upload")) == 1
    assert workshop.api.called("generate")[0].began >= (first.ended or 0.0) > 1_050.0


async def test_slots_that_were_in_use_before_are_in_use_again(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(workers=1)
    Past(workshop, S.ACCEPTED).paid(Fate(seconds=300.0))
    workshop.drop("new.png")
    workshop.start()
    await workshop.advance(120.0)
    meanwhile = len(workshop.api.paid)
    await workshop.closed("new.png")

    assert meanwhile == 1


async def test_a_held_job_does_not_hold_back_the_others(workshop: Workshop) -> None:
    past = Past(workshop, S.UNKNOWN)
    past.write(held=True)
    workshop.api.history_answers = False
    workshop.start()
    workshop.drop("new.png")
    await workshop.closed("new.png", within=120.0)

    assert len(workshop.api.paid_for("new.png")) == 1
    assert workshop.recorder.of(JobHeld) == []


async def test_a_lost_answer_before_a_crash_is_still_paid_once(workshop: Workshop) -> None:
    workshop.api.script("generate", Lose())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    await workshop.crash()
    workshop.start()
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 1


async def test_a_lost_store_loses_no_file_and_pays_nothing_twice(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UPLOADED)
    await workshop.crash()
    workshop.store = MemoryJobStore()
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == ["pic.png"] and not len(workshop.engine.jobs))

    assert workshop.in_work() == []
    assert workshop.names("outbox") == ["pic.png"]
    assert len(workshop.api.paid) == 1


def test_every_state_has_a_test_of_its_restart() -> None:
    told = {S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.UNKNOWN, S.RENDERED}
    told |= {S.DOWNLOADED, S.DELIVERED, S.DONE, S.FAILED, S.RETURNED}

    assert told == set(JobState)
    assert isinstance(a_job_in(S.CLAIMED), Job)


async def test_original_that_comes_back_after_its_job_is_archived_unpaid(
    workshop: Workshop,
) -> None:
    """Its inbox was renamed aside, and came back when nobody waited for it any more."""
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    job = workshop.recorder.latest("pic.png")
    await workshop.crash()
    job.work_dir.mkdir()
    (workshop.hot[0].done / "pic.png").rename(job.work_file)
    await workshop.folders.write_record(job)
    workshop.start()
    await workshop.finished()

    assert workshop.names("done") == ["pic.png"]
    assert workshop.in_work() == []
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize(("days", "tries", "held"), [(2, 5000, True), (0, 5000, False), (2, 20, False)])
async def test_link_dead_for_a_day_needs_a_person(workshop: Workshop, days: int, tries: int, held: bool) -> None:
    past = Past(workshop, S.RENDERED).uploaded()
    past.write(
        attempts=tries, state_changes=tuple(replace(one, at=one.at - days * 86400.0) for one in past.job.state_changes)
    )
    workshop.start()
    await workshop.advance(3 * 3600.0)
    [job] = workshop.engine.jobs

    assert job.held is held
    assert workshop.names("error") == []
    assert len(workshop.api.called("download")) >= 3
    assert workshop.api.called("generate") == []


async def test_a_result_that_cannot_be_fetched_is_given_up_when_a_person_says_so(workshop: Workshop) -> None:
    past = Past(workshop, S.RENDERED).uploaded()
    past.write(
        attempts=5000, state_changes=tuple(replace(one, at=one.at - 2 * 86400.0) for one in past.job.state_changes)
    )
    workshop.start()
    await workshop.event(lambda event: isinstance(event, JobHeld))
    workshop.store.requests.append(Command(verb=Verb.PAID, at=0.0, job_id=past.job.id, number=1))
    await workshop.advance(60.0)

    assert workshop.names("error") == ["image.png", "image.png.error.json"]
    assert workshop.api.called("generate") == []


async def test_results_that_never_come_keep_no_slot_after_a_restart(make_workshop: Callable[..., Workshop]) -> None:
    """They have been waited for long enough before it: each restart would stop everything for as long again."""
    workshop = make_workshop(workers=2)
    lost = ["lost-0.png", "lost-1.png", "lost-2.png"]
    for name in lost:
        workshop.api.fates[name] = Fate(announced=0, in_history=False)
    workshop.start()
    for name in lost:
        workshop.drop(name)
    await workshop.until(lambda: len(workshop.api.paid) == len(lost), within=3 * workshop.settings.api.unknown_wait)
    await workshop.advance(2 * workshop.settings.api.unknown_wait)
    for number in range(3):
        await workshop.crash()
        workshop.start()
        workshop.drop(f"good-{number}.png")
        await workshop.closed(f"good-{number}.png", within=60.0)

    assert workshop.names("outbox") == ["good-0.png", "good-1.png", "good-2.png"]
