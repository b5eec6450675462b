"""The real program when no thread and no process can be started: it waits, and goes on once some can."""

from __future__ import annotations

import os
import subprocess

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import House, command, names
from tests.support.images import an_image
from tests.support.task_limit import needs_task_limit, task_limit

pytestmark = needs_task_limit

FILES = 4


def drop(house: House, numbers: range) -> None:
    for number in numbers:
        path = house.root / f"spare-{number}"
        path.write_bytes(an_image("png", seed=number))
        path.rename(house.folder() / "inbox" / f"{number}.png")


@pytest.mark.parametrize("more", [0, 1])
def test_no_thread_left_costs_nothing_but_time(house: House, server: Simulator, more: int) -> None:
    hook = house.root / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    top = f"metrics_file: {house.root}/expandd.prom\nhooks: {{on_done: {{command: [{hook}]}}}}"
    house.build(top=top, folders={"hot": "offsets: {top: 10}, scan_interval: 1s"})
    program = [*command(), "run", "--verbose", "--config", str(house.config)]
    with task_limit() as limit, house.running(limit.around(program)) as daemon:
        limit.leave(more)
        drop(house, range(FILES))
        daemon.wait_for("pause.started")
        limit.most(None)
        daemon.finished(times=FILES)
        assert daemon.stop() == 0

    assert names(house.folder() / "done") == [f"{number}.png" for number in range(FILES)]
    assert names(house.folder() / "error") == []
    assert set(server.counts().generates_by_source.values()) == {1}
    assert [line for line in daemon.lines if line["event"] in {"bug.found", "not.json"}] == []


def test_a_start_without_threads_says_in_a_sentence_what_to_raise(house: House) -> None:
    with task_limit() as limit:
        limit.most(3)
        program = limit.around([*command(), "run", "--config", str(house.config)])
        environ = {**os.environ, **house.environ}
        done = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "TasksMax=" in done.stderr
    assert "Traceback" not in done.stderr
