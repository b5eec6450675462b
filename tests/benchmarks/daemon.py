"""Owns expandd as a contender: its configuration, its process, and when it is ready."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.practice import LOGIN, Practice
from tests.benchmarks.yard import Crew, Yard, yard

COMMAND = (sys.executable, "-m", "expandd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How expandd is configured in a benchmark. Durations in seconds."""

    workers: int = 4
    poll: float = 3.0
    settle: float = 2.0
    folders: int = 1
    originals: str = "move"
    scan: float = 60.0


def configure(place: Yard, api_url: str, manners: Manners) -> Path:
    """Write the configuration; folders beyond the first lie beside it. Returns its path."""
    roots = [place.root, *(place.root / f"more-{number}" for number in range(1, manners.folders))]
    for root in roots:
        Yard(root)
    listed = "\n".join(f"  - {{root: {root}, offsets: {{left: 10%, right: 10%}}}}" for root in roots)
    config = place.root / "config.yaml"
    config.write_text(
        f"state_dir: {place.root / 'state'}\nworkers: {manners.workers}\n"
        f"api: {{base_url: '{api_url}', poll_interval: {manners.poll:g}s}}\n"
        f"defaults: {{settle: {manners.settle * 1000:.0f}ms, scan_interval: {manners.scan:g}s, "
        f"originals: {manners.originals}}}\n"
        f"folders:\n{listed}\n",
        encoding="utf-8",
    )
    return config


def start(place: Yard, practice: Practice, manners: Manners, crew: Crew) -> None:
    """Start the daemon, and wait until its inboxes are watched."""
    config = configure(place, practice.api_url, manners)
    place.log.write_bytes(b"")
    crew.start([*COMMAND, "run", "--verbose", "--config", str(config)], LOGIN)
    crew.said('"expandd.started"')


@contextmanager
def running(practice: Practice, manners: Manners, where: Path | None = None) -> Iterator[tuple[Yard, Crew]]:
    with yard(where) as place:
        crew = Crew(place.log)
        try:
            start(place, practice, manners, crew)
            yield place, crew
        finally:
            crew.kill()
