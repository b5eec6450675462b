"""The real program when no descriptor is left: it waits, says so, and goes on once there is room."""

from __future__ import annotations

import os
import resource
from collections import Counter

import pytest

from expandd.simulator.server import Simulator
from tests.e2e.conftest import house, server
from tests.support.daemon import Daemon, House, names
from tests.support.images import an_image

__all__ = ["house", "server"]

FILES = 6


def limit(daemon: Daemon, more: int) -> tuple[int, int]:
    """From now on it may open so many descriptors beyond those that it has; the limits that it had before."""
    highest = max(int(name) for name in os.listdir(f"/proc/{daemon.process.pid}/fd"))
    before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (highest + 1 + more, before[1]))
    return before


def drop(house: House, numbers: range) -> None:
    for number in numbers:
        path = house.root / f"spare-{number}"
        path.write_bytes(an_image("png", seed=number))
        path.rename(house.folder() / "inbox" / f"{number}.png")


@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_no_descriptor_left_costs_nothing_but_time(house: House, server: Simulator, more: int) -> None:
    house.build(folders={"hot": "offsets: {top: 10}, scan_interval: 1s"})
    with house.running() as daemon:
        drop(house, range(1))
        daemon.finished()
        before = limit(daemon, more)
        drop(house, range(1, FILES))
        # With three, each job may get by in its turn: then it is said by those that were put off.
        said_by = ("pause.started",) if more < 3 else ("pause.started", "job.retrying")
        why = daemon.wait_for(said_by, lambda line: "Too many open files" in line["why"])["why"]
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
        daemon.finished(times=FILES)
        said = Counter(line["event"] for line in daemon.lines)
        assert daemon.stop() == 0

    expected = [f"{number}.png" for number in range(FILES)]
    assert "Too many open files" in why
    assert names(house.folder() / "outbox") == names(house.folder() / "done") == expected
    assert names(house.folder() / "error") == []
    assert set(server.counts().generates_by_source.values()) == {1}
    assert max(said.values()) < 10 * FILES, said
