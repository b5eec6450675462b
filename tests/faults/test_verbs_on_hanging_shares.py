"""The verbs that see and steer, while one part of a hot folder lies on a share that hangs: each answers in seconds."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.job import FolderSnapshot, JobState
from tests.support.configurations import loaded
from tests.support.daemon import House
from tests.support.hanging_share import hanging_share, long_ones, needs_fuse
from tests.support.images import an_image
from tests.support.jobs import FAULT, a_job_in
from tests.support.mounting import needs_mounts

pytestmark = [needs_mounts, needs_fuse]

SOON = 15.0
"""Seconds, with all verbs at once on a slow machine; one alone takes 2 to 5. Without bounds none ever ends."""


@dataclass(frozen=True, slots=True)
class Said:
    words: str
    code: int
    seconds: float


@pytest.mark.parametrize("part", ["outbox", pytest.param("error", marks=long_ones)])
def test_verbs_answer_while_a_part_of_a_folder_hangs(house: House, part: str) -> None:
    folder = house.folder()
    failed_in_the_store(house)
    (folder / "inbox" / "waits.png").write_bytes(an_image("png", 40, 30))
    behind = house.root / "behind"
    behind.mkdir()
    on_share = folder / part / "failed.png"
    verbs: Sequence[Sequence[str]] = (
        ["status"],
        ["why", "failed.png"],
        ["why", str(on_share)],
        ["plan"],
        ["pause", str(on_share)],
        ["retry", "failed.png"],
        ["retry", "--all"],
        ["check", "--offline"],
    )
    with hanging_share(folder / part, behind) as share:
        share.hang()
        with ThreadPoolExecutor(len(verbs)) as people:
            told = list(people.map(lambda verb: say(house, verb), verbs))

    assert [said.code for said in told if said.code == -1] == [], told
    assert max(said.seconds for said in told) < SOON
    status, why, _, plan, _, retry, *_ = told
    assert status.code == why.code == plan.code == 0
    assert "failed.png" in why.words
    assert ("waits.png" in plan.words) == (part == "outbox")
    assert retry.code == (0 if part == "error" else 2), "who cannot look takes the file's word"


def failed_in_the_store(house: House) -> None:
    settings = loaded(house.root, house.config.read_text(encoding="utf-8"))
    settings.state_dir.mkdir(exist_ok=True)
    folder = FolderSnapshot.of(settings.folders[0])
    job = a_job_in(
        JobState.FAILED, "job-1", closed=True, relative=Path("failed.png"), archived_to=folder.error / "failed.png"
    )
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    asyncio.run(store.add(job.with_(folder=folder, fault=FAULT)))
    store.close()


def say(house: House, verb: Sequence[str]) -> Said:
    began = time.monotonic()
    try:
        done = house.call(*verb, seconds=2 * SOON)
    except subprocess.TimeoutExpired:
        return Said("", -1, time.monotonic() - began)
    return Said(done.stdout + done.stderr, done.returncode, time.monotonic() - began)
