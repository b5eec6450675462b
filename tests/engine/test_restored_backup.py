"""The job database comes back as it was before the paid calls; the files in work lie as they were left."""

from __future__ import annotations

import shutil

import pytest

from expandd.domain.errors import AccountAway
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Fate, Lose, Refuse
from tests.support.fakes import MemoryJobStore
from tests.support.workshop import HOUR, Workshop

S = JobState

NAMES = ["a.png", "b.png", "c.png"]

LATER = (S.ACCEPTED, S.RENDERED, S.DOWNLOADED, S.DELIVERED)
"""How far the work had come when the machine was lost."""


class Backup:
    """What the state directory held at one instant."""

    def __init__(self, workshop: Workshop) -> None:
        self.rows = dict(workshop.store.rows)
        self.spool = workshop.spool.path("x").parent
        self.files = {path.name: path.read_bytes() for path in self.spool.iterdir()}

    def restore(self, workshop: Workshop) -> None:
        workshop.store = MemoryJobStore(*self.rows.values())
        shutil.rmtree(self.spool)
        self.spool.mkdir()
        for name, content in self.files.items():
            (self.spool / name).write_bytes(content)


async def ends_well(workshop: Workshop) -> None:
    workshop.start()
    await workshop.until(lambda: workshop.names("done") == NAMES and not len(workshop.engine.jobs))

    assert [len(workshop.api.paid_for(name)) for name in NAMES] == [1, 1, 1]
    # What was delivered before the machine was lost may be delivered once more; it is there in any case.
    assert {name.replace("-2", "") for name in workshop.names("outbox")} == set(NAMES)
    assert workshop.in_work() == []
    assert sum(one.images for one in await workshop.store.spent(workshop.clock.today())) == 3


async def at(workshop: Workshop, state: JobState) -> None:
    await workshop.until(lambda: all(state in workshop.recorder.states_of(name) for name in NAMES))


@pytest.mark.parametrize("taken", [None, S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.ACCEPTED])
@pytest.mark.parametrize("lost", LATER)
async def test_what_was_paid_since_the_backup_is_asked_for_and_not_paid_again(
    workshop: Workshop, taken: JobState | None, lost: JobState
) -> None:
    workshop.api.fate = Fate(seconds=20.0)
    backup = Backup(workshop)
    workshop.start()
    for name in NAMES:
        workshop.drop(name)
    if taken is not None:
        await at(workshop, taken)
        backup = Backup(workshop)
    if lost is S.DELIVERED:
        await at(workshop, S.ACCEPTED)
        # What is delivered stays in work until its original can be archived.
        done = workshop.hot[0].done
        done.rename(done.with_name("elsewhere"))
    await at(workshop, lost)
    await workshop.crash()
    if lost is S.DELIVERED:
        done.with_name("elsewhere").rename(done)
    backup.restore(workshop)
    await ends_well(workshop)


async def test_a_lost_answer_since_the_backup_is_asked_for(workshop: Workshop) -> None:
    workshop.api.script("generate", Lose(), Lose(), Lose())
    workshop.start()
    for name in NAMES:
        workshop.drop(name)
    await at(workshop, S.UPLOADED)
    backup = Backup(workshop)
    await at(workshop, S.UNKNOWN)
    await workshop.crash()
    backup.restore(workshop)
    await ends_well(workshop)


async def test_files_whose_inbox_is_away_at_the_start_are_asked_about_when_it_is_back(workshop: Workshop) -> None:
    workshop.start()
    for name in NAMES:
        workshop.drop(name)
    await at(workshop, S.UPLOADED)
    backup = Backup(workshop)
    await at(workshop, S.ACCEPTED)
    await workshop.crash()
    backup.restore(workshop)
    aside = workshop.hot[0].inbox.rename(workshop.hot[0].inbox.with_name("aside"))
    workshop.start()
    await workshop.advance(60.0)
    aside.rename(workshop.hot[0].inbox)
    await workshop.until(lambda: workshop.names("done") == NAMES and not len(workshop.engine.jobs))

    assert len(workshop.api.paid) == 3


async def test_restored_backup_does_not_pay_for_a_job_that_is_over(
    workshop: Workshop,
) -> None:
    workshop.start()
    for name in NAMES:
        workshop.drop(name)
    await at(workshop, S.UPLOADED)
    backup = Backup(workshop)
    await workshop.finished()
    await workshop.crash()
    backup.restore(workshop)
    workshop.start()
    await workshop.advance(HOUR)
    paid = len(workshop.api.paid)
    (workshop.hot[0].done / "a.png").rename(workshop.hot[0].inbox / "a.png")
    workshop.watcher.hint(workshop.hot[0].inbox / "a.png")
    await workshop.until(lambda: workshop.names("inbox") == [] and "a.png" in workshop.names("done"))

    assert paid == 3
    assert len(workshop.api.paid_for("a.png")) == 2


async def test_a_call_that_was_refused_leaves_a_record_that_tells_nothing_new(workshop: Workshop) -> None:
    workshop.api.script("generate", Refuse(AccountAway(PauseReason.NO_CREDITS, "402")))
    workshop.start()
    workshop.drop("a.png")
    await workshop.until(lambda: workshop.recorder.states_of("a.png").count(S.UPLOADED) == 2)
    await workshop.crash()
    workshop.start()
    await workshop.closed("a.png", within=600.0)

    assert S.UNKNOWN not in workshop.recorder.states_of("a.png")
    assert len(workshop.api.paid) == 1
