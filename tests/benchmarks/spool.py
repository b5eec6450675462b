"""Keeping: what becomes of files that are there before the start, come in an outage, or are in progress at a SIGKILL.

Kept is what lies in the outbox in the end, without anybody lending a hand. What was paid for without a result in the
outbox, and what was paid for twice, the API has counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import contenders, photos, table
from tests.benchmarks.contenders import Contender, Task
from tests.benchmarks.simulator import SimulatorProcess, simulator
from tests.benchmarks.yard import Crew, Yard, until, yard

GENERATION = 1.0
TASK = Task(workers=4, poll=0.6, added=64, settle=0.4)
AWAY = 4.0
QUIET, LONGEST = 12.0, 150.0
"""Seconds without a new result after which no more are expected, and seconds in all."""

Start = Callable[[], None]
Story = Callable[[Yard, SimulatorProcess, Crew, Start, Sequence[Path]], None]


def there_before(place: Yard, _simulator: SimulatorProcess, _crew: Crew, start: Start, files: Sequence[Path]) -> None:
    """The files lie in the inbox when the program starts."""
    place.drop(files)
    start()


def service_away(place: Yard, service: SimulatorProcess, _crew: Crew, start: Start, files: Sequence[Path]) -> None:
    """Half of the files come before the API goes away, half while it is away."""
    start()
    half = len(files) // 2
    place.drop(files[:half])
    until(lambda: service.counts()["generates_accepted"] >= TASK.workers, 20.0)
    service.go_away()
    place.drop(files[half:])
    time.sleep(AWAY)
    service.come_back()


def killed(place: Yard, service: SimulatorProcess, crew: Crew, start: Start, files: Sequence[Path]) -> None:
    """SIGKILL to every process in the middle of a burst, then a new start."""
    start()
    place.drop(files)
    until(lambda: len(place.results()) >= TASK.workers, 30.0)
    until(lambda: service.counts()["generates_accepted"] >= 2 * TASK.workers, 20.0)
    crew.kill()
    start()


STORIES: dict[str, tuple[int, Story]] = {
    "there before the start": (12, there_before),
    f"service away for {AWAY:g} s": (24, service_away),
    "kill −9 in a burst": (40, killed),
}


def measure(one: Contender, number: int, history: Story) -> dict[str, Any]:
    """How many were kept, paid for in vain and paid for twice."""
    seconds = {"generate_min": GENERATION, "generate_max": GENERATION}
    with simulator(poll_limit=0.0, **seconds) as service, yard() as place:
        crew, base = Crew(place.log), Crew(place.root / "service-log")
        try:
            if one.service:
                one.service(place, base)
            files = photos.stage(place.staging, number)
            history(place, service, crew, lambda: one.start(place, service, TASK, crew), files)
            until(lambda: len(place.results()) >= number, 20.0)
            place.quiet(QUIET, LONGEST)
        finally:
            crew.kill()
            base.kill()
        counts, kept = service.counts(), len(place.results())
        twice = len(counts["paid_twice"])
        return {"kept": kept, "of": number, "twice": twice, "in vain": len(counts["generates_by_source"]) - kept}


def told(found: dict[str, Any]) -> str:
    said = f"{found['kept']}/{found['of']}"
    lost = f", {found['in vain']} paid in vain" if found["in vain"] > 0 else ""
    return said + lost + (f", {found['twice']} paid twice" if found["twice"] else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", help="parts of names")
    chosen = parser.parse_args()
    print(table.machine())
    rows = [
        [one.name, *(told(measure(one, number, history)) for number, history in STORIES.values())]
        for one in contenders.present(chosen.only)
    ]
    table.show("Results in the outbox, of those dropped", ["contender", *STORIES], rows)


if __name__ == "__main__":
    main()
