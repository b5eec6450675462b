from __future__ import annotations

import asyncio

from expandd.domain.job import JobState
from tests.support.fake_api import Fate, Slow
from tests.support.workshop import Workshop

S = JobState


async def test_a_stop_begins_nothing_new(workshop: Workshop) -> None:
    workshop.start()
    for number in range(10):
        workshop.drop(f"early-{number}.png")
    await workshop.advance(1.0)
    workshop.engine.stop()
    for number in range(10):
        workshop.drop(f"late-{number}.png")
    await workshop.advance(60.0)

    assert workshop.api.calls == []
    assert len(workshop.names("inbox")) == 20


async def test_a_stop_between_upload_and_payment_pays_nothing(workshop: Workshop) -> None:
    workshop.api.script("upload", Slow(5.0))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: bool(workshop.api.called("upload")))
    workshop.engine.stop()
    await workshop.advance(60.0)
    paid_meanwhile = len(workshop.api.called("generate"))
    await workshop.crash()
    workshop.start()
    await workshop.closed("pic.png")

    assert paid_meanwhile == 0
    assert len(workshop.api.called("upload")) == 1
    assert len(workshop.api.paid) == 1


async def test_at_rest_waits_for_what_is_paid_for(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=8.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    workshop.engine.stop()
    waiting = asyncio.create_task(workshop.engine.at_rest())
    await workshop.until(waiting.done)

    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == ["pic.png"]


async def test_an_idle_engine_is_at_rest_at_once(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(1.0)
    workshop.engine.stop()
    before = workshop.clock.monotonic()
    await workshop.until(asyncio.create_task(workshop.engine.at_rest()).done)

    assert workshop.clock.monotonic() == before


async def test_finished_is_never_said_while_a_file_is_on_its_way_into_the_store(workshop: Workshop) -> None:
    workshop.store.clock, workshop.store.seconds = workshop.clock, 5.0
    workshop.start()
    workshop.drop("pic.png")
    said: list[float] = []

    def looks() -> bool:
        if workshop.engine.finished:
            said.append(workshop.clock.monotonic())
        return workshop.names("done") == ["pic.png"] and workshop.engine.finished

    await workshop.until(looks)

    assert len(said) == 1


async def test_a_stop_does_not_wait_for_an_original_that_went_away_with_its_inbox(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=8.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    workshop.hot[0].inbox.rename(workshop.hot[0].inbox.with_name("aside"))
    await workshop.reached("pic.png", S.DELIVERED)
    await workshop.advance(10.0)
    workshop.engine.stop()
    waiting = asyncio.create_task(workshop.engine.at_rest())
    await workshop.until(waiting.done, within=60.0)

    assert workshop.names("outbox") == ["pic.png"]
