"""Stalls: the longest times for which the daemon's event loop does nothing else, under load, and in what.

Each turn of a task or callback is timed inside the daemon, by the clock and by the processor time of its thread: where
the two differ, it waited for the machine or for another thread, and would not have on a quiet one.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import heapq
import json
import os
import signal
import sys
import time
from asyncio import events
from pathlib import Path
from typing import Any

from tests.benchmarks import daemon, photos, table
from tests.benchmarks.simulator import LOGIN, simulator
from tests.benchmarks.yard import Crew, until, yard

KEPT = 10
LONG = 0.05
"""Seconds from which on a stall wants an explanation."""
HUGE = (6000, 4000)
"""Twenty-four megapixels."""
CASES = {
    "640×480, 16 workers": (photos.SMALL, 160, 16),
    "24 megapixels, 4 workers": (HUGE, 16, 4),
    "5,000 waiting, 4 workers": (photos.TINY, 5_000, 4),
}
ENOUGH = 200
"""Results after which a long backlog has told enough."""


def watch(out: Path) -> None:
    """Time each turn of this process's event loops from now on, and write down the longest at the end."""
    longest: list[tuple[float, float, str]] = []
    count, run = [0], events.Handle._run  # noqa: SLF001 - nothing public lies around each turn

    def timed(handle: events.Handle) -> None:
        where = _where(handle)
        began, busy = time.perf_counter(), time.thread_time()
        run(handle)
        took = time.perf_counter() - began
        count[0] += took > LONG
        if took > LONG / 10:
            heapq.heappush(longest, (took, time.thread_time() - busy, where))
            if len(longest) > KEPT:
                heapq.heappop(longest)

    def write() -> None:
        out.write_text(json.dumps({"long": count[0], "longest": sorted(longest, reverse=True)}))

    events.Handle._run = timed  # type: ignore[method-assign, assignment]  # noqa: SLF001 - as above
    atexit.register(write)


def _where(handle: events.Handle) -> str:
    """In which function a task goes on, or which callback is called."""
    callback = handle._callback  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    frames: list[str] = []
    inner: Any = task.get_coro()
    while inner is not None:
        code = getattr(inner, "cr_code", getattr(inner, "ag_code", None))
        frames += [code.co_qualname] if code else []
        inner = getattr(inner, "cr_await", getattr(inner, "ag_await", None))
    return " > ".join(frames[-4:])


def measure(name: str) -> list[list[table.Cell]]:
    size, images, workers = CASES[name]
    wanted = min(images, ENOUGH)
    with simulator(poll_limit=0.25, generate_min=1.0, generate_max=1.0) as service, yard() as place:
        config = daemon.configure(place, service.api_url, daemon.FolderDefaults(workers=workers, poll=0.25))
        out, crew = place.root / "stalls.json", Crew(place.log)
        place.drop(photos.stage(place.staging, images, size))
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.stalls",
            "--watched",
            str(out),
            "run",
            "--config",
            str(config),
        ]
        try:
            crew.start(command, {**LOGIN, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
            if not place.wait_for(wanted, 120 + 10 * wanted):
                raise RuntimeError(place.log.read_text()[-2000:])
            os.kill(crew.pids[0], signal.SIGTERM)
            until(out.exists, 60.0)
        finally:
            crew.kill()
        told = json.loads(out.read_text())
    return [[name, told["long"], took * 1000, busy * 1000, where] for took, busy, where in told["longest"][:5]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    chosen = parser.parse_args()
    print(table.machine())
    rows = [row for name in chosen.case for row in measure(name)]
    columns = ["case", "above 50 ms", "took ms", "of it processor ms", "in"]
    table.show("The longest turns of the event loop", columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watched"]:
        watch(Path(sys.argv[2]))
        from expandd.service.cli.cli import cli

        cli(sys.argv[3:], prog_name="expandd")
    main()
