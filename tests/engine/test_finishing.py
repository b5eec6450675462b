"""Finishing: the result of a reduced or converted image gets its full size back, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from expandd.domain.errors import FaultCode
from expandd.domain.events import FinishFailed, JobClosed
from expandd.domain.job import Job, JobState
from expandd.domain.offsets import Amount, Offsets, Sides
from expandd.domain.result_rules import Accept, Oversize
from expandd.domain.settings import Duplicates
from tests.support.fakes import an_image, size_of
from tests.support.workshop import Workshop

S = JobState
CAMERA = an_image(6000, 4000, note="camera")
PRESET = Sides(top=Amount(Fraction(100)), left=Amount(Fraction(50)))
FULL = "6050×4100"


def delivered(workshop: Workshop, name: str, folder: int = 0) -> str:
    return str(size_of((workshop.hot[folder].outbox / name).read_bytes()))


async def test_a_camera_image_is_reduced_for_the_api_and_delivered_in_full_size(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.closed("photo.png")

    [paid] = workshop.api.paid
    sent = workshop.api.images[paid.image_id]
    assert str(size_of(sent.content)) == "4096×2731"
    assert paid.offsets == Offsets(top=69, left=35)
    assert delivered(workshop, "photo.png") == FULL
    assert workshop.images.finished == 1
    assert workshop.names("done") == ["photo.png"]


async def test_an_image_that_needs_nothing_is_neither_prepared_nor_finished(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("small.png", an_image(800, 600))
    await workshop.closed("small.png")

    [paid] = workshop.api.paid
    assert workshop.api.images[paid.image_id].content == an_image(800, 600)
    assert workshop.images.finished == 0


@pytest.mark.parametrize(
    ("changes", "code"), [({"oversize": Oversize.ERROR}, FaultCode.TOO_LARGE), ({"accept": Accept.API}, None)]
)
async def test_a_folder_may_refuse_what_is_too_large(
    make_workshop: Callable[..., Workshop], changes: dict[str, object], code: FaultCode | None
) -> None:
    workshop = make_workshop(preset=PRESET, **changes)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.closed("photo.png")

    [closed] = workshop.recorder.of(JobClosed)
    assert (closed.job.fault.code if closed.job.fault else None) is code
    assert len(workshop.api.paid) == (code is None)


async def test_a_process_that_dies_before_and_after_finishing_pays_once(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(preset=PRESET)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.reached("photo.png", S.DOWNLOADED)
    await workshop.crash()
    workshop.start()
    await workshop.until(lambda: workshop.images.finished > 0)
    await workshop.crash()
    workshop.start()
    await workshop.closed("photo.png")

    assert delivered(workshop, "photo.png") == FULL
    assert len(workshop.api.paid) == 1
    assert len(workshop.api.called("download")) == 1


async def held_up(workshop: Workshop) -> Job:
    """The job of a camera's photo.png that has been downloaded, and cannot be finished just now."""
    workshop.start()
    workshop.images.held_up = 1
    workshop.drop("photo.png", CAMERA)
    await workshop.until(lambda: workshop.images.finished > 0)
    [job] = workshop.store.rows.values()
    return job


async def test_nothing_is_known_of_bytes_while_their_spool_is_away(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(preset=PRESET)
    job = await held_up(workshop)
    bytes_of = workshop.spool.path(job.id)
    aside = bytes_of.with_name("aside")
    bytes_of.rename(aside)
    workshop.spool.full = True
    await workshop.advance(1800.0)
    assert workshop.store.rows[job.id].state is JobState.DOWNLOADED
    aside.rename(bytes_of)
    workshop.spool.full = False
    await workshop.closed("photo.png")

    assert delivered(workshop, "photo.png") == FULL
    assert len(workshop.api.called("download")) == 1


async def test_bytes_that_the_spool_has_lost_are_fetched_again_before_they_are_finished(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET)
    job = await held_up(workshop)
    workshop.spool.path(job.id).unlink()
    await workshop.closed("photo.png", within=120.0)

    assert delivered(workshop, "photo.png") == FULL
    assert workshop.recorder.of(FinishFailed) == []
    assert len(workshop.api.called("download")) == 2
    assert len(workshop.api.paid) == 1


async def test_finishing_is_tried_again_and_the_third_failure_delivers_what_the_api_made(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET, folders=2)
    workshop.start()
    workshop.images.unfinishable = 2
    workshop.drop("twice.png", CAMERA)
    await workshop.closed("twice.png")
    workshop.images.unfinishable = 3
    workshop.drop("thrice.png", CAMERA, folder=1)
    await workshop.closed("thrice.png")

    assert delivered(workshop, "twice.png") == FULL
    assert delivered(workshop, "thrice.png", 1) == "4131×2800"
    [failed] = workshop.recorder.of(FinishFailed)
    assert failed.job.relative.name == "thrice.png"
    assert "SIGKILL" in failed.why
    assert workshop.names("error", 1) == []
    assert len(workshop.api.paid) == 2


async def test_a_disk_that_holds_up_finishing_is_no_failure_of_the_image(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET, folders=2)
    workshop.start()
    workshop.images.held_up = 10
    workshop.drop("photo.png", CAMERA)
    await workshop.closed("photo.png")
    full, failed = delivered(workshop, "photo.png"), workshop.recorder.of(FinishFailed)
    workshop.images.held_up = 1000
    workshop.drop("never.png", CAMERA, folder=1)
    await workshop.closed("never.png")

    assert (full, failed) == (FULL, [])
    assert delivered(workshop, "never.png", 1) == "4131×2800"
    assert len(workshop.recorder.of(FinishFailed)) == 1


async def test_a_decoder_that_cannot_be_started_is_waited_for(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(preset=PRESET)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.reached("photo.png", S.RENDERED)
    workshop.images.away = "the interpreter was replaced"
    await workshop.advance(3600.0)
    waiting = workshop.names("outbox")
    workshop.images.away = ""
    await workshop.closed("photo.png")

    assert waiting == []
    assert delivered(workshop, "photo.png") == FULL
    assert workshop.recorder.of(FinishFailed) == []


async def test_a_finished_image_that_is_damaged_in_the_spool_is_finished_again(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.reached("photo.png", S.RENDERED)
    outbox = workshop.hot[0].outbox
    outbox.rmdir()
    await workshop.until(lambda: workshop.images.finished == 1)
    await workshop.advance(60.0)
    [job] = workshop.engine.jobs
    workshop.spool.finished(job.id).write_bytes(b"damaged")
    outbox.mkdir()
    await workshop.closed("photo.png")

    assert delivered(workshop, "photo.png") == FULL
    assert workshop.images.finished == 2
    assert len(workshop.api.called("download")) == 1


async def test_an_original_that_somebody_removed_costs_its_pixels_and_not_its_result(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.reached("photo.png", S.RENDERED)
    [job] = workshop.engine.jobs
    job.work_file.unlink()
    await workshop.closed("photo.png")

    assert delivered(workshop, "photo.png") == "4131×2800"
    [failed] = workshop.recorder.of(FinishFailed)
    assert "original" in failed.why


async def test_a_duplicate_is_finished_by_the_rules_of_its_own_and_paid_once(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(preset=PRESET, duplicates=Duplicates.REUSE)
    workshop.start()
    workshop.drop("photo.png", CAMERA)
    await workshop.closed("photo.png")
    workshop.drop("again.png", CAMERA)
    await workshop.closed("again.png")

    assert delivered(workshop, "again.png") == FULL
    assert workshop.images.finished == 2
    assert len(workshop.api.paid) == 1
