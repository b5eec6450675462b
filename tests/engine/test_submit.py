from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from expandd.domain.errors import AccountAway, Fault, FaultCode, FileFault, ImageIdRefused, Later
from expandd.domain.events import FileSettled, PauseStarted
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Refuse, Slow
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

S = JobState
REFUSED = Refuse(ImageIdRefused("the image is bad or expired"))


async def test_a_refused_image_id_is_mended_by_another_upload(workshop: Workshop) -> None:
    workshop.api.script("generate", REFUSED)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("upload")) == 2
    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_an_image_id_that_stays_refused_is_given_up_after_three_uploads(workshop: Workshop) -> None:
    workshop.api.script("generate", *[REFUSED] * 10)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("upload")) == 3
    assert workshop.api.paid == []
    assert workshop.names("error") == ["pic.png", "pic.png.error.json"]


async def test_an_upload_older_than_23_hours_is_repeated_before_the_paid_call(workshop: Workshop) -> None:
    workshop.api.credits = 0
    workshop.start()
    workshop.drop("pic.png")
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    workshop.clock.step_wall(23.5 * 3600.0)
    workshop.api.credits = 5
    await workshop.closed("pic.png")
    [paid] = workshop.api.paid

    assert len(workshop.api.called("upload")) == 2
    assert paid.image_id == list(workshop.api.images)[-1]


async def test_refused_paid_calls_do_not_renew_the_age_of_an_upload(
    workshop: Workshop,
) -> None:
    refusal = Refuse(AccountAway(PauseReason.NO_CREDITS, "no credits are left"))
    workshop.api.script("generate", *[refusal] * 5_000)
    workshop.start()
    workshop.drop("pic.png")
    uploads = []
    for _ in range(3):
        await workshop.advance(600.0)
        uploads.append(len(workshop.api.called("upload")))
        workshop.clock.step_wall(11.9 * 3600.0)

    # The API will have let go of the first upload soon; it is repeated before that.
    await workshop.advance(600.0)

    assert uploads == [1, 1, 2]
    assert len(workshop.api.called("generate")) > 20


async def test_days_without_credits_never_send_an_image_to_the_error_folder(workshop: Workshop) -> None:
    workshop.api.credits = 0
    workshop.start()
    workshop.drop("pic.png")
    for day in range(1, 6):
        await workshop.until(lambda day=day: len(workshop.api.called("upload")) == day)  # type: ignore[misc]  # mypy infers no type of a lambda with a default
        await workshop.advance(120.0)
        workshop.clock.step_wall(24 * 3600.0)
    workshop.api.credits = 5
    workshop.api.script("generate", REFUSED)
    await workshop.closed("pic.png")

    assert workshop.names("error") == []
    assert len(workshop.api.paid) == 1


async def test_a_wall_clock_that_was_set_back_only_costs_an_upload(workshop: Workshop) -> None:
    workshop.api.credits = 0
    workshop.start()
    workshop.drop("pic.png")
    await workshop.event(lambda event: isinstance(event, PauseStarted))
    workshop.clock.step_wall(-7 * 24 * 3600.0)
    workshop.api.credits = 5
    await workshop.closed("pic.png")

    assert len(workshop.api.called("upload")) == 2
    assert len(workshop.api.paid) == 1


async def test_a_late_writer_gets_the_file_back_and_nothing_is_paid(workshop: Workshop) -> None:
    workshop.api.script("upload", Slow(5.0))
    workshop.start()
    with workshop.drop("pic.png").open("r+b") as writer:
        await workshop.until(lambda: bool(workshop.api.called("upload")))
        # An SMB client that still has the file open writes on after the claim has renamed it.
        writer.write(b"ima")
        writer.truncate()
        await workshop.reached("pic.png", S.RETURNED)
        await workshop.until(lambda: workshop.names("inbox") == ["pic.png"])
        nothing_paid = not workshop.api.called("generate")
        writer.seek(0)
        writer.write(an_image(note="whole at last"))
    await workshop.reached("pic.png", S.DONE)

    assert nothing_paid
    assert workshop.names("done") == ["pic.png"]
    assert (workshop.hot[0].done / "pic.png").read_bytes() == an_image(note="whole at last")
    assert len(workshop.api.paid) == 1


async def test_a_file_that_a_person_takes_away_before_it_is_paid_is_let_go(workshop: Workshop) -> None:
    workshop.api.away["generate"] = AccountAway(PauseReason.NO_CREDITS, "no credits are left")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: bool(workshop.api.called("generate")))
    next(path for path in workshop.hot[0].work.rglob("pic.png")).unlink()
    await workshop.closed("pic.png")

    assert workshop.recorder.states_of("pic.png")[-1] is S.RETURNED
    assert workshop.api.paid == []
    assert list(workshop.hot[0].work.iterdir()) == []


