"""Side by side: the same images, the same service, the same concurrency, each contender with the whole job.

The peers poll once in three seconds for each image. The API lets them: were the limit counted for the account, as
expandd does, most of their polls would be refused.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

from tests.benchmarks import contenders, photos, table
from tests.benchmarks.contenders import Contender, Task
from tests.benchmarks.meter import Usage, watched
from tests.benchmarks.simulator import calls, requests, simulator
from tests.benchmarks.yard import Crew, yard

COLUMNS = (
    "contender",
    "images/s",
    "CPU ms/image",
    "peak MB",
    "requests/image",
    "polls in 3 s",
    "in flight",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contender's run: seconds from the drop to the last result, what its processes used, what the service saw."""

    took: float
    usage: Usage
    counts: dict[str, Any]


def race(
    one: Contender, task: Task, *, images: int, longest: float, size: tuple[int, int] = photos.SMALL, **switches: Any
) -> Run:
    """So many images through one contender, against a service with these switches. Raises RuntimeError at `longest`."""
    with simulator(**switches) as service, yard() as place:
        crew, base = Crew(place.log), Crew(place.root / "service-log")
        try:
            if one.service:
                one.service(place, base)
            one.start(place, service, task, crew)
            files = photos.stage(place.staging, images, size)
            with watched(*crew.pids, *base.pids) as usage:
                began = time.monotonic()
                place.drop(files)
                if not place.wait_for(images, longest):
                    raise RuntimeError(
                        f"{one.name}: {len(place.results())} of {images}; {place.log.read_bytes()[-2000:]!r}"
                    )
                took = time.monotonic() - began
                time.sleep(1.0)  # what is left to tidy up counts as well
            return Run(took=took, usage=usage, counts=service.counts())
        finally:
            crew.kill()
            base.kill()


def measure(
    one: Contender, *, images: int, workers: int, generation: float, speed: float, large: bool
) -> list[table.Cell]:
    size = photos.LARGE if large else photos.SMALL
    task = Task(workers=workers, poll=3.0 / speed, added=size[0] // 10, settle=2.0 / speed)
    seconds = generation / speed
    run = race(
        one,
        task,
        images=images,
        longest=120 + 4 * images * (seconds + task.poll),
        size=size,
        poll_limit=0.0,
        generate_min=seconds,
        generate_max=seconds,
    )
    return [
        one.name,
        images / run.took / speed,
        run.usage.cpu / images * 1000,
        run.usage.megabytes,
        requests(run.counts) / images,
        calls(run.counts, "poll") / (run.took * speed) * 3.0,
        run.counts["in_flight_max"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--generation", type=float, default=10.0, help="seconds, real ones")
    parser.add_argument("--speed", type=float, default=5.0, help="divides all times")
    parser.add_argument("--large", action="store_true", help="12-megapixel images")
    parser.add_argument("--only", nargs="+", help="parts of names")
    chosen = parser.parse_args()
    print(table.machine())
    rows = [
        measure(
            one,
            images=chosen.images,
            workers=chosen.workers,
            generation=chosen.generation,
            speed=chosen.speed,
            large=chosen.large,
        )
        for one in contenders.present(chosen.only)
    ]
    kind = "12-megapixel" if chosen.large else "640×480"
    table.show(
        f"{chosen.images} {kind} images, {chosen.workers} at once, {chosen.generation:g} s of generation each, "
        f"all times {chosen.speed:g} × faster; images/s and polls in 3 s as at real speed",
        COLUMNS,
        rows,
    )


if __name__ == "__main__":
    main()
