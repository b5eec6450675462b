from __future__ import annotations

from collections.abc import Callable

import pytest

from expandd.domain.job import JobState
from expandd.domain.settings import Originals
from tests.support.fakes import an_image
from tests.support.workshop import A_WHILE, Workshop

S = JobState


async def test_a_dropped_image_comes_out_expanded_and_its_original_is_archived(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("inbox") == []
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == ["pic.png"]
    assert workshop.names("error") == []
    assert workshop.in_work() == []
    assert (workshop.hot[0].outbox / "pic.png").read_bytes() == an_image(140, 100, note="made of 'pic.png'")
    assert (workshop.hot[0].done / "pic.png").read_bytes() == an_image(note="pic.png")
    assert workshop.recorder.states_of("pic.png") == [
        S.CLAIMED,
        S.UPLOADED,
        S.SUBMITTING,
        S.ACCEPTED,
        S.RENDERED,
        S.DOWNLOADED,
        S.DELIVERED,
        S.DONE,
    ]


async def test_one_image_takes_one_upload_one_paid_call_one_download_and_one_delete(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    endpoints = [call.endpoint for call in workshop.api.calls if call.endpoint != "notifications"]
    assert endpoints == ["upload", "generate", "download", "delete"]


async def test_the_notification_is_deleted_last_of_all(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: bool(workshop.api.called("delete")))

    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == ["pic.png"]
    assert workshop.recorder.latest("pic.png").state is S.DELIVERED


async def test_many_images_are_each_paid_once_and_none_is_lost(workshop: Workshop) -> None:
    names = [f"pic-{number:03d}.png" for number in range(40)]
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert workshop.names("outbox") == names
    assert workshop.names("done") == names
    assert [len(workshop.api.paid_for(name)) for name in names] == [1] * 40
    assert workshop.in_work() == []
    assert list(workshop.spool.path("x").parent.iterdir()) == []


async def test_two_images_of_one_result_name_both_come_out(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    workshop.drop("pic.jpg")
    await workshop.closed("pic.png", "pic.jpg")

    assert workshop.names("outbox") == ["pic-2.png", "pic.png"]
    assert workshop.names("done") == ["pic.jpg", "pic.png"]


async def test_what_lies_in_the_outbox_and_in_done_already_is_never_overwritten(workshop: Workshop) -> None:
    (workshop.hot[0].outbox / "pic.png").write_text("mine")
    (workshop.hot[0].done / "pic.png").write_text("mine, too")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic-2.png", "pic.png"]
    assert workshop.names("done") == ["pic-2.png", "pic.png"]
    assert (workshop.hot[0].outbox / "pic.png").read_text() == "mine"
    assert (workshop.hot[0].done / "pic.png").read_text() == "mine, too"


async def test_subfolders_are_mirrored_when_the_folder_is_recursive(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(recursive=True)
    workshop.start()
    workshop.drop("summer/beach/pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["summer/beach/pic.png"]
    assert workshop.names("done") == ["summer/beach/pic.png"]


async def test_originals_are_removed_when_that_is_asked_for_and_only_after_delivery(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(originals=Originals.DELETE)
    workshop.store.clock, workshop.store.seconds = workshop.clock, 0.125
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.DOWNLOADED)
    kept = workshop.in_work()
    await workshop.closed("pic.png")

    assert kept == ["pic.png"]
    assert workshop.names("outbox") == ["pic.png"]
    assert workshop.names("done") == []
    assert workshop.in_work() == []


async def test_a_turned_image_is_uploaded_as_a_person_sees_it_and_kept_as_it_was(workshop: Workshop) -> None:
    dropped = an_image(orientation=6, note="on its side")
    workshop.start()
    workshop.drop("pic.png", dropped)
    await workshop.closed("pic.png")

    [image] = workshop.api.images.values()
    assert image.content == an_image(note="upright")
    assert (workshop.hot[0].done / "pic.png").read_bytes() == dropped
    assert workshop.in_work() == []


async def test_files_that_lay_there_before_the_start_pass_the_same_breaker(workshop: Workshop) -> None:
    workshop.drop("early.png")
    workshop.start()
    await workshop.advance(workshop.hot[0].settle - 0.1)
    before = len(workshop.api.called("upload"))
    await workshop.closed("early.png")

    assert before == 0
    assert workshop.names("outbox") == ["early.png"]


async def test_an_idle_engine_makes_no_calls(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(4 * A_WHILE)

    assert workshop.api.calls == []


@pytest.mark.parametrize("name", ["naïve.png", "b\udce4d.png", "new\nline.png", "x" * 251 + ".png", "-rf.png"])
async def test_any_name_a_file_can_have_goes_all_the_way(workshop: Workshop, name: str) -> None:
    workshop.start()
    workshop.drop(name, an_image())
    await workshop.closed(name)

    assert workshop.names("outbox") == [name]
    assert workshop.names("done") == [name]
