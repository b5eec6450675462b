"""Random kills at random instants while images are dropped and every call may fail: paid once, nothing lost.

By default a short storm. The long one, of at least 1,000 kills and 10,000 images, takes half an hour or more:

    EXPANDD_STORM=1 pytest -s -m storm tests/storm

`EXPANDD_STORM_KILLS`, `EXPANDD_STORM_IMAGES` and `EXPANDD_STORM_SEED` change it. The seed and the figures are printed.
"""

from __future__ import annotations

import os
import random
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.storm import Storm

LONG = os.environ.get("EXPANDD_STORM") == "1"


def seed() -> int:
    return int(os.environ.get("EXPANDD_STORM_SEED") or random.SystemRandom().randrange(10**6))


def rage(root: Path, images: int, kills: int) -> None:
    number = seed()
    switches = Switches(
        poll_limit=0.045, generate_min=0.05, generate_max=0.4, pro=True, credits=Decimal(10**6), seed=number
    )
    with Simulator(switches) as server:
        storm = Storm(root, server, number, images, kills)
        print(f"storm: seed {number}, log {storm.log}", flush=True)
        storm.rage()
        print(storm.figures, flush=True)
        storm.assert_nothing_happened()


@pytest.mark.timeout(180)
def test_a_short_storm_of_kills_and_faults_loses_nothing_and_pays_once(tmp_path: Path) -> None:
    rage(tmp_path, images=20, kills=4)


@pytest.mark.storm
@pytest.mark.timeout(4 * 3600)
@pytest.mark.skipif(not LONG, reason="half an hour or more; set EXPANDD_STORM=1")
def test_a_long_storm_of_kills_and_faults_loses_nothing_and_pays_once(tmp_path: Path) -> None:
    images = int(os.environ.get("EXPANDD_STORM_IMAGES", "10000"))
    kills = int(os.environ.get("EXPANDD_STORM_KILLS", "1000"))
    rage(tmp_path, images, kills)
