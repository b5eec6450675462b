"""SIGKILL before and after every effect: one paid call, one result, the original in its place, nothing stray."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support import doomed
from tests.support.daemon import House, names
from tests.support.images import an_image

EACH = os.environ.get("EXPANDD_STORM") == "1"

EVERY_DAY = (
    "disk.rename:after",
    "journal.move",
    "disk.link:after",
    "api.generate",
    "spool.admit:after",
    "disk.give_name:after",
    "disk.remove:after",
)
"""Beginnings of the points that are tried without EXPANDD_STORM=1: a job has entered a state, a file has a new place,
or money is about to be spent, or is. A kill at any other point leaves the same to do as one of these, or a step to do
again; that each step may be done again is proven in tests/engine, at each call, with fakes."""

SHARES = 4 if EACH else 2
"""The points are dealt out to this many tests, so that they run side by side."""


@pytest.mark.timeout(280)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_any_point_loses_nothing_and_pays_once(share: int, tmp_path: Path) -> None:
    switches = Switches(poll_limit=0.05, generate_min=0.1, generate_max=0.1, pro=True)
    with Simulator(switches) as server:
        points = recorded(Scene(tmp_path / "record", server, seed=0))
        mine = points[share::SHARES]
        scenes = [Scene(tmp_path / f"kill{n}", server, seed=1000 * share + n + 1) for n in range(len(mine))]
        died = sum(scene.killed_at(point) for scene, point in zip(scenes, mine, strict=True))
        counts = server.counts()

    assert died >= 0.9 * len(mine), "most points are passed in every run"
    assert set(counts.generates_by_source.values()) == {1}
    assert len(counts.generates_by_source) == 2 * (len(mine) + 1)
    assert counts.authorization_at_link_host == 0
    assert counts.deletes_before_download == counts.deletes_foreign == 0


class Scene:
    """A house with one plain image, one that must be turned upright, and one file that is no image."""

    def __init__(self, root: Path, server: Simulator, seed: int) -> None:
        root.mkdir()
        self.house = House(root, server.api_url)
        self.house.build(api="unknown_wait: 600ms", defaults="settle: 50ms, settle_max: 1s")
        defaults = self.house.config.read_text(encoding="utf-8").replace("poll_interval: 100ms", "poll_interval: 60ms")
        self.house.config.write_text(defaults, encoding="utf-8")
        self.dropped = {
            "plain.png": an_image("png", seed=seed),
            "turned.jpg": an_image("jpeg", seed=seed, orientation=6),
        }
        self.hot = self.house.folder()
        for name, content in self.dropped.items():
            (self.hot / "inbox" / name).write_bytes(content)
        (self.hot / "inbox" / "notes.txt").write_text("no image")

    def killed_at(self, point: str) -> bool:
        """Run until the kill, then to the end; whether the point was passed at all."""
        first = doomed.run(self.house.config, "kill", point)
        assert first.returncode in {-9, 3}, (point, first)
        if first.returncode == -9:
            again = doomed.run(self.house.config, "finish")
            # 0 where the text file had been archived before the kill.
            assert again.returncode in {0, 3}, (point, first.stderr, again.stderr)
        self.assert_all_in_place(point)
        return first.returncode == -9

    def assert_all_in_place(self, point: str) -> None:
        assert names(self.hot / "outbox") == ["plain.png", "turned.jpg"], point
        assert {name: (self.hot / "done" / name).read_bytes() for name in names(self.hot / "done")} == self.dropped, (
            point
        )
        assert sorted(os.listdir(self.hot / "error")) == ["notes.txt", "notes.txt.error.json"], point
        assert names(self.hot / "inbox") == [], point
        assert os.listdir(self.hot / "inbox" / ".expandd") == [], point
        assert os.listdir(self.house.state_dir / "spool") == [], point


def recorded(scene: Scene) -> list[str]:
    """The first passing of every named point that is to be tried, in order."""
    target = scene.house.root / "points"
    assert doomed.run(scene.house.config, "record", str(target)).returncode == 3
    passed = target.read_text(encoding="utf-8").splitlines()
    first = [point for point in passed if point.endswith("#1")]
    assert first, "no point was passed"
    if EACH:
        return first
    return [point for point in first if point.startswith(EVERY_DAY) and (":after" in point or "generate" in point)]
