"""The history of one file, by any name it has or had, from a real job database and real folders."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expandd.adapters.locks import locked, this_process
from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.commands import Hold, HoldKind
from expandd.domain.image import Size
from expandd.domain.job import FolderSnapshot, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Settings
from expandd.service.reports.overview import sentence
from expandd.service.reports.snapshot import ActivePause, Due, InboxNow, Snapshot, write_snapshot
from expandd.service.reports.why import Told, job_lines, job_values, run_why, surroundings, tell
from tests.support.configurations import loaded
from tests.support.images import an_image
from tests.support.jobs import FAULT, a_camera_job, a_job_in, a_result

S = JobState
ODD = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    defaults = "defaults: {settle: 1h, settle_max: 2h, ignore: ['*.nef']}"
    text = f"state_dir: state\n{defaults}\nfolders: [{{root: hot, offsets: {{top: 10}}}}]\n"
    settings = loaded(tmp_path, text)
    settings.state_dir.mkdir()
    return settings


async def a_store(settings: Settings, *jobs: Job) -> FolderSnapshot:
    folder = FolderSnapshot.of(settings.folders[0])
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    for job in jobs:
        await store.add(job.with_(folder=folder))
    store.close()
    return folder


async def told(settings: Settings, file: str | Path) -> Told:
    return await tell(str(file), surroundings(settings))


async def test_a_job_is_found_by_every_name_it_has_or_had(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = settings.folders[0]
    job = a_job_in(
        S.DONE,
        "job-1",
        closed=True,
        relative=Path("a") / ODD,
        target=folder.outbox / "a" / "cafe-2.png",
        archived_to=folder.done / "a" / ODD,
    )
    await a_store(settings, job, a_job_in(S.DONE, "job-2", closed=True, relative=Path("other.png")))
    (settings.state_dir.parent / "link").symlink_to(folder.inbox)
    monkeypatch.chdir(folder.outbox)
    names: list[str | Path] = [
        "job-1",
        "image-of-job-1",
        ODD,
        f"a/{ODD}",
        f"./a/{ODD}",
        "cafe-2.png",
        "a/cafe-2.png",
        f"../done/a/{ODD}",
        folder.inbox / "a" / ODD,
        folder.work / "job-1" / ODD,
        folder.done / "a" / ODD,
        folder.outbox / "a" / "cafe-2.png",
        settings.state_dir.parent / "link" / "a" / ODD,
        settings.state_dir / "spool" / "job-1",
    ]
    found = {str(name): [history.job.id for history in (await told(settings, name)).jobs] for name in names}

    assert found == {str(name): ["job-1"] for name in names}


async def test_a_job_in_progress_says_what_comes_next_when_and_what_it_waits_on(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = await a_store(settings, a_job_in(S.UPLOADED, "job-1", tries=3, attempts=2, note="it was slow"))
    now = time.time()
    pause = ActivePause(
        inbox=None, pause="spending", reason=PauseReason.NO_CREDITS, why="none left", since=now, again_at=now
    )
    snapshot = Snapshot(at=now, process=this_process(), pauses=(pause,), due=(Due("job-1", now + 30),))
    write_snapshot(settings.state_dir, snapshot)
    with locked(settings.state_dir / "lock", "it"):
        config = settings.state_dir.parent / "config.yaml"
        code = await asyncio.to_thread(run_why, "image.png", config, as_json=False)
    text = capsys.readouterr().out
    stopped = (await told(settings, "image.png")).jobs[0]

    assert code == 0
    assert f"{folder.inbox}/.expandd/job-1/image.png (it is no longer there)" in text
    assert "Last remark: it was slow." in text
    assert "none left." in text
    assert "Looked at again in" in text
    assert stopped.next.startswith("expandd does not run")
    assert stopped.waits_on == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Result: jpeg, 6040×4020 px; the original's own pixels put back, with"),
        (
            {"finished": a_result(size=Size(4124, 2745), bytes=34)},
            "Result: png, 4124×2745 px; the original's own pixels",
        ),
        ({"finished": None}, "Result: jpeg, 4124×2745 px; as the API made it."),
        (
            {"finished": None, "finish_failed": "it died\n"},
            "Result: jpeg, 4124×2745 px; as the API made it, since it could not be finished: it died\\n.",
        ),
        ({"prepared": None}, "Result: jpeg, 6040×4020 px; the API's pixels, with the original's colour profile"),
    ],
)
async def test_what_was_uploaded_and_made_of_the_image_is_told(
    settings: Settings, changes: dict[str, Any], said: str
) -> None:
    around = surroundings(settings)
    await a_store(settings, a_camera_job(target=settings.folders[0].outbox / "image.jpg", **changes))
    history = (await told(settings, "job-1")).jobs[0]
    text = "\n".join(job_lines(history, around.now))
    values = job_values(history, around.now)

    assert said in text
    assert ("Uploaded: a copy of 4096×2731 px; the API is asked for top 7, bottom 7, left 14" in text) == (
        "prepared" not in changes
    )
    assert values["size"] == {"width": 6000, "height": 4000}
    assert values["uploaded_size"] == {"width": 4096, "height": 2731}
    assert values["original_pixels"] is ("original's own" in said)
    assert values["finish_failed"] == changes.get("finish_failed")


async def test_one_file_that_a_person_paused_says_so(settings: Settings) -> None:
    inbox = settings.folders[0].inbox
    await a_store(settings, a_job_in(S.CLAIMED, "job-1"), a_job_in(S.CLAIMED, "job-2", relative=Path("b.png")))
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    await store.set_hold(Hold(kind=HoldKind.PAUSED, at=5.0, inbox=inbox, relative=Path("image.png")))
    store.close()
    waits = {name: (await told(settings, name)).jobs[0].waits_on for name in ("image.png", "b.png")}

    assert [sentence(pause, 0.0) for pause in waits["image.png"]] == [
        "image.png waits: A person has paused this one file. `expandd resume FILE` lets it go on."
    ]
    assert waits["b.png"] == ()


async def test_a_failed_file_is_told_with_its_reason_also_by_its_sidecar(settings: Settings) -> None:
    error = settings.folders[0].error
    failed = error / "image.png"
    await a_store(settings, a_job_in(S.FAILED, "job-1", closed=True, archived_to=failed))
    failed.touch()
    (error / "image.png.error.json").write_text('{"what_to_do": "Do.", "job": "job-1", "message": "Bad."}')
    by_sidecar = await told(settings, error / "image.png.error.json")
    (error / "old.png").touch()
    (error / "old.png.error.json").write_text('{"what_to_do": "Do.", "job": "gone", "message": "Bad."}')
    forgotten = await told(settings, "old.png")

    assert [history.job.fault for history in by_sidecar.jobs] == [FAULT]
    assert by_sidecar.files == ()
    assert "Bad. Do." in forgotten.files[0].why


def dropped(settings: Settings, name: str, content: bytes = b"") -> None:
    path = settings.folders[0].inbox / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "text", [b"[" * 60_000, b'{"job": "a", "message": "x", "what_to_do": [[[]]]}', b'{"a":' * 9999]
)
async def test_what_only_has_the_name_of_a_report_tells_no_reason(settings: Settings, text: bytes) -> None:
    await a_store(settings)
    for directory in (settings.folders[0].error, settings.folders[0].inbox):
        (directory / "x.png").touch()
        (directory / "x.png.error.json").write_bytes(text)
        for name in ("x.png", "x.png.error.json"):
            [found] = (await told(settings, directory / name)).files
            assert "Its reason lies beside it" not in found.why


@pytest.mark.parametrize(
    ("name", "skip_reason", "words"),
    [
        ("PAUSE", "ignored", "pauses this folder"),
        (".hidden.png", "ignored", "begins with a dot"),
        ("a.png.part", "ignored", "a browser's download"),
        ("sub/a.NEF", "ignored", "the pattern *.nef of this folder's `ignore`"),
        ("sub/a.png", "subfolder", "recursive"),
        ("a.png", "settling", "of 1 h"),
        (".expandd/stray/a.png", "work_folder", "no job"),
    ],
)
async def test_a_file_that_is_not_picked_up_says_by_which_rule(
    settings: Settings, name: str, skip_reason: str, words: str
) -> None:
    path = settings.folders[0].inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    files = (await told(settings, path)).files

    assert [file.skip_reason.value for file in files] == [skip_reason]
    assert words in files[0].why


async def test_what_is_no_regular_file_or_in_no_hot_folder_says_so(settings: Settings) -> None:
    folder = settings.folders[0]
    (folder.inbox / "link.png").symlink_to("/nowhere")
    (folder.outbox / "mine.png").touch()
    of = {name: (await told(settings, name)).files for name in ("link.png", folder.outbox / "mine.png", __file__, "no")}

    assert {str(name): [file.skip_reason.value for file in files] for name, files in of.items()} == {
        "link.png": ["irregular"],
        str(folder.outbox / "mine.png"): ["not_an_inbox"],
        __file__: ["no_hot_folder"],
        "no": [],
    }


async def test_a_settled_file_says_what_it_is_and_where_it_stands_in_line(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "defaults: {settle: 1ms, settle_max: 1h}\n")
    settings.state_dir.mkdir()
    dropped(settings, "whole.png", an_image("png", 100, 80))
    dropped(settings, "half.png", an_image("png", 100, 80)[:300])
    dropped(settings, "bad.psd", b"8BPS and more")
    stopped = (await told(settings, "whole.png")).files[0]
    inbox = settings.folders[0].inbox
    live = InboxNow(inbox=inbox, waiting=2, more=False, missed=0, watched=True, ready=(Path("x"), Path("whole.png")))
    write_snapshot(settings.state_dir, Snapshot(at=time.time(), process=this_process(), inboxes=(live,)))
    with locked(settings.state_dir / "lock", "it"):
        found = {name: (await told(settings, name)).files[0] for name in ("whole.png", "half.png", "bad.psd")}

    assert stopped.skip_reason.value == "not_running"
    assert [file.skip_reason.value for file in found.values()] == ["in_line", "not_whole", "unfit"]
    assert "100×80 px that is to become 100×81 px" in found["whole.png"].why
    assert "number 2 in line" in found["whole.png"].why
    assert "Photoshop" in found["bad.psd"].why
    assert "if it does not change for another" in found["half.png"].next


async def test_a_file_that_is_not_whole_is_given_up_after_the_longest_time(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "defaults: {settle: 1s, settle_max: 1h}\n")
    settings.state_dir.mkdir()
    dropped(settings, "half.png", an_image("png", 100, 80)[:300])
    around = surroundings(settings)
    [found] = (await tell("half.png", replace(around, now=around.now + 3601.0))).files

    assert found.skip_reason.value == "not_whole"
    assert "goes to the error folder, unless it changes now" in found.next


async def test_a_folder_that_is_away_is_told_and_not_looked_into(settings: Settings) -> None:
    inbox = settings.folders[0].inbox
    inbox.rmdir()

    assert surroundings(settings).away == {inbox}
    assert (await told(settings, inbox / "a.png")).files == (await told(settings, "a.png")).files == ()


def test_nothing_known_is_a_sentence_and_a_code_and_json_is_whole(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings.state_dir.parent / "config.yaml"
    code = run_why("nothing.png", config, as_json=False)
    text = capsys.readouterr().out
    run_why("nothing.png", config, as_json=True)

    assert code == 2
    assert "Nothing is known of nothing.png" in text
    assert json.loads(capsys.readouterr().out) == {"name": "nothing.png", "running": "", "files": [], "jobs": []}
