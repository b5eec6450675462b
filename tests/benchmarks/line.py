"""The line as the only limit: makespan over the busiest of uplink, generation and downlink, beside the peers.

`busiest` is the time of the resource that is busy longest. `ideal` fills and drains it once: each image up by itself,
generated as soon as a worker is free, down by itself, at no cost and with no poll to wait for.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from expandd.simulator.images import make_result
from expandd.simulator.state import Offsets
from expandd.simulator.switches import Switches
from tests.benchmarks import contenders, daemon, photos, table
from tests.benchmarks.contenders import Contender, Task
from tests.benchmarks.makespan import SPREADS, perfect, usual
from tests.benchmarks.side_by_side import race
from tests.benchmarks.simulator import LOGIN, requests, simulator
from tests.benchmarks.yard import Crew, until, yard


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Seconds on the uplink, to generate and on the downlink, for each image; 0 is no limit."""

    name: str
    images: int = 24
    workers: int = 4
    up: float = 0.0
    generation: float = 6.0
    down: float = 0.0
    poll: float = 3.0
    spread: str = "constant"

    @property
    def busiest(self) -> float:
        return max(self.images * self.up, self.images * self.generation / self.workers, self.images * self.down)


LINES = (
    Case(name="generation", up=1.2, down=0.6),
    Case(name="uplink", up=3.0),
    Case(name="downlink", down=3.0),
)
SHORT = Case(name="short", images=160, workers=16, generation=1.0, poll=0.25)
POLLS = tuple(Case(name=spread, images=160, workers=16, generation=10.0, spread=spread) for spread in SPREADS)
CASES = {case.name: case for case in (*LINES, SHORT, *POLLS)}


def ideal(case: Case, seconds: Sequence[float]) -> float:
    """When the last image is down, if nothing but the three of them takes any time."""
    free, ends = [0.0] * case.workers, []
    for number, generation in enumerate(seconds):
        begins = max((number + 1) * case.up, free[0])
        heapq.heapreplace(free, begins + generation)
        ends.append(begins + generation)
    down = 0.0
    for end in sorted(ends):
        down = max(down, end) + case.down
    return down


def measure(one: Contender, case: Case, settle: float) -> list[table.Cell]:
    added = photos.SMALL[0] // 10
    sent = photos.numbered(photos.photo(*photos.SMALL), 0)
    got, _ = make_result(sent, Offsets(0, 0, added, added), Switches(plain=True), watermark=False)
    least, most, shape = SPREADS[case.spread]
    own = one is contenders.EXPANDD
    run = race(
        one,
        Task(workers=case.workers, poll=case.poll, added=added, settle=settle),
        images=case.images,
        longest=60 + 4 * case.images * (case.up + case.down + case.generation + case.poll),
        uplink=len(sent) / case.up if case.up else 0.0,
        downlink=len(got) / case.down if case.down else 0.0,
        generate_min=least * case.generation,
        generate_max=most * case.generation,
        generate_spread=shape,
        poll_limit=case.poll if own else 0.0,
    )
    seconds, waited = run.counts["generation_seconds"], settle if own else 0.0
    best = ideal(case, seconds) + waited
    bound = perfect(seconds, case.workers, case.poll, usual(case.spread, case.generation)) + waited
    return [
        case.name,
        one.name,
        run.took,
        case.busiest,
        run.took / case.busiest,
        best,
        run.took / best,
        None if case.up or case.down else bound,
        None if case.up or case.down else run.took / bound,
        requests(run.counts) / case.images,
        run.counts["in_flight_max"],
    ]


COLUMNS = (
    "case",
    "contender",
    "took s",
    "busiest s",
    "took ÷ busiest",
    "ideal s",
    "took ÷ ideal",
    "perfect poller s",
    "took ÷ perfect poller",
    "requests/image",
    "in flight",
)


AS_INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}
"""An installed program is compiled; one that runs from its source is after its first start, if it may be."""


def first_paid_call(verb: str, *, settle: float = 0.1) -> float:
    """Seconds from the start of the process to its first paid call, of a file that lies there, without settle time."""
    with simulator(generate_min=0.1, generate_max=0.1, poll_limit=0.0) as service, yard() as place:
        config = daemon.configure(place, service.api_url, daemon.FolderDefaults(settle=settle, poll=0.1))
        place.drop(photos.stage(place.staging, 1))
        crew = Crew(place.log)
        try:
            began = time.monotonic()
            crew.start([*daemon.COMMAND, verb, "--config", str(config)], {**LOGIN, **AS_INSTALLED})
            if not until(lambda: bool(service.counts()["generated"]), 60.0):
                raise RuntimeError(place.log.read_text())
            return float(service.counts()["generated"][0]) - began - settle
        finally:
            crew.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--only", nargs="+", help="parts of names of contenders")
    parser.add_argument("--settle", type=float, default=2.0, help="expandd's; nobody else waits for whole files")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--starts", type=int, default=5, help="starts up to the first paid call; 0 for none")
    chosen = parser.parse_args()
    print(table.machine())
    names = [case for case in chosen.case for _ in range(chosen.repeat)]
    rows = []
    for name in names:
        for one in contenders.present(chosen.only):
            rows.append(measure(one, CASES[name], chosen.settle))
            print("…", rows[-1], flush=True)
    table.show("Makespan through a line; ideal and perfect poller with the settle time", COLUMNS, rows)
    if chosen.starts:
        first_paid_call("once")
        starts = {verb: sorted(first_paid_call(verb) for _ in range(chosen.starts)) for verb in ("run", "once")}
        table.show(
            "From the start of the process to its first paid call, for a file that has settled, s",
            ["verb", "starts", "least", "median", "most"],
            [[verb, len(all_), all_[0], statistics.median(all_), all_[-1]] for verb, all_ in starts.items()],
        )


if __name__ == "__main__":
    main()
