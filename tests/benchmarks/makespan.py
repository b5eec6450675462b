"""Makespan: how long many images take, over what the API alone would take.

The ideal has the same generation times handed to as many workers one by one, and everything else at no cost. For
constant times that is images × seconds / workers.
"""

from __future__ import annotations

import argparse
import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks import daemon, photos, table
from tests.benchmarks.simulator import calls, requests, simulator

SPREADS = {
    "constant": (1.0, 1.0, "even"),
    "uniform": (0.5, 1.5, "even"),
    "long tail": (0.75, 2.0, "long-tail"),
}
"""Least and most as multiples of the mean, and the shape between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run. Seconds are real ones, before `speed` divides all of them."""

    workers: int
    images: int
    spread: str
    generation: float
    speed: float
    poll: float = 3.0
    settle: float = 2.0


def ideal(seconds: Sequence[float], workers: int) -> float:
    """The end of the last one, when each begins as soon as a worker is free."""
    free = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def blind(seconds: Sequence[float], workers: int, poll: float) -> float:
    """The same, when an end is seen only by the next of the polls that come once in `poll` seconds."""
    free = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(free, poll * math.ceil((free[0] + each) / poll))
    return max(free)


def measure(case: Case) -> list[table.Cell]:
    least, most, shape = SPREADS[case.spread]
    mean = case.generation / case.speed
    defaults = daemon.FolderDefaults(workers=case.workers, poll=case.poll / case.speed, settle=case.settle / case.speed)
    switches = {
        "poll_limit": defaults.poll,
        "generate_min": least * mean,
        "generate_max": most * mean,
        "generate_spread": shape,
    }
    with simulator(**switches) as service, daemon.running(service, defaults) as (place, _):
        files = photos.stage(place.staging, case.images)
        began = time.monotonic()
        place.drop(files)
        if not place.wait_for(case.images, 60 + 6 * case.images * mean / case.workers):
            raise RuntimeError(f"only {len(place.results())} of {case.images} results came")
        took = time.monotonic() - began
        counts = service.counts()
    best = ideal(counts["generation_seconds"], case.workers)
    return [
        case.spread,
        case.workers,
        case.images,
        f"{case.generation:g} s",
        f"{case.speed:g} ×",
        took * case.speed,
        best * case.speed,
        round(took / best, 3),
        round(blind(counts["generation_seconds"], case.workers, defaults.poll) / best, 3),
        requests(counts) / case.images,
        calls(counts, "poll"),
        counts["poll_gap_min"] * case.speed,
        counts["in_flight_max"],
    ]


COLUMNS = (
    "times",
    "workers",
    "images",
    "generation",
    "speed",
    "took s",
    "ideal s",
    "ratio",
    "ratio, blind",
    "requests/image",
    "polls",
    "least gap s",
    "in flight",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--spread", nargs="+", choices=SPREADS, default=list(SPREADS))
    parser.add_argument("--generation", type=float, default=10.0, help="mean seconds, real ones")
    parser.add_argument("--rounds", type=int, default=10, help="images for each worker")
    parser.add_argument("--speed", type=float, default=1.0, help="divides all times: poll limit, settle, generation")
    chosen = parser.parse_args()
    print(table.machine())
    rows = [
        measure(
            Case(
                workers=workers,
                images=workers * chosen.rounds,
                spread=spread,
                generation=chosen.generation,
                speed=chosen.speed,
            )
        )
        for spread in chosen.spread
        for workers in chosen.workers
    ]
    table.show("Makespan over the ideal, poll limit 3 s in force", COLUMNS, rows)


if __name__ == "__main__":
    main()
