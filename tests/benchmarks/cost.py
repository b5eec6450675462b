"""Cost: processor time and memory for each image, of the whole process tree, small images and large ones.

Beside expandd stand the curl pipeline, and one decode of a source and its result: less cannot be done by anybody who
looks whether images are whole.
"""

from __future__ import annotations

import argparse
import io
import time

from PIL import Image

from tests.benchmarks import contenders, photos, table
from tests.benchmarks.contenders import CURL, Contender, Task
from tests.benchmarks.meter import watched
from tests.benchmarks.simulator import simulator
from tests.benchmarks.yard import Crew, Yard, yard

GENERATION = 1.0
SIZES = {"640×480": photos.SMALL, "12 megapixels": photos.LARGE}


def measure(one: Contender, images: int, size: tuple[int, int], workers: int) -> tuple[float, float, float]:
    """CPU ms for an image, peak MB, and CPU ms for one decode of a source and its result, right after."""
    task = Task(workers=workers, poll=0.6, added=size[0] // 10, settle=0.4)
    switches = {"poll_limit": 0.0, "generate_min": GENERATION, "generate_max": GENERATION}
    with simulator(**switches) as service, yard() as place:
        crew = Crew(place.log)
        try:
            one.start(place, service, task, crew)
            files = photos.stage(place.staging, images, size)
            with watched(*crew.pids) as usage:
                place.drop(files)
                if not place.wait_for(images, 120.0 + 10 * images):
                    raise RuntimeError(f"{one.name}: only {len(place.results())} of {images} results came")
                time.sleep(1.0)  # what is left to tidy up counts as well
        finally:
            crew.kill()
        return usage.cpu / images * 1000, usage.megabytes, decode_ms(photos.photo(*size), place)


def decode_ms(source: bytes, place: Yard, times: int = 5) -> float:
    result = next(path for path in place.outbox.iterdir() if not path.name.startswith(".")).read_bytes()
    began = time.process_time()
    for _ in range(times):
        for content in (source, result):
            with Image.open(io.BytesIO(content)) as image:
                image.load()
    return (time.process_time() - began) / times * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=100, help="how many small images")
    parser.add_argument("--large", type=int, default=24, help="how many large ones")
    parser.add_argument("--workers", type=int, default=4)
    chosen = parser.parse_args()
    print(table.machine())
    rows: list[list[table.Cell]] = []
    for (name, size), images in zip(SIZES.items(), (chosen.small, chosen.large), strict=True):
        cpu, peak, decode = measure(contenders.EXPANDD, images, size, chosen.workers)
        curl, curl_peak = (None, None) if CURL.missing else measure(CURL, images, size, chosen.workers)[:2]
        rows.append([name, images, cpu, peak, curl, curl_peak, decode, cpu / curl if curl else None, cpu / decode])
    if CURL.missing:
        print(f"left out: {CURL.name}: {CURL.missing}")
    table.show(
        "CPU for each image and peak memory",
        (
            "images",
            "number",
            "expandd ms",
            "expandd MB",
            "curl ms",
            "curl MB",
            "one decode ms",
            "expandd / curl",
            "expandd / decode",
        ),
        rows,
    )


if __name__ == "__main__":
    main()
