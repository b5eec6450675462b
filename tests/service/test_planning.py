"""What would become of the waiting files, with the daemon's own eyes and a real job database."""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.store.sqlite.job_store import SqliteJobStore, reading
from expandd.domain.job import FolderSnapshot, JobState
from expandd.domain.offsets import Offsets
from expandd.domain.settings import Settings
from expandd.service.reports.plan import Planned, Planner, run_plan
from expandd.service.reports.snapshot import Snapshot, write_snapshot
from tests.support.configurations import loaded
from tests.support.images import an_image, drawing, encoded
from tests.support.jobs import a_job_in, a_result, a_source

CONFIG = """\
state_dir: state
workers: 2
budget: {{day: 2}}
folders: [{{root: hot, offsets: {{left: 50%}}, duplicates: {duplicates}}}]
"""
OLD = an_image("png", 100, 80, seed=1)


def a_house(base: Path, duplicates: str = "expand") -> Settings:
    settings = loaded(base, CONFIG.format(duplicates=duplicates))
    (settings.state_dir / "spool" / "kept").mkdir(parents=True)
    return settings


async def with_old_job(settings: Settings) -> None:
    source = a_source(sha256=hashlib.sha256(OLD).hexdigest())
    job = a_job_in(JobState.DONE, closed=True, source=source, offsets=Offsets(left=50), result=a_result())
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    await store.add(job.with_(folder=FolderSnapshot.of(settings.folders[0])))
    store.close()


async def planned(settings: Settings) -> list[Planned]:
    with reading(settings.state_dir / "journal.sqlite") as store:
        async with PillowImages(processes=1) as images:
            return [one async for one in Planner(settings, store, images).plan(settings.folders[0])]


async def test_each_waiting_file_gets_its_fate_and_nothing_is_touched(tmp_path: Path) -> None:
    settings = a_house(tmp_path)
    folder = settings.folders[0]
    files = {
        "a.jpg": an_image("jpeg", 100, 80),
        "b.png": an_image("png", 100, 80)[:200],
        "c.txt": b"text",
        "d.png": OLD,
        "e.jpeg": an_image("jpeg", 100, 80, seed=3),
        ".f.png": OLD,
    }
    for name, content in files.items():
        (folder.inbox / name).write_bytes(content)
    (folder.outbox / "a.jpg").touch()
    await with_old_job(settings)
    found = await planned(settings)

    assert [(str(one.relative), one.fate.value) for one in found] == [
        ("a.jpg", "new"),
        ("b.png", "unfinished"),
        ("c.txt", "refused"),
        ("d.png", "again"),
        ("e.jpeg", "new"),
    ]
    assert [str(one.name) for one in found] == ["a-2.jpg", "None", "None", "d.png", "e.jpg"]
    assert str(found[0].result) == "150×80"
    assert {path.name: path.read_bytes() for path in folder.inbox.iterdir()} == files


async def test_a_large_image_says_its_size_and_that_of_the_copy_that_is_uploaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = a_house(tmp_path)
    for name, width in (("large.png", 4200), ("small.png", 100)):
        (settings.folders[0].inbox / name).write_bytes(an_image("png", width, 84))
    await asyncio.to_thread(run_plan, tmp_path / "config.yaml", as_json=False)
    text = capsys.readouterr().out
    await asyncio.to_thread(run_plan, tmp_path / "config.yaml", as_json=True)
    large, small = json.loads(capsys.readouterr().out)["files"]

    assert "large.png: 4200×84 px, uploaded as 4096×82 px, becomes 6300×84 px as large.png" in text
    assert "small.png: 100×84 px becomes 150×84 px as small.png" in text
    assert (large["uploaded_size"], large["result_size"]["width"]) == ({"width": 4096, "height": 82}, 6300)
    assert small["uploaded_size"] == small["size"]


@pytest.mark.parametrize(
    ("result", "names"),
    [("{}", ["a.png", "b.tif"]), ("{format: jpeg}", ["a.jpg", "b.jpg"]), ("{format: api}", ["a.png", "b.png"])],
)
async def test_the_name_of_a_result_ends_as_its_format_does(tmp_path: Path, result: str, names: list[str]) -> None:
    settings = loaded(tmp_path, f"state_dir: state\nfolders: [{{root: hot, offsets: {{left: 9}}, result: {result}}}]\n")
    for name in ("a.bmp", "b.tiff"):
        (settings.folders[0].inbox / name).write_bytes(encoded(drawing(100, 80), name[2:]))

    assert [str(one.name) for one in await planned(settings)] == names


@pytest.mark.parametrize(("duplicates", "fates"), [("reuse", ["reused", "reused"]), ("skip", ["skipped", "skipped"])])
async def test_what_is_paid_for_is_not_paid_for_again_where_the_folder_says_so(
    tmp_path: Path, duplicates: str, fates: list[str]
) -> None:
    settings = a_house(tmp_path, duplicates)
    await with_old_job(settings)
    (settings.state_dir / "spool" / "kept" / a_result().sha256).touch()
    for name in ("a.png", "b.png"):
        (settings.folders[0].inbox / name).write_bytes(OLD)

    assert [one.fate.value for one in await planned(settings)] == fates


async def test_a_result_that_is_not_kept_any_more_is_paid_for_once(tmp_path: Path) -> None:
    settings = a_house(tmp_path, "reuse")
    await with_old_job(settings)
    (settings.folders[0].inbox / "a.png").write_bytes(OLD)

    assert [one.fate.value for one in await planned(settings)] == ["again"]


def test_the_totals_say_what_it_takes_and_when_nobody_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = a_house(tmp_path)
    config = tmp_path / "config.yaml"
    run_plan(config, as_json=True)
    empty = json.loads(capsys.readouterr().out)
    for number in range(3):
        (settings.folders[0].inbox / f"{number}.png").write_bytes(an_image("png", 100, 80, seed=number))
    run_plan(config, as_json=False)
    unknown = capsys.readouterr().out
    write_snapshot(settings.state_dir, Snapshot(at=1.0, process="it", price=Decimal("1.5")))
    run_plan(config, as_json=True)
    known = json.loads(capsys.readouterr().out)

    assert empty["files"] == []
    assert "3 files wait: 3 new. Nothing was paid or changed." in unknown
    assert "not known yet from what was done before" in unknown
    assert "no image was done before" in unknown
    assert "The budget leaves 2" in unknown
    assert (known["totals"]["to_pay"], known["totals"]["credits"]) == (3, 4.5)
    assert [file["result_name"] for file in known["files"]] == ["0.png", "1.png", "2.png"]
