"""A storm over machines of their own that share one inbox by NFS: power cuts, frozen kernels, unplugged cables.

EXPANDD_STORM=1 runs it with 40 images over two hosts; EXPANDD_MACHINES_IMAGES for more, EXPANDD_STORM_SEED for another
course of it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.simulator.faults import Endpoint, Fault, FaultKind
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.machines.hosts import HOT, hosts, started
from tests.machines.machine import ON_MACHINES, Machine, Site
from tests.support.cluster import LEASE
from tests.support.daemon import PARTS, Daemon
from tests.support.images import an_image
from tests.support.postgres import Server

IMAGES = int(os.environ.get("EXPANDD_MACHINES_IMAGES", "40"))
SEED = int(os.environ.get("EXPANDD_STORM_SEED", "1"))

WITHIN = 240.0 + 20.0 * IMAGES
"""Seconds after which it has failed."""

EVILS = {"kill": 4, "power": 2, "freeze": 3, "unplug": 3, "share": 1, "postgres": 1, "nothing": 70}
"""How often each comes to pass. A start takes these machines some seconds, and there is to be time for some work."""

pytestmark = [*ON_MACHINES, pytest.mark.timeout(WITHIN + 120.0)]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    switches = Switches(
        poll_limit=0.1, generate_min=0.3, generate_max=2.0, pro=True, seed=SEED, credits=Decimal(10 * IMAGES)
    )
    with Simulator(switches) as running:
        running.set_fault(Fault(Endpoint.GENERATE, FaultKind.RESET, times=None, probability=0.05, after=True))
        running.set_fault(Fault(Endpoint.GENERATE, FaultKind.HANG, times=None, probability=0.05, seconds=1.0))
        yield running


@pytest.fixture
def machines(tmp_path: Path, simulator: Simulator, postgres: Server) -> Iterator[Site]:
    with hosts(tmp_path, simulator, postgres, settle="settle: 100ms, settle_max: 1s") as found:
        yield found


@dataclass
class Storm:
    """The machines, the daemons that live on them, and what was done to them."""

    site: Site
    postgres: Server
    stack: ExitStack
    dice: random.Random
    living: dict[str, Daemon] = field(default_factory=dict)
    away: dict[str, tuple[float, str]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        daemon = started(self.site.hosts[name])
        self.stack.callback(daemon.end)
        self.living[name] = daemon

    def blow(self) -> None:
        """Do one more bad thing, or none."""
        self._bring_back(time.monotonic())
        for name in self.site.hosts.keys() - self.living.keys():
            self.start(name)
        name = self.dice.choice([*self.site.hosts])
        match self.dice.choices([*EVILS], [*EVILS.values()])[0]:
            case "kill" if name not in self.away:
                self.living.pop(name).kill()
                self.done["kills"] += 1
            case "power":
                self._cut_power(self.site.hosts[name])
                self.done["power cuts"] += 1
            case "freeze" | "unplug" as how if name not in self.away:
                host = self.site.hosts[name]
                (host.freeze if how == "freeze" else host.unplug)()
                self.away[name] = (time.monotonic() + self.dice.choice((0.5, 2.0, 2.5 * LEASE)), how)
                self.done[f"{how}s"] += 1
            case "share":
                self.site.server.lose_power()
                self.site.server.power_on()
                self.done["power cuts of the share"] += 1
            case "postgres":
                self.postgres.stop()
                time.sleep(self.dice.choice((0.2, 1.0, 1.5 * LEASE)))
                self.postgres.start()
                self.done["deaths of Postgres"] += 1

    def _cut_power(self, host: Machine) -> None:
        host.lose_power()
        self.living.pop(host.name).end()
        if self.away.pop(host.name, (0.0, ""))[1] == "unplug":
            host.plug_in()
        host.power_on()

    def _bring_back(self, now: float) -> None:
        for name, (until, how) in tuple(self.away.items()):
            if now >= until:
                del self.away[name]
                host = self.site.hosts[name]
                (host.thaw if how == "freeze" else host.plug_in)()

    def calm(self) -> None:
        """Let all go on that are away, and start all that are dead."""
        self._bring_back(float("inf"))
        for name in self.site.hosts.keys() - self.living.keys():
            self.start(name)


def test_each_image_is_paid_and_delivered_once_over_power_cuts(
    machines: Site, simulator: Simulator, postgres: Server
) -> None:
    dice = random.Random(f"machines {SEED}")
    deadline, dropped = time.monotonic() + WITHIN, 0
    with ExitStack() as stack:
        storm = Storm(machines, postgres, stack, dice)
        done: list[str] = []
        while len(done) < IMAGES:
            assert time.monotonic() < deadline, _said(simulator, storm)
            if dropped < IMAGES and len(machines.server.names(f"{HOT}/inbox")) < 8:
                for _ in range(min(4, IMAGES - dropped)):
                    machines.server.write(f"{HOT}/inbox/{dropped:05}.png", an_image("png", seed=dropped))
                    dropped += 1
            if len(done) < IMAGES * 0.9:
                storm.blow()
            else:
                storm.calm()
            time.sleep(0.4)
            done = machines.server.names(f"{HOT}/done")
        storm.calm()
        for daemon in storm.living.values():
            daemon.process.send_signal(signal.SIGTERM)
        for daemon in storm.living.values():
            daemon.process.wait(60.0)
    print(f"\n{_said(simulator, storm)}")
    expected = [f"{number:05}.png" for number in range(IMAGES)]
    found = {part: machines.server.names(f"{HOT}/{part}") for part in PARTS}
    assert found == {"inbox": [], "outbox": expected, "done": expected, "error": []}
    counts = simulator.counts()
    assert set(counts.generates_by_source.values()) == {1}
    assert len(counts.generates_by_source) == IMAGES


def _said(simulator: Simulator, storm: Storm) -> str:
    counts = simulator.counts()
    paid, twice = sum(counts.generates_by_source.values()), len(counts.paid_twice)
    files = {part: len(storm.site.server.names(f"{HOT}/{part}")) for part in PARTS}
    return f"{IMAGES} images, {len(storm.site.hosts)} hosts, {dict(storm.done)}: paid {paid}, twice {twice}, {files}"
