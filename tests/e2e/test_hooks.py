"""Hooks of the real program: who is told, and that a hook that hangs costs the work nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import House, names
from tests.support.images import an_image

HOSTILE = "a $(touch never) `b` 'c' \"d\"\n;&|<>*?é.png"

TELL = """
import json, os, sys
facts = {"argument": sys.argv[2], "file": os.environ.get("EXPANDD_FILE"), **json.load(sys.stdin)}
facts["login"] = [name for name in os.environ if name.startswith("PIKTID")]
with open(sys.argv[1], "a") as log:
    log.write(json.dumps(facts) + "\\n")
print("told", facts["event"])
"""


@pytest.fixture
def tell(tmp_path: Path) -> Path:
    """A program that writes down what it is told."""
    path = tmp_path / "tell me.py"
    path.write_text(f"#!{sys.executable} -S\n{TELL}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def hooks(program: Path, *names_: str, target: Path) -> str:
    command = json.dumps([str(program), str(target), "$HOME; id"])
    return "hooks: {" + ", ".join(f"{name}: {{command: {command}}}" for name in names_) + "}"


def told(target: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in target.read_text().splitlines()]


def drop(house: House, name: str, content: bytes) -> None:
    (house.folder() / "inbox" / name).write_bytes(content)


def test_each_file_is_told_of_and_no_shell_reads_its_name(house: House, tell: Path, tmp_path: Path) -> None:
    target = tmp_path / "told"
    house.build(top=hooks(tell, "on_done", "on_error", target=target))
    drop(house, HOSTILE, an_image("png"))
    drop(house, "text.png", b"just text")

    assert house.call("once").returncode == 3

    facts = {fact["event"]: fact for fact in told(target)}
    assert len(told(target)) == 2
    assert facts["done"]["file"] == HOSTILE
    assert Path(facts["done"]["delivered_to"]).read_bytes()
    assert facts["error"]["file"] == "text.png"
    assert facts["error"]["what_to_do"]
    assert {fact["argument"] for fact in facts.values()} == {"$HOME; id"}
    assert [fact["login"] for fact in facts.values()] == [[], []]
    assert not (tmp_path / "never").exists()


def test_a_pause_is_told_with_what_lifts_it(house: House, server: Simulator, tell: Path, tmp_path: Path) -> None:
    target = tmp_path / "told"
    server.set_credits(0)
    house.build(top=hooks(tell, "on_paused", target=target))
    drop(house, "pic.png", an_image("png"))
    with house.running() as daemon:
        said = daemon.wait_for("hook.told")

        assert said["output"] == ["told paused"]
    [fact] = told(target)[:1]
    assert fact["reason"] == "no_credits"
    assert "Top up" in fact["what_to_do"]


def test_hanging_hook_holds_up_nothing(house: House, tell: Path, tmp_path: Path) -> None:
    target, pipe = tmp_path / "told", tmp_path / "pipe"
    os.mkfifo(pipe)
    hanging = f"hooks: {{on_done: {{command: [/bin/cp, {pipe}, /dev/null], timeout: 1h}}}}"
    house.build(top=hanging)
    with house.running() as daemon:
        for number in range(3):
            drop(house, f"pic{number}.png", an_image("png", seed=number))
        daemon.finished(times=3)
        assert names(house.folder() / "outbox") == ["pic0.png", "pic1.png", "pic2.png"]

        house.build(top=hooks(tell, "on_done", target=target))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reload.done")
        with pipe.open("wb"):
            pass  # the one that hung has read to the end
        daemon.wait_for("hook.told", times=3)
        assert len(told(target)) == 2

        house.build(top=hanging)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reload.done", times=2)
        drop(house, "last.png", an_image("png", seed=9))
        daemon.finished(times=4)
        began = time.monotonic()

        assert daemon.stop() == 0
        assert time.monotonic() - began < 20.0
        assert daemon.wait_for("hook.dropped")["dropped"] == 1
