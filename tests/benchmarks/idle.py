"""Idle: what expandd costs while nothing happens. Measured for a while, and scaled to an hour."""

from __future__ import annotations

import argparse
import time

from tests.benchmarks import daemon, table
from tests.benchmarks.meter import watched
from tests.benchmarks.simulator import simulator


def measure(folders: int, seconds: float, rest: float) -> list[table.Cell]:
    defaults = daemon.FolderDefaults(folders=folders)
    with simulator() as service, daemon.running(service, defaults) as (_, crew):
        time.sleep(rest)
        with watched(*crew.pids) as usage:
            time.sleep(seconds)
    scale = 3600 / usage.seconds
    return [folders, usage.cpu * scale, usage.cpu / usage.seconds * 100, round(usage.wakeups * scale), usage.megabytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rest", type=float, default=15.0, help="seconds after the start that do not count")
    chosen = parser.parse_args()
    print(table.machine())
    rows = [measure(folders, chosen.seconds, chosen.rest) for folders in chosen.folders]
    table.show(
        f"Idle for {chosen.seconds:g} s, scaled to an hour",
        ["folders", "CPU s/hour", "% of a core", "wake-ups/hour", "MB"],
        rows,
    )


if __name__ == "__main__":
    main()
