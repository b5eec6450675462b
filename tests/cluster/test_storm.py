"""A storm over several hosts: kills, freezes shorter and longer than a lease, and a Postgres that dies, all by chance.

EXPANDD_STORM=1 runs it with 60 images over three hosts; EXPANDD_CLUSTER_IMAGES and EXPANDD_CLUSTER_HOSTS for more,
EXPANDD_STORM_SEED for another course of it. With EXPANDD_CLUSTER_KILLS images come until so many hosts were killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
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
from tests.support.cluster import LEASE, hosts
from tests.support.daemon import Daemon, House, names
from tests.support.images import an_image
from tests.support.postgres import Server

IMAGES = int(os.environ.get("EXPANDD_CLUSTER_IMAGES", "60"))
HOSTS = int(os.environ.get("EXPANDD_CLUSTER_HOSTS", "3"))
KILLS = int(os.environ.get("EXPANDD_CLUSTER_KILLS", "0"))
SEED = int(os.environ.get("EXPANDD_STORM_SEED", "1"))

WITHIN = 60.0 + 20.0 * IMAGES + 6.0 * KILLS
"""Seconds after which it has failed."""

BLOWS = {"kill": 12.0 if KILLS else 4.0, "freeze": 3.0, "stop": 1.0, "postgres": 0.3, "nothing": 8.0}
"""How often each comes to pass."""

pytestmark = [
    pytest.mark.storm,
    pytest.mark.timeout(WITHIN + 60.0),
    pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="some minutes; set EXPANDD_STORM=1"),
]


@pytest.fixture
def server() -> Iterator[Simulator]:
    switches = Switches(
        poll_limit=0.1,
        generate_min=0.3,
        generate_max=2.0,
        pro=True,
        seed=SEED,
        credits=Decimal(10 * IMAGES + 100 * KILLS),
    )
    with Simulator(switches) as running:
        for kind in (FaultKind.RESET, FaultKind.BAD_GATEWAY):
            for endpoint in Endpoint:
                running.set_fault(Fault(endpoint, kind, times=None, probability=0.03))
        running.set_fault(Fault(Endpoint.GENERATE, FaultKind.RESET, times=None, probability=0.05, after=True))
        running.set_fault(Fault(Endpoint.GENERATE, FaultKind.HANG, times=None, probability=0.05, seconds=1.0))
        yield running


@dataclass
class Storm:
    """The hosts that live, those that are frozen until then, and what was done to them."""

    houses: dict[str, House]
    postgres: Server
    stack: ExitStack
    dice: random.Random
    living: dict[str, Daemon] = field(default_factory=dict)
    frozen: dict[str, float] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        self.living[name] = self.stack.enter_context(self.houses[name].starting())

    def blow(self) -> None:
        """Do one more bad thing, or none."""
        for name, until in tuple(self.frozen.items()):
            if time.monotonic() >= until:
                del self.frozen[name]
                self.living[name].process.send_signal(signal.SIGCONT)
        for name in self.houses.keys() - self.living.keys():
            self.start(name)
        name = self.dice.choice([*self.houses])
        match self.dice.choices([*BLOWS], [*BLOWS.values()])[0]:
            case "kill":
                self.frozen.pop(name, None)
                self.living.pop(name).kill()
                self.done["kills"] += 1
            case "freeze" if name not in self.frozen:
                self.living[name].process.send_signal(signal.SIGSTOP)
                self.frozen[name] = time.monotonic() + self.dice.choice((0.5, 2.0, 2.5 * LEASE))
                self.done["freezes"] += 1
            case "stop" if name not in self.frozen:
                self.stop(name)
                self.done["stops"] += 1
            case "postgres":
                self.postgres.stop()
                time.sleep(self.dice.choice((0.2, 1.0, 1.5 * LEASE)))
                self.postgres.start()
                self.done["deaths of Postgres"] += 1

    def stop(self, name: str) -> None:
        """Stop it as systemd does; the log of one that does not end is shown."""
        daemon = self.living.pop(name)
        try:
            daemon.stop()
        except subprocess.TimeoutExpired:
            daemon.process.send_signal(signal.SIGABRT)
            daemon.wait_for("never")

    def calm(self) -> None:
        """Let all go on that are frozen, and start all that are dead."""
        for name in self.frozen:
            self.living[name].process.send_signal(signal.SIGCONT)
        self.frozen.clear()
        for name in self.houses.keys() - self.living.keys():
            self.start(name)


def test_each_image_is_paid_and_delivered_once_over_dying_hosts(
    tmp_path: Path, server: Simulator, postgres: Server
) -> None:
    letters = "abcdefgh"[:HOSTS]
    houses = hosts(tmp_path, server.api_url, postgres.database(), letters, top="workers: 3", api="unknown_wait: 3s")
    hot, dice = tmp_path / "hot", random.Random(f"cluster {SEED}")
    deadline, dropped = time.monotonic() + WITHIN, 0
    with ExitStack() as stack:
        storm = Storm(houses, postgres, stack, dice)
        for name in letters:
            storm.start(name)
        while (blows := storm.done["kills"] < KILLS) or len(names(hot / "done")) < max(IMAGES, dropped):
            assert time.monotonic() < deadline, _said(hot, server, storm)
            if (blows or dropped < IMAGES) and len(names(hot / "inbox")) < 12:
                for _ in range(6):
                    (hot / "inbox" / f"{dropped:05}.png").write_bytes(an_image("png", seed=dropped))
                    dropped += 1
            if blows or len(names(hot / "done")) < IMAGES * 0.9:
                storm.blow()
            else:
                storm.calm()
            time.sleep(0.4)
        storm.calm()
        for name in letters:
            storm.stop(name)
    counts = server.counts()
    print(f"\n{_said(hot, server, storm)}")
    expected = [f"{number:05}.png" for number in range(dropped)]
    assert names(hot / "outbox") == names(hot / "done") == expected
    assert names(hot / "inbox") == names(hot / "error") == []
    assert set(counts.generates_by_source.values()) == {1}
    assert len(counts.generates_by_source) == dropped
    # One that freezes as it sends a poll sends it late.
    assert counts.polls_too_close <= storm.done["freezes"]


def _said(hot: Path, server: Simulator, storm: Storm) -> str:
    counts = server.counts()
    paid, twice = sum(counts.generates_by_source.values()), len(counts.paid_twice)
    files = {part: len(names(hot / part)) for part in ("inbox", "outbox", "done", "error")}
    return f"{HOSTS} hosts, {dict(storm.done)}: paid {paid}, twice {twice}, {files}"
