"""When nothing can be decoded, and when much lies there that should not: the real program, seen from outside."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.e2e.test_seeing import seen
from tests.faults.test_deaf_watchers import bound_by_permissions
from tests.support.daemon import House, command, names
from tests.support.images import an_image
from tests.support.odd_images import many_scans, several_images, swelling_text, webp_claiming


class Interpreter:
    """A Python of its own, below a test's directory, that an upgrade may take away while it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bring()

    def bring(self) -> None:
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.path.realpath(sys.executable))

    def break_(self) -> None:
        """What lies there now is no program."""
        self.path.unlink()
        self.path.write_bytes(b"half of a program")


def children(pid: int) -> list[int]:
    """The processes that this one has started: a decoder is there from the start, for the first image."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@pytest.fixture
def interpreter(house: House) -> Interpreter:
    return Interpreter(house.root / "python")


def on(house: House, interpreter: Interpreter) -> tuple[House, list[str]]:
    """The house for a daemon that runs on this interpreter, and how it is started."""
    environ = {**house.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = [str(interpreter.path), "-m", "expandd", "run", "--verbose", "--config", str(house.config)]
    return replace(house, environ=environ), run


def test_an_interpreter_that_is_gone_is_a_pause_that_ends_by_itself(
    house: House, server: Simulator, interpreter: Interpreter
) -> None:
    living, run = on(house, interpreter)
    inbox = house.folder() / "inbox"
    with living.running(run) as daemon:
        interpreter.break_()
        for pid in children(daemon.process.pid):
            os.kill(pid, signal.SIGKILL)
        (inbox / "pic.png").write_bytes(an_image("png"))
        line = daemon.wait_for("pause.started")
        status = seen(house, "status", until=lambda values: bool(values["pauses"]))
        why = seen(house, "why", "pic.png", until=lambda values: values["files"][0]["hindrance"] == "pause")
        interpreter.bring()
        daemon.finished()
        seen(house, "status", until=lambda values: not values["pauses"])
        assert daemon.stop() == 0

    assert line["reason"] == "decoder_unavailable"
    assert str(interpreter.path) in line["why"]
    assert status["pauses"][0]["reason"] == "decoder_unavailable"
    assert why["files"][0]["waits_on"][0]["reason"] == "decoder_unavailable"
    assert_good_client(server, images=1)


def test_once_ends_and_says_that_files_wait_where_nothing_can_be_decoded(house: House) -> None:
    inbox = house.folder() / "inbox"
    (inbox / "pic.png").write_bytes(an_image("png"))
    broken = house.root / "python"
    broken.write_bytes(b"half of a program")
    code = (
        "import sys; from expandd.service.cli.cli import cli\n"
        f"sys.executable = {str(broken)!r}; sys.argv[0] = 'expandd'; cli()"
    )
    interpreter = house.root / "starter"
    interpreter.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
    interpreter.chmod(0o755)
    with house.starting([str(interpreter), "once", "--config", str(house.config)]) as daemon:
        line = daemon.wait_for("pause.started")
        assert daemon.process.wait(timeout=30) == 4

    assert line["reason"] == "decoder_unavailable"
    assert names(inbox) == ["pic.png"]


def test_good_files_pass_by_many_bad_ones(house: House, server: Simulator) -> None:
    hot = house.folder()
    bad = {f"bomb-{number:03}.webp": webp_claiming(1 << 24, 1 << 24) for number in range(40)}
    bad |= {"scans.jpg": many_scans(40_000, 4096, 4096), "text.png": swelling_text(100 << 20)}
    for name, content in bad.items():
        (hot / "inbox" / name).write_bytes(content)
    with house.running() as daemon:
        started = time.monotonic()
        (hot / "inbox" / "good.png").write_bytes(an_image("png"))
        daemon.finished()
        good = time.monotonic() - started
        daemon.wait_for("job.failed", lambda line: "outcome" in line, times=len(bad))

    assert good < 20
    assert names(hot / "error") == sorted(bad)
    sidecar = json.loads((hot / "error" / "scans.jpg.error.json").read_text())
    assert "scans" in sidecar["message"]
    assert_good_client(server, images=1)


def test_of_several_images_in_one_file_the_first_is_expanded(house: House, server: Simulator) -> None:
    hot = house.folder()
    data, first = several_images(300, 200)
    (hot / "inbox" / "IMG_1.JPG").write_bytes(data)
    with house.running() as daemon:
        daemon.finished()

    [upload] = server.counts().uploads
    assert upload.sha256 == hashlib.sha256(first).hexdigest()
    assert (hot / "done" / "IMG_1.JPG").read_bytes() == data
    assert_good_client(server, images=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_that_may_not_be_read_goes_to_the_error_folder_at_once(house: House, server: Simulator) -> None:
    house.build(defaults="settle: 200ms, settle_max: 10m", folders={"hot": "offsets: {top: 10}"})
    hot = house.folder()
    for name in ("theirs.png", "good.png"):
        (hot / "inbox" / name).write_bytes(an_image("png"))
    (hot / "inbox" / "theirs.png").chmod(0o600)
    os.chown(hot / "inbox" / "theirs.png", 23_002, 23_002)
    run = [*command(), "run", "--verbose", "--config", str(house.config)]
    with house.running(bound_by_permissions(run)) as daemon:
        daemon.wait_for("job.failed", lambda line: "outcome" in line)
        daemon.finished()
        assert daemon.stop() == 0

    sidecar = json.loads((hot / "error" / "theirs.png.error.json").read_text())
    assert sidecar["code"] == "unreadable"
    assert "its mode is 0600, its owner's user id 23002" in sidecar["message"]
    assert (hot / "error" / "theirs.png").read_bytes() == an_image("png")
    assert names(hot / "inbox") == []
    assert_good_client(server, images=1)
