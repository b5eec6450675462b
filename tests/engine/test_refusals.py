"""A paid call that is refused: for what is sent along with every image, or for one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from expandd.domain.errors import Fault, FaultCode, FileFault
from expandd.domain.events import PauseStarted
from expandd.domain.pauses import PauseReason
from tests.support.fake_api import Refuse
from tests.support.workshop import Workshop

REFUSED = Refuse(FileFault(Fault(FaultCode.REFUSED_BY_API, "watermark: extra fields not permitted", "")))


def started(make_workshop: Callable[..., Workshop], **extra: bool) -> Workshop:
    workshop = make_workshop(workers=4)
    workshop.settings = replace(workshop.settings, api=replace(workshop.settings.api, generate_extra=extra))
    workshop.start()
    return workshop


async def test_refused_extra_fields_pause_and_send_no_image_to_error(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = started(make_workshop, watermark=True)
    workshop.api.script("generate", *[REFUSED] * 60)
    names = [f"pic-{number}.png" for number in range(6)]
    for name in names:
        workshop.drop(name)
    shut = await workshop.event(lambda event: isinstance(event, PauseStarted))
    await workshop.advance(600.0)
    asked = len(workshop.api.called("generate"))

    assert isinstance(shut, PauseStarted)
    assert shut.reason is PauseReason.REQUEST_REFUSED
    assert "api.generate_extra" in shut.why
    assert "watermark" in shut.why
    assert workshop.names("error") == []
    assert asked < 30

    workshop.api.heal()
    await workshop.closed(*names, within=1200.0)
    assert len(workshop.api.paid) == len(names)


async def test_single_refused_image_goes_to_error_despite_extra_fields(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = started(make_workshop, watermark=True)
    workshop.api.script("generate", *[REFUSED] * 3)
    workshop.drop("bad.png")
    await workshop.closed("bad.png", within=600.0)
    workshop.drop("good.png")
    await workshop.closed("good.png")

    assert workshop.names("error") == ["bad.png", "bad.png.error.json"]
    assert len(workshop.api.paid) == 1


async def test_a_refusal_is_of_its_image_where_nothing_is_sent_along(make_workshop: Callable[..., Workshop]) -> None:
    workshop = started(make_workshop)
    workshop.api.script("generate", *[REFUSED] * 3)
    names = [f"pic-{number}.png" for number in range(3)]
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert [name for name in workshop.names("error") if name.endswith(".png")] == names
    assert workshop.recorder.of(PauseStarted) == []
