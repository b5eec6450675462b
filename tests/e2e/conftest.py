"""The simulator and a house of hot folders for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.daemon import House


@pytest.fixture
def server() -> Iterator[Simulator]:
    switches = Switches(poll_limit=0.1, generate_min=0.1, generate_max=0.2, pro=True)
    with Simulator(switches) as running:
        yield running


@pytest.fixture
def house(tmp_path: Path, server: Simulator) -> House:
    house = House(tmp_path, server.api_url)
    house.build()
    return house
