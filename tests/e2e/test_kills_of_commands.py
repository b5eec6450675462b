"""SIGKILL around a redo, a retry, a duplicate that is reused and one that is skipped, all with sidecars."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from expandd.adapters.files.scan import Scanner
from expandd.adapters.store.sqlite.job_store import SqliteJobStore, write_commands
from expandd.domain.commands import Command, Verb
from expandd.domain.job import FileIdentity, Job, JobState
from expandd.domain.offsets import Offsets
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support import doomed
from tests.support.daemon import House, names
from tests.support.images import an_image
from tests.support.jobs import a_job_in, a_result, a_snapshot, a_source

POINTS = (
    "journal.set_hold",
    "folders.bring_back",
    "journal.carried_out",
    "journal.lift_hold",
    "folders.write_result_sidecar",
    "spool.keep",
    "spool.reuse",
    "journal.move.claimed>downloaded",
    "journal.move.claimed>delivered",
)
"""What only commands, duplicates and sidecars do."""

SIDES = ("before", "after") if os.environ.get("EXPANDD_STORM") == "1" else ("after",)
"""Without EXPANDD_STORM=1 not before: that is nearly always as after the step before it."""


@pytest.mark.timeout(280)
@pytest.mark.parametrize("share", range(3))
def test_a_kill_at_any_point_of_a_command_or_a_duplicate_pays_for_neither_twice(share: int, tmp_path: Path) -> None:
    switches = Switches(poll_limit=0.05, generate_min=0.1, generate_max=0.1, pro=True)
    points = [f"{point}:{side}#1" for point in POINTS for side in SIDES][share::3]
    with Simulator(switches) as server:
        scenes = [Scene(tmp_path / f"kill{n}", server, seed=100 * share + n) for n in range(len(points))]
        for scene, point in zip(scenes, points, strict=True):
            scene.killed_at(point)
        counts = server.counts()

    # The redo of one image; the reused and the skipped copies of the other cost nothing.
    assert counts.generates_by_source == {scene.digest: 1 for scene in scenes}


class Scene:
    """Folders with an image that is done and to be redone, a file in error to be retried, and two duplicates."""

    def __init__(self, root: Path, server: Simulator, seed: int) -> None:
        root.mkdir()
        self.house = House(root, server.api_url)
        self.house.build(
            api="unknown_wait: 600ms",
            defaults="settle: 50ms, settle_max: 1s, sidecar: true",
            folders={
                "reuse": "offsets: {left: 10}, duplicates: reuse",
                "skip": "offsets: {left: 10}, duplicates: skip",
            },
        )
        defaults = self.house.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", "poll_interval: 60ms")
        self.house.config.write_text(defaults, encoding="utf-8")
        self.reuse, self.skip = self.house.folder("reuse"), self.house.folder("skip")
        self.again, self.twice = an_image("png", seed=2 * seed), an_image("png", seed=2 * seed + 1)
        self.digest = hashlib.sha256(self.again).hexdigest()
        self._remember()
        (self.reuse / "inbox" / "copy.png").write_bytes(self.twice)
        (self.skip / "inbox" / "copy.png").write_bytes(self.twice)

    def killed_at(self, point: str) -> None:
        first, again = doomed.run(self.house.config, "kill", point), doomed.run(self.house.config, "finish")

        assert first.returncode == -9, (point, first)
        # 0 where the text file had been archived before the kill.
        assert again.returncode in {0, 3}, (point, first.stderr, again.stderr)
        self.assert_all_in_place(point)

    def assert_all_in_place(self, point: str) -> None:
        results = ["again-2.png", "again-2.png.json", "again.png", "copy.png", "copy.png.json", "twice.png"]
        assert names(self.reuse / "outbox") == results, point
        assert names(self.skip / "outbox") == [], point
        assert names(self.reuse / "done") == ["again.png", "copy.png", "twice.png"], point
        assert names(self.skip / "done") == ["copy.png"], point
        assert sorted(os.listdir(self.reuse / "error")) == ["notes.txt", "notes.txt.error.json"], point
        for inbox in (self.reuse / "inbox", self.skip / "inbox"):
            assert names(inbox) == os.listdir(inbox / ".expandd") == [], point
        assert os.listdir(self.house.state_dir / "spool") == ["kept"], point
        assert json.loads((self.reuse / "outbox" / "copy.png.json").read_bytes())["paid"] is False, point
        with sqlite3.connect(self.house.state_dir / "journal.sqlite") as connection:
            left = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in TABLES]
        connection.close()
        assert left == [(0,), (0,)], point

    def _remember(self) -> None:
        """What an earlier run left: two images that are done, a file in error, and what a person commands now."""
        kept = self.house.state_dir / "spool" / "kept"
        kept.mkdir(parents=True)
        done = [self._done(name, content, kept) for name, content in (("again", self.again), ("twice", self.twice))]
        notes = self.reuse / "error" / "notes.txt"
        notes.write_text("no image")
        failed = a_job_in(
            JobState.FAILED,
            "job-notes",
            folder=a_snapshot(self.reuse),
            relative=Path("notes.txt"),
            source=a_source(identity=_identity(notes)),
            archived_to=notes,
            state_changes=(),
            closed=True,
        )
        failed = failed.with_(state_changes=done[0].state_changes[:1])
        path = self.house.state_dir / "journal.sqlite"
        asyncio.run(_written(path, (*done, failed)))
        redo = Command(verb=Verb.REDO, at=time.time(), job_id=done[0].id)
        write_commands(path, [redo, Command(verb=Verb.RETRY, at=time.time(), inbox=self.reuse / "inbox")])

    def _done(self, name: str, content: bytes, kept: Path) -> Job:
        original, result = self.reuse / "done" / f"{name}.png", self.reuse / "outbox" / f"{name}.png"
        original.write_bytes(content)
        drawn = an_image("png", width=106, seed=sum(content))
        result.write_bytes(drawn)
        digest = hashlib.sha256(drawn).hexdigest()
        (kept / digest).write_bytes(drawn)
        job = a_job_in(
            JobState.DONE,
            f"job-{name}",
            folder=a_snapshot(self.reuse),
            relative=Path(original.name),
            source=a_source(identity=_identity(original), sha256=hashlib.sha256(content).hexdigest()),
            offsets=Offsets(left=10),
            target=result,
            archived_to=original,
            closed=True,
        )
        return job.with_(result=a_result(sha256=digest, bytes=len(drawn)))


TABLES = ("commands", "holds")


def _identity(path: Path) -> FileIdentity:
    found = Scanner().identity_of(path)
    assert found is not None
    return found


async def _written(path: Path, jobs: tuple[Job, ...]) -> None:
    store = SqliteJobStore(path)
    for job in jobs:
        await store.add(job)
    store.close()
