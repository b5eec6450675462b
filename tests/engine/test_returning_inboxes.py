"""Inboxes that go away with what is in work, and come back, or never do: nothing is lost unseen or paid for twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.errors import AccountAway, FolderAway
from expandd.domain.events import JobClosed, OriginalLost, StrayStuck
from expandd.domain.job import Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Originals
from tests.support.fake_api import Fate
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

S = JobState
Make = Callable[..., Workshop]

SOON = 120.0
"""Seconds within which it is settled what became of a file whose inbox is another one."""


def aside(workshop: Workshop) -> Path:
    """The inbox is renamed aside."""
    away = workshop.hot[0].inbox.with_name("aside")
    workshop.hot[0].inbox.rename(away)
    return away


def back(workshop: Workshop, away: Path) -> None:
    """It takes its place again, whatever lies there meanwhile."""
    shutil.rmtree(workshop.hot[0].inbox, ignore_errors=True)
    away.rename(workshop.hot[0].inbox)


def made_anew(workshop: Workshop) -> None:
    shutil.rmtree(workshop.hot[0].inbox)
    workshop.hot[0].inbox.mkdir()


async def in_state(workshop: Workshop, state: JobState) -> Job:
    """The job of `pic.png` in this state, and kept there while its inbox is seen to."""
    if state is S.CLAIMED:
        workshop.api.away["upload"] = AccountAway(PauseReason.API_UNREACHABLE, "no network")
    if state is S.UPLOADED:
        workshop.api.away["generate"] = AccountAway(PauseReason.NO_CREDITS, "no credits are left")
    workshop.api.fate = Fate(seconds=30.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", state)
    await workshop.advance(5.0)
    [job] = workshop.engine.jobs
    return job


async def all_over(workshop: Workshop) -> None:
    await workshop.until(lambda: not len(workshop.engine.jobs) and workshop.names("done") == ["pic.png"], within=900.0)


@pytest.mark.parametrize("state", [S.CLAIMED, S.UPLOADED, S.ACCEPTED])
@pytest.mark.parametrize("remade", [False, True])
@pytest.mark.parametrize("seconds", [2.0, 60.0, 600.0])
async def test_a_file_in_work_whose_inbox_is_renamed_aside_and_back_is_expanded_once(
    workshop: Workshop, state: JobState, remade: bool, seconds: float
) -> None:
    await in_state(workshop, state)
    away = aside(workshop)
    if remade:
        workshop.hot[0].inbox.mkdir()
    await workshop.advance(seconds)
    back(workshop, away)
    workshop.api.heal()
    await all_over(workshop)

    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == ["pic.png"]
    assert workshop.in_work() == []
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize("state", [S.CLAIMED, S.UPLOADED, S.ACCEPTED])
async def test_it_comes_back_while_expandd_does_not_run(workshop: Workshop, state: JobState) -> None:
    await in_state(workshop, state)
    away = aside(workshop)
    workshop.hot[0].inbox.mkdir()
    await workshop.advance(600.0)
    await workshop.crash()
    back(workshop, away)
    workshop.api.heal()
    workshop.start()
    await all_over(workshop)

    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == ["pic.png"]
    assert len(workshop.api.paid) == 1


async def test_only_the_work_folder_is_moved_away_and_back(workshop: Workshop) -> None:
    await in_state(workshop, S.UPLOADED)
    work = workshop.hot[0].work
    work.rename(work.with_name("kept"))
    await workshop.advance(120.0)
    shutil.rmtree(work, ignore_errors=True)
    work.with_name("kept").rename(work)
    workshop.api.heal()
    await all_over(workshop)

    assert workshop.names("done") == ["pic.png"]
    assert len(workshop.api.paid) == 1


async def test_a_folder_that_a_reload_takes_away_and_adds_again_gets_its_files_back(workshop: Workshop) -> None:
    await in_state(workshop, S.UPLOADED)
    settings = workshop.settings
    workshop.engine.reconfigure(replace(settings, folders=()))
    away = aside(workshop)
    workshop.hot[0].work.mkdir(parents=True)
    await workshop.advance(10.0)
    back(workshop, away)
    workshop.api.heal()
    workshop.engine.reconfigure(settings)
    await all_over(workshop)

    assert workshop.names("done") == ["pic.png"]
    assert len(workshop.api.paid) == 1


async def test_an_original_that_comes_back_after_it_was_given_up_is_put_to_rest(workshop: Workshop) -> None:
    job = await in_state(workshop, S.ACCEPTED)
    away = aside(workshop)
    workshop.hot[0].inbox.mkdir()
    await workshop.closed("pic.png", within=SOON)
    lost = workshop.names("done")
    back(workshop, away)
    await workshop.until(lambda: workshop.names("done") == ["pic.png"], within=SOON)

    assert lost == []
    assert workshop.store.rows[job.id].archived_to == workshop.hot[0].done / "pic.png"
    assert not workshop.store.rows[job.id].original_lost
    assert len(workshop.api.paid) == 1


# --- it never comes back ---


@pytest.mark.parametrize("originals", list(Originals))
@pytest.mark.parametrize("loss", ["inbox", "work folder", "job directory", "file"])
async def test_a_paid_image_whose_original_somebody_removed_is_delivered_told_and_over(
    make_workshop: Make, originals: Originals, loss: str
) -> None:
    workshop = make_workshop(originals=originals, sidecar=True)
    job = await in_state(workshop, S.ACCEPTED)
    if loss == "inbox":
        made_anew(workshop)
    elif loss == "work folder":
        shutil.rmtree(workshop.hot[0].work)
    elif loss == "job directory":
        shutil.rmtree(job.work_dir)
    else:
        job.work_file.unlink()
    await workshop.closed("pic.png", within=SOON)
    told = json.loads((workshop.hot[0].outbox / "pic.png.json").read_text())
    [event] = workshop.recorder.of(OriginalLost)

    assert workshop.names("outbox") == ["pic.png", "pic.png.json"]
    assert event.job.relative == Path("pic.png")
    assert told["source"]["lost"] is True
    assert workshop.store.rows[job.id].original_lost
    assert "somebody removed it" in workshop.store.rows[job.id].note
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize("originals", list(Originals))
async def test_an_original_that_is_where_it_belongs_is_never_called_lost(
    make_workshop: Make, originals: Originals
) -> None:
    workshop = make_workshop(originals=originals, sidecar=True)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    told = json.loads((workshop.hot[0].outbox / "pic.png.json").read_text())
    [job] = workshop.store.rows.values()

    assert workshop.recorder.of(OriginalLost) == []
    assert told["source"]["lost"] is False
    assert not job.original_lost


@pytest.mark.parametrize("loss", ["inbox", "job directory", "file"])
async def test_an_unpaid_image_whose_file_somebody_removed_is_given_up_and_over(workshop: Workshop, loss: str) -> None:
    job = await in_state(workshop, S.UPLOADED)
    if loss == "inbox":
        made_anew(workshop)
    elif loss == "job directory":
        shutil.rmtree(job.work_dir)
    else:
        job.work_file.unlink()
    await workshop.closed("pic.png", within=SOON)
    [event] = workshop.recorder.of(JobClosed)
    workshop.api.heal()
    await workshop.advance(60.0)

    assert event.job.state is S.RETURNED
    assert event.job.note
    assert workshop.api.paid == []


@pytest.mark.parametrize("state", [S.UPLOADED, S.ACCEPTED])
async def test_an_inbox_that_is_only_away_is_waited_for(workshop: Workshop, state: JobState) -> None:
    await in_state(workshop, state)
    away = aside(workshop)
    await workshop.advance(1500.0)
    waiting = len(workshop.engine.jobs)
    back(workshop, away)
    workshop.api.heal()
    await all_over(workshop)

    assert waiting == 1
    assert workshop.recorder.of(OriginalLost) == []
    assert workshop.names("done") == ["pic.png"]
    assert len(workshop.api.paid) == 1


# --- odd things in the work folder ---


class OneStuck:
    """The real folders, but that nothing comes out of the work directory `bad`."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def return_stray(self, inbox: Path, job_id: str) -> int:
        if job_id == "bad":
            raise FolderAway(PauseReason.STORAGE_UNAVAILABLE, "it may not be touched")
        returned: int = await self._real.return_stray(inbox, job_id)
        return returned


async def test_one_stray_that_cannot_be_returned_keeps_back_no_other(workshop: Workshop) -> None:
    work = workshop.hot[0].work
    for name in ("bad", "good"):
        (work / name).mkdir()
        (work / name / f"{name}.png").write_bytes(an_image())
    workshop.folders = OneStuck(workshop.folders)
    workshop.start()
    await workshop.closed("good.png", within=SOON)
    await workshop.advance(3600.0)

    assert workshop.names("done") == ["good.png"]
    assert [event.job_id for event in workshop.recorder.of(StrayStuck)] == ["bad"]
    assert workshop.in_work() == ["bad.png"]
