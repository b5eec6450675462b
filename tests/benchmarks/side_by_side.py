"""Side by side: the same images, the same service, the same concurrency, each contender with the whole job.

The peers poll once in three seconds for each image. The API lets them: were the limit counted for the account, as
expandd does, most of their polls would be refused.
"""

from __future__ import annotations

import argparse
import time

from tests.benchmarks import contenders, photos, table
from tests.benchmarks.contenders import Contender, Task
from tests.benchmarks.meter import watched
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


def measure(
    one: Contender, *, images: int, workers: int, generation: float, speed: float, large: bool
) -> list[table.Cell]:
    size = photos.LARGE if large else photos.SMALL
    task = Task(workers=workers, poll=3.0 / speed, added=size[0] // 10, settle=2.0 / speed)
    seconds = generation / speed
    with simulator(poll_limit=0.0, generate_min=seconds, generate_max=seconds) as service, yard() as place:
        crew, base = Crew(place.log), Crew(place.root / "service-log")
        try:
            if one.service:
                one.service(place, base)
            one.start(place, service, task, crew)
            files = photos.stage(place.staging, images, size)
            with watched(*crew.pids, *base.pids) as usage:
                began = time.monotonic()
                place.drop(files)
                if not place.wait_for(images, 120 + 4 * images * (seconds + task.poll)):
                    raise RuntimeError(
                        f"{one.name}: {len(place.results())} of {images}; {place.log.read_bytes()[-2000:]!r}"
                    )
                took = time.monotonic() - began
                time.sleep(1.0)  # what is left to tidy up counts as well
            counts = service.counts()
        finally:
            crew.kill()
            base.kill()
    return [
        one.name,
        images / took / speed,
        usage.cpu / images * 1000,
        usage.megabytes,
        requests(counts) / images,
        calls(counts, "poll") / (took * speed) * 3.0,
        counts["in_flight_max"],
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