async def test_a_file_that_changes_at_the_moment_of_the_claim_is_put_back(workshop: Workshop) -> None:
    workshop.store.clock, workshop.store.seconds = workshop.clock, 1.0
    workshop.start()
    path = workshop.drop("pic.png")
    await workshop.event(lambda event: isinstance(event, FileSettled))
    # The job is being written down; its file is renamed after that.
    await workshop.advance(0.5)
    path.write_bytes(an_image(note="a newer version, longer"))
    await workshop.reached("pic.png", S.DONE)

    assert workshop.recorder.states_of("pic.png")[:2] == [S.CLAIMED, S.RETURNED]
    assert (workshop.hot[0].done / "pic.png").read_bytes() == an_image(note="a newer version, longer")
    assert len(workshop.api.paid) == 1


async def test_replaced_file_is_not_paid_for(workshop: Workshop) -> None:
    workshop.api.away["generate"] = AccountAway(PauseReason.NO_CREDITS, "no credits are left")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: bool(workshop.api.called("generate")))
    claimed = next(path for path in workshop.hot[0].work.rglob("pic.png"))
    os.utime(claimed, ns=(1, 1))
    workshop.api.heal()
    await workshop.reached("pic.png", S.DONE)

    assert workshop.recorder.states_of("pic.png").count(S.RETURNED) == 1
    assert len(workshop.api.paid) == 1
    assert workshop.names("done") == ["pic.png"]


@pytest.mark.parametrize(
    "refusal",
    [
        # 413, 422: this image is refused
        FileFault(Fault(FaultCode.REFUSED_BY_API, "The API refused this image.", "Save it again.")),
    ],
)
@pytest.mark.parametrize("endpoint", ["upload", "generate"])
async def test_an_image_the_api_refuses_goes_to_error_unpaid(
    workshop: Workshop, endpoint: str, refusal: FileFault
) -> None:
    workshop.api.script(endpoint, Refuse(refusal))
    workshop.start()
    workshop.drop("bad.png")
    workshop.drop("good.png")
    await workshop.closed("bad.png", "good.png")
    [failed] = [name for name in workshop.names("error") if name.endswith(".png")]

    assert failed in {"bad.png", "good.png"}
    assert len(workshop.api.paid) == 1
    assert '"paid": false' in (workshop.hot[0].error / f"{failed}.error.json").read_text()


@pytest.mark.parametrize(
    "refusal",
    [
        Later("this call only"),  # a body that may be read next time
        AccountAway(PauseReason.API_UNREACHABLE, "no route to host"),  # connection refused: nothing was sent
        AccountAway(PauseReason.LOGIN_REFUSED, "401"),  # the token was rejected
        AccountAway(PauseReason.NO_CREDITS, "402"),  # no credits
        AccountAway(PauseReason.RATE_LIMITED, "429", 7.0),  # too many requests
        AccountAway(PauseReason.ENDPOINT_NOT_FOUND, "404"),  # generate_path is wrong
    ],
)
async def test_a_refusal_that_proves_nothing_was_made_is_tried_again(
    workshop: Workshop, refusal: AccountAway | Later
) -> None:
    workshop.api.script("generate", Refuse(refusal))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("generate")) == 2
    assert len(workshop.api.paid) == 1
    assert S.UNKNOWN not in workshop.recorder.states_of("pic.png")


async def test_nothing_is_bought_that_the_outbox_cannot_take(workshop: Workshop) -> None:
    workshop.hot[0].outbox.rmdir()
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(3600.0)
    before = len(workshop.api.called("generate"))
    workshop.hot[0].outbox.mkdir()
    await workshop.closed("pic.png")

    assert before == 0
    assert len(workshop.api.paid) == 1


async def test_nothing_is_bought_that_the_done_folder_cannot_take(workshop: Workshop) -> None:
    workshop.hot[0].done.rmdir()
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(3600.0)
    before = len(workshop.api.called("generate"))
    workshop.hot[0].done.mkdir()
    await workshop.closed("pic.png")

    assert before == 0


async def test_nothing_is_bought_that_the_spool_cannot_take(workshop: Workshop) -> None:
    workshop.spool.full = True
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(3600.0)
    before = len(workshop.api.called("generate"))
    workshop.spool.full = False
    await workshop.closed("pic.png")

    assert before == 0
    assert len(workshop.api.paid) == 1


async def test_a_folder_that_cannot_store_stops_itself_and_no_other(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=2, workers=2)
    workshop.hot[0].outbox.rmdir()
    workshop.start()
    for number in range(5):
        workshop.drop(f"stuck-{number}.png", folder=0)
        workshop.drop(f"free-{number}.png", folder=1)
    await workshop.closed(*(f"free-{number}.png" for number in range(5)))

    assert len(workshop.api.paid) == 5
    # Those that were claimed before the circuit breaker shut probe; the others stay where a person sees them.
    assert len(workshop.names("inbox", 0)) >= 3


async def test_an_inbox_whose_disk_is_gone_keeps_its_files_waiting(workshop: Workshop) -> None:
    workshop.api.away["generate"] = AccountAway(PauseReason.NO_CREDITS, "no credits are left")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: bool(workshop.api.called("generate")))
    away = workshop.hot[0].inbox.with_name("unmounted")
    workshop.hot[0].inbox.rename(away)
    await workshop.advance(600.0)
    away.rename(workshop.hot[0].inbox)
    del workshop.api.away["generate"]
    await workshop.closed("pic.png")

    assert workshop.recorder.states_of("pic.png")[-1] is S.DONE
    assert len(workshop.api.paid) == 1
