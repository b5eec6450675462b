from __future__ import annotations

import pytest

from expandd.domain.errors import AccountAway
from expandd.domain.events import JobMoved, PauseEnded, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Fate, Refuse
from tests.support.workshop import A_WHILE, Workshop

S = JobState


async def test_nothing_is_spent_while_the_store_is_away(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.CLAIMED)
    workshop.store.away = True
    await workshop.advance(A_WHILE)
    paid_meanwhile = len(workshop.api.called("generate"))
    shut = [breaker.shut.reason for breaker in workshop.engine.breakers.shut() if breaker.shut is not None]
    workshop.store.away = False
    await workshop.closed("pic.png")

    assert paid_meanwhile == 0
    assert shut == [PauseReason.DATABASE_UNAVAILABLE], "status says so"
    assert workshop.engine.breakers.shut() == ()
    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_a_file_that_comes_while_the_store_is_away_waits_where_it_is(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(1.0)
    workshop.store.away = True
    workshop.drop("pic.png")
    workshop.drop("notes.txt", b"no image at all")
    await workshop.advance(A_WHILE)
    waiting = workshop.names("inbox")
    workshop.store.away = False
    await workshop.closed("pic.png", "notes.txt")

    assert waiting == ["notes.txt", "pic.png"]
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("error") == ["notes.txt", "notes.txt.error.json"]


async def test_the_pause_ends_with_the_outage_though_nobody_has_anything_to_write(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(1.0)
    workshop.store.away = True
    workshop.drop("pic.png")
    await workshop.until(lambda: workshop.engine.breakers.shut() != ())
    (workshop.hot[0].inbox / "pic.png").unlink()
    await workshop.advance(A_WHILE)
    assert workshop.engine.breakers.shut() != ()

    workshop.store.away = False
    await workshop.advance(10.0)
    assert workshop.engine.breakers.shut() == ()
    assert workshop.recorder.of(PauseStarted) != []
    assert len(workshop.recorder.of(PauseEnded)) == 1


async def test_every_slot_is_free_again_after_the_store_was_away(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(1.0)
    workshop.store.away = True
    names = [f"pic-{number}.png" for number in range(8)]
    for name in names:
        workshop.drop(name)
    await workshop.advance(600.0)
    workshop.store.away = False
    await workshop.closed(*names)

    slots = workshop.engine.slots
    kinds = (slots.ahead, slots.generating, slots.downloads, slots.deliveries)
    assert [kind.spare for kind in kinds] == [4, 4, 5, 16]


async def test_a_result_that_comes_while_the_store_is_away_is_taken_afterwards(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=5.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    workshop.store.away = True
    await workshop.advance(300.0)
    workshop.store.away = False
    await workshop.closed("pic.png")

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]


SUBMITTING = 3
"""The write that says that the paid call is about to be sent."""


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("write", range(1, 14))
async def test_one_failed_write_wherever_it_is_neither_loses_nor_pays_twice(
    workshop: Workshop, write: int, lies: bool
) -> None:
    (workshop.store.lies if lies else workshop.store.fails).add(write)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: workshop.names("done") == ["pic.png"])
    await workshop.until(lambda: not len(workshop.engine.jobs))

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("inbox") == []
    assert workshop.in_work() == []
    if write <= SUBMITTING:
        assert S.UNKNOWN not in {event.job.state for event in workshop.recorder.of(JobMoved)}, "nothing was sent"


async def test_a_refusal_that_cannot_be_written_down_makes_no_lost_call_of_it(workshop: Workshop) -> None:
    workshop.api.script("generate", Refuse(AccountAway(PauseReason.RATE_LIMITED, "slowly", 1.0)))
    workshop.store.fails.add(SUBMITTING + 1)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert S.UNKNOWN not in {event.job.state for event in workshop.recorder.of(JobMoved)}
    assert len(workshop.api.paid) == 1


async def test_a_job_that_somebody_else_has_taken_over_is_let_go_of(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=20.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    [job] = workshop.store.rows.values()
    workshop.store.rows[job.id] = job.with_(owner="another host", epoch=1)
    await workshop.advance(600.0)

    assert len(workshop.engine.jobs) == 0
    assert workshop.store.rows[job.id].owner == "another host"
    assert workshop.store.rows[job.id].state is S.ACCEPTED
    assert workshop.api.deleted == []
