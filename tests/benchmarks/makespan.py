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
from functools import partial

from expandd.simulator.switches import Spread, Switches
from tests.benchmarks import daemon, photos, table
from tests.benchmarks.simulator import calls, requests, simulator

SPREADS = {
    "constant": (1.0, 1.0, "even"),
    "uniform": (0.5, 1.5, "even"),
    "long tail": (0.75, 2.0, "long-tail"),
}
"""Least and most as multiples of the mean, and the shape between them."""

FINENESS = 60
"""Points by which a distribution, and the time up to the next poll, are told."""


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


def perfect(seconds: Sequence[float], workers: int, poll: float, usual: Sequence[float]) -> float:
    """The same at the best that is known for one who cannot foresee: to aim, or to ask as often as allowed."""
    return min(_aimed(seconds, workers, poll, usual), blind(seconds, workers, poll))


def _aimed(seconds: Sequence[float], workers: int, poll: float, usual: Sequence[float]) -> float:
    """Ask when the images on their way are expected to wait least for it, if they take as long as `usual` says.

    All of `usual` are alike likely.
    """
    todo, on_their_way, seen = list(reversed(seconds)), list[tuple[float, float]](), 0.0
    while todo or on_their_way:
        while todo and len(on_their_way) < workers:
            on_their_way.append((seen, seen + todo.pop()))
        first = seen + poll if seen else 0.0
        ends = [begun + each for begun, _ in on_their_way for each in usual if begun + each > seen]
        seen = min((first + step * poll / FINENESS for step in range(FINENESS)), key=partial(_waits, ends, poll))
        while not any(end <= seen for _, end in on_their_way):
            seen += poll
        on_their_way = [one for one in on_their_way if one[1] > seen]
    return seen


def _waits(ends: Sequence[float], poll: float, first: float) -> float:
    """Seconds that they wait in all, when it is asked at `first` and once in `poll` from then on."""
    return sum((first - end) % poll if end > first else first - end for end in ends)


def usual(spread: str, mean: float) -> list[float]:
    """Generation times, all alike likely."""
    least, most, shape = SPREADS[spread]
    drawn = Switches(generate_min=least * mean, generate_max=most * mean, generate_spread=Spread(shape))
    return [drawn.generation((number + 0.5) / FINENESS) for number in range(FINENESS)]


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
    seconds = counts["generation_seconds"]
    best = ideal(seconds, case.workers)
    return [
        case.spread,
        case.workers,
        case.images,
        f"{case.generation:g} s",
        f"{case.speed:g} ×",
        took * case.speed,
        best * case.speed,
        round(took / best, 3),
        round(took / (perfect(seconds, case.workers, defaults.poll, usual(case.spread, mean)) + defaults.settle), 3),
        round(blind(seconds, case.workers, defaults.poll) / best, 3),
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
    "÷ perfect poller",
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
