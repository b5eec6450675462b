"""Files that are written slowly, at the file server or from another machine, while a host looks at them over NFS.

What a host knows of a file there may be seconds old: the size stands still for it while somebody writes.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.machines.hosts import HOT, hosts, started
from tests.machines.machine import ON_MACHINES, Machine, Site
from tests.support.images import an_image
from tests.support.postgres import Server

pytestmark = [*ON_MACHINES, pytest.mark.timeout(600.0)]

PATIENCE = 180.0

WRITE_SLOWLY = """
import base64, json, os, sys, time
path, how = sys.argv[1:]
content = base64.b64decode(sys.stdin.read())
file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
if how == "allocated":
    os.truncate(file, len(content))
step = len(content) // 20 + 1
for start in range(0, len(content), step):
    os.write(file, content[start:start + step])
    if how != "kept":
        os.fsync(file)
    time.sleep(1.2)
os.close(file)
"""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Switches(poll_limit=0.1, pro=True, credits=Decimal(100))) as running:
        yield running


@pytest.fixture
def machines(tmp_path: Path, simulator: Simulator, postgres: Server) -> Iterator[Site]:
    with hosts(tmp_path, simulator, postgres, settle="settle: 2s") as found:
        yield found


def test_no_file_is_taken_before_its_writer_has_ended(machines: Site, simulator: Simulator) -> None:
    first, second = machines.hosts.values()
    ways = itertools.product((machines.server, second), ("synced", "kept", "allocated"), ("jpeg", "bmp"))
    drops = [
        (machine, f"{machine.name}-{how}.{kind}", how, an_image(kind, 320, 240, seed=seed))
        for seed, (machine, how, kind) in enumerate(ways)
    ]
    daemon = started(first)
    try:
        daemon.wait_for("expandd.started")
        writers = [threading.Thread(target=_write, args=drop) for drop in drops]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        deadline, expected = time.monotonic() + PATIENCE, sorted(name for _, name, _, _ in drops)
        while (done := machines.server.names(f"{HOT}/done")) != expected:
            assert time.monotonic() < deadline, (done, machines.server.names(f"{HOT}/error"))
            time.sleep(0.5)
    finally:
        daemon.end()
    sums = machines.server.run("sh", "-c", f"cd {HOT}/done; sha256sum *").split()
    assert dict(zip(sums[1::2], sums[::2], strict=True)) == {
        name: hashlib.sha256(content).hexdigest() for _, name, _, content in drops
    }
    assert len(machines.server.names(f"{HOT}/outbox")) == len(drops)
    counts = simulator.counts()
    assert list(counts.generates_by_source.values()) == [1] * len(drops)
    # What is sent as it is was whole when it was sent.
    whole = {hashlib.sha256(content).hexdigest() for _, name, _, content in drops if name.endswith("jpeg")}
    assert whole <= counts.generates_by_source.keys()


def _write(machine: Machine, name: str, how: str, content: bytes) -> None:
    encoded = base64.b64encode(content).decode()
    machine.run("/usr/bin/python3", "-c", WRITE_SLOWLY, f"{HOT}/inbox/{name}", how, text=encoded)
