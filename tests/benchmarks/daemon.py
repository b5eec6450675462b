"""Expandd as a contender: its configuration, its process, and when it is ready."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.simulator import LOGIN, SimulatorProcess
from tests.benchmarks.yard import Crew, Yard, yard

COMMAND = (sys.executable, "-m", "expandd")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDefaults:
    """How expandd is configured in a benchmark. Durations in seconds."""

    workers: int = 4
    poll: float = 3.0
    settle: float = 2.0
    folders: int = 1
    originals: str = "move"
    scan: float = 60.0


def configure(place: Yard, api_url: str, defaults: FolderDefaults) -> Path:
    """Write the configuration; folders beyond the first lie beside it. Returns its path."""
    roots = [place.root, *(place.root / f"more-{number}" for number in range(1, defaults.folders))]
    for root in roots:
        Yard(root)
    listed = "\n".join(f"  - {{root: {root}, offsets: {{left: 10%, right: 10%}}}}" for root in roots)
    config = place.root / "config.yaml"
    config.write_text(
        f"state_dir: {place.root / 'state'}\nworkers: {defaults.workers}\n"
        f"api: {{base_url: '{api_url}', poll_interval: {defaults.poll:g}s}}\n"
        f"defaults: {{settle: {defaults.settle * 1000:.0f}ms, scan_interval: {defaults.scan:g}s, "
        f"originals: {defaults.originals}}}\n"
        f"folders:\n{listed}\n",
        encoding="utf-8",
    )
    return config


def start(place: Yard, simulator: SimulatorProcess, defaults: FolderDefaults, crew: Crew) -> None:
    """Start the daemon, and wait until its inboxes are watched."""
    config = configure(place, simulator.api_url, defaults)
    place.log.write_bytes(b"")
    crew.start([*COMMAND, "run", "--config", str(config)], LOGIN)
    crew.said('"expandd.started"')


@contextmanager
def running(
    simulator: SimulatorProcess, defaults: FolderDefaults, where: Path | None = None
) -> Iterator[tuple[Yard, Crew]]:
    with yard(where) as place:
        crew = Crew(place.log)
        try:
            start(place, simulator, defaults, crew)
            yield place, crew
        finally:
            crew.kill()
