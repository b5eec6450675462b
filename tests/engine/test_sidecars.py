"""The sidecar of a result: there before the original is archived, whole, once, and never over another file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expandd.adapters.files.durable_io import Content, Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.domain.job import JobState
from expandd.domain.settings import Duplicates
from expandd.engine.job.finish import TRIES
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

S = JobState
Make = Callable[..., Workshop]


def sidecar(workshop: Workshop, name: str = "pic.png.json") -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((workshop.hot[0].outbox / name).read_text("utf-8"))
    return facts


async def test_a_result_gets_a_sidecar_with_all_that_was_done(make_workshop: Make) -> None:
    workshop = make_workshop(sidecar=True)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    job, facts = workshop.recorder.latest("pic.png"), sidecar(workshop)

    assert workshop.names("outbox") == ["pic.png", "pic.png.json"]
    assert (facts["schema"], facts["job"], facts["image_id"]) == (1, job.id, job.image_id)
    assert facts["source"]["sha256"] == job.source.sha256
    assert facts["offsets"] == {"top": 10, "bottom": 10, "left": 20, "right": 20}
    assert job.result is not None
    assert facts["result"]["sha256"] == job.result.sha256
    assert facts["result"]["bytes"] == (workshop.hot[0].outbox / "pic.png").stat().st_size
    assert facts["expected"] == {"width": facts["source"]["width"] + 40, "height": facts["source"]["height"] + 20}
    assert facts["paid"] is True
    assert list(facts["times"]) == [
        "claimed",
        "uploaded",
        "submitting",
        "accepted",
        "rendered",
        "downloaded",
        "delivered",
    ]
    assert job.link
    assert job.link not in json.dumps(facts)


async def test_sidecar_names_the_uploaded_copy_and_restored_pixels(
    make_workshop: Make,
) -> None:
    workshop = make_workshop(sidecar=True)
    workshop.start()
    workshop.drop("small.png")
    workshop.drop("large.png", an_image(6000, 4000))
    await workshop.closed("small.png")
    await workshop.closed("large.png")
    small, large = sidecar(workshop, "small.png.json"), sidecar(workshop, "large.png.json")

    assert (small["uploaded"]["copy"], small["result"]["original_pixels"]) == (False, False)
    assert (small["uploaded"]["width"], small["uploaded"]["offsets"]) == (small["source"]["width"], small["offsets"])
    assert large["uploaded"] == {
        "copy": True,
        "width": 4096,
        "height": 2731,
        "offsets": {"top": 7, "bottom": 7, "left": 14, "right": 14},
    }
    assert (large["result"]["original_pixels"], large["result"]["finish_failed"]) == (True, None)
    assert (large["result"]["width"], large["expected"]) == (6040, {"width": 6040, "height": 4020})


async def test_a_result_that_could_not_be_finished_says_so(make_workshop: Make) -> None:
    workshop = make_workshop(sidecar=True)
    workshop.images.unfinishable = TRIES
    workshop.start()
    workshop.drop("large.png", an_image(6000, 4000))
    await workshop.closed("large.png")
    result = sidecar(workshop, "large.png.json")["result"]

    assert (result["original_pixels"], result["width"]) == (False, 4124)
    assert "it died of SIGKILL" in result["finish_failed"]


@pytest.mark.parametrize(("duplicates", "paid"), [(Duplicates.REUSE, False), (Duplicates.EXPAND, True)])
async def test_a_result_that_is_reused_says_that_nothing_was_paid(
    make_workshop: Make, duplicates: Duplicates, *, paid: bool
) -> None:
    workshop = make_workshop(sidecar=True, duplicates=duplicates)
    workshop.start()
    workshop.drop("one.png", an_image(note="same"))
    await workshop.closed("one.png")
    workshop.drop("two.png", an_image(note="same"))
    await workshop.closed("two.png")
    first, second = sidecar(workshop, "one.png.json"), sidecar(workshop, "two.png.json")

    assert second["paid"] is paid
    assert second["reused_from"] == (None if paid else first["job"])
    assert second["source"]["sha256"] == first["source"]["sha256"]
    assert second["result"]["bytes"]


async def test_a_duplicate_that_is_skipped_has_no_sidecar(make_workshop: Make) -> None:
    workshop = make_workshop(sidecar=True, duplicates=Duplicates.SKIP)
    workshop.start()
    for name in ("one.png", "two.png"):
        workshop.drop(name, an_image(note="same"))
        await workshop.closed(name)

    assert workshop.names("outbox") == ["one.png", "one.png.json"]


async def test_without_the_request_there_is_none(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic.png"]


async def test_it_is_there_before_the_original_is_archived(make_workshop: Make) -> None:
    workshop = make_workshop(sidecar=True)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.RENDERED)
    workshop.hot[0].done.rmdir()
    await workshop.advance(600.0)
    beside, in_work = workshop.names("outbox"), workshop.in_work()
    workshop.hot[0].done.mkdir()
    await workshop.closed("pic.png")

    assert beside == ["pic.png", "pic.png.json"]
    assert in_work == ["pic.png"]
    assert workshop.names("outbox") == beside


async def test_a_file_of_that_name_is_left_alone(make_workshop: Make) -> None:
    workshop = make_workshop(sidecar=True)
    outbox = workshop.hot[0].outbox
    (outbox / "pic.png.json").write_text('{"schema": 1, "job": "another"}')
    (outbox / "pic.png-2.json").symlink_to("nowhere")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert (outbox / "pic.png.json").read_text() == '{"schema": 1, "job": "another"}'
    assert (outbox / "pic.png-2.json").is_symlink()
    assert sidecar(workshop, "pic.png-3.json")["result"]["file"] == "pic.png"


async def test_a_subfolder_that_somebody_took_away_with_the_result_in_it_is_made_again(make_workshop: Make) -> None:
    workshop = make_workshop(sidecar=True, recursive=True)
    workshop.start()
    workshop.drop("set/pic.png")
    await workshop.reached("pic.png", S.RENDERED)
    workshop.hot[0].done.rmdir()
    await workshop.reached("pic.png", S.DELIVERED)
    for path in (workshop.hot[0].outbox / "set").iterdir():
        path.unlink()
    (workshop.hot[0].outbox / "set").rmdir()
    workshop.hot[0].done.mkdir()
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["set/pic.png.json"]


async def test_a_process_that_dies_right_after_writes_no_second_one(make_workshop: Make) -> None:
    class Fatal(Disk):
        """The real disk, but that nobody hears of a sidecar that lies there."""

        written = 0

        def create(self, target: Path, content: Content, spare: str) -> None:
            super().create(target, content, spare)
            if target.suffix == ".json":
                self.written += 1
                raise OSError(5, "Input/output error")

    disk = Fatal()
    workshop = make_workshop(sidecar=True)
    workshop.folders = LocalFolders(disk)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.until(lambda: disk.written == 1)
    await workshop.crash()
    before = sidecar(workshop)
    workshop.folders = LocalFolders(Disk())
    workshop.start()
    await workshop.closed("pic.png")

    assert workshop.names("outbox") == ["pic.png", "pic.png.json"]
    assert sidecar(workshop) == before
    assert workshop.names("done") == ["pic.png"]


async def test_an_outbox_without_room_for_it_waits_with_the_original_in_progress(make_workshop: Make) -> None:
    class Full(Disk):
        """The real disk, with room for images alone until a test says otherwise."""

        full = True

        def create(self, target: Path, content: Content, spare: str) -> None:
            if self.full and target.suffix == ".json":
                raise OSError(28, "No space left on device")
            super().create(target, content, spare)

    disk = Full()
    workshop = make_workshop(sidecar=True)
    workshop.folders = LocalFolders(disk)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.DELIVERED)
    await workshop.advance(600.0)
    waiting = workshop.names("done")
    disk.full = False
    await workshop.closed("pic.png")

    assert waiting == []
    assert workshop.names("outbox") == ["pic.png", "pic.png.json"]
    assert len(workshop.api.paid) == 1
