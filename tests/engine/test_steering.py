from __future__ import annotations

import pytest

from expandd.domain.commands import Command, Verb
from expandd.domain.errors import FaultCode, OutcomeUnknown
from expandd.domain.events import JobHeld
from expandd.domain.job import JobState
from tests.support.fake_api import Fate, Refuse
from tests.support.workshop import Workshop

S = JobState


async def held(workshop: Workshop) -> str:
    """Bring a job to where only a person can decide about it; its id."""
    workshop.api.history_answers = False
    workshop.api.script("generate", Refuse(OutcomeUnknown("the connection was reset")))
    workshop.start()
    workshop.drop("pic.png")
    event = await workshop.event(lambda event: isinstance(event, JobHeld))
    assert isinstance(event, JobHeld)
    return event.job.id


async def test_an_image_that_a_person_calls_not_paid_is_paid_once(workshop: Workshop) -> None:
    job_id = await held(workshop)
    workshop.store.requests.append(Command(verb=Verb.NOT_PAID, at=0.0, job_id=job_id, number=1))
    await workshop.closed("pic.png", within=60.0)

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.store.requests == []


async def test_image_resolved_as_paid_goes_to_error_and_is_not_paid_again(
    workshop: Workshop,
) -> None:
    job_id = await held(workshop)
    workshop.store.requests.append(Command(verb=Verb.PAID, at=0.0, job_id=job_id, number=1))
    await workshop.closed("pic.png", within=60.0)
    fault = workshop.recorder.latest("pic.png").fault

    assert fault is not None
    assert fault.code is FaultCode.GIVEN_UP_BY_PERSON
    assert len(workshop.api.called("generate")) == 1
    assert workshop.names("error") == ["pic.png", "pic.png.error.json"]


@pytest.mark.parametrize("verb", [Verb.PAID, Verb.NOT_PAID])
async def test_a_decision_about_a_job_that_found_its_own_way_is_dropped(workshop: Workshop, verb: Verb) -> None:
    workshop.api.fate = Fate(seconds=60.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    [job] = workshop.engine.jobs
    workshop.store.requests += [
        Command(verb=verb, at=0.0, job_id=job.id, number=1),
        Command(verb=verb, at=0.0, job_id="no such job", number=2),
    ]
    await workshop.closed("pic.png")

    assert workshop.store.requests == []
    assert workshop.names("outbox") == ["pic.png"]
    assert len(workshop.api.paid) == 1


async def test_decisions_wait_while_the_store_is_away(workshop: Workshop) -> None:
    job_id = await held(workshop)
    workshop.store.requests.append(Command(verb=Verb.NOT_PAID, at=0.0, job_id=job_id, number=1))
    workshop.store.away = True
    await workshop.advance(60.0)
    meanwhile = len(workshop.store.requests)
    workshop.store.away = False
    await workshop.closed("pic.png")

    assert meanwhile == 1
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize("eighths", range(48))
async def test_a_decision_that_meets_a_result_on_its_way_harms_nobody(workshop: Workshop, eighths: int) -> None:
    workshop.api.script("generate", Refuse(OutcomeUnknown("the connection was reset")))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.UNKNOWN)
    [job] = workshop.engine.jobs
    # The result of an earlier try, or of one the API took after all, comes while a person decides.
    workshop.store.clock, workshop.store.seconds = workshop.clock, 1.0
    await workshop.advance(eighths / 8)
    workshop.api.announce_result(job.image_id)
    workshop.store.requests.append(Command(verb=Verb.PAID, at=0.0, job_id=job.id, number=1))
    await workshop.closed("pic.png")

    assert workshop.store.requests == []
    assert len(workshop.names("outbox")) + len(workshop.names("error")) in {1, 2}
