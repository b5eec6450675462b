"""Pick-up: from the close of a file to the first byte of its upload, beyond the settle time.

Cold is an image that comes after a rest of some seconds: the process that looks into images has ended by then.
Warm is one that follows another.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

from tests.benchmarks import daemon, photos, table
from tests.benchmarks.simulator import SimulatorProcess, calls, simulator
from tests.benchmarks.yard import until

REST = 11.0
"""Seconds after which expandd has ended its idle children."""


def measure(images: int, *, settle: float, rest: float, size: tuple[int, int]) -> list[float]:
    """Milliseconds, one for each image, in order."""
    defaults = daemon.FolderDefaults(settle=settle, poll=0.5)
    found: list[float] = []
    switches = {"poll_limit": defaults.poll, "generate_min": 0.2, "generate_max": 0.2}
    with simulator(**switches) as service, daemon.running(service, defaults) as (place, _):
        content = photos.photo(*size)
        for number in range(images):
            time.sleep(rest)
            with (place.inbox / f"pic-{number}.jpg").open("wb") as file:
                file.write(photos.numbered(content, number))
            closed = time.monotonic()
            if not until(partial(_uploaded, service, number + 1), 60.0):
                raise RuntimeError("no upload came")
            began = service.counts()["uploads"][-1]["began"]
            found.append((began - closed - settle) * 1000)
            place.wait_for(number + 1, 60.0)
    return found


def _uploaded(service: SimulatorProcess, number: int) -> bool:
    return calls(service.counts(), "upload") >= number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--settle", type=float, default=2.0)
    chosen = parser.parse_args()
    print(table.machine())
    rows: list[list[table.Cell]] = []
    for name, rest, size in (
        ("small, warm", 1.0, photos.SMALL),
        ("small, cold", REST, photos.SMALL),
        ("12 megapixels, warm", 1.0, photos.LARGE),
        ("12 megapixels, cold", REST, photos.LARGE),
    ):
        found = measure(chosen.images, settle=chosen.settle, rest=rest, size=size)
        rows.append([name, len(found), min(found), statistics.median(found), max(found)])
    table.show(
        "Close of the file to the first byte of its upload, beyond settle, ms",
        ["", "images", "least", "median", "most"],
        rows,
    )


if __name__ == "__main__":
    main()
