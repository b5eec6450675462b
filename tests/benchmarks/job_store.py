"""Job database: commits for each image, and which part of its way an image spends waiting for the job database.

The daemon's own parts run in this process, with a stopwatch around the job database. The way of an image is its time
from claim to end without the wait for the API's result.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from expandd.adapters.config.load import load
from expandd.domain.events import Event, JobClosed
from expandd.domain.job import Job, JobState
from expandd.engine.ports import JobStore, Ports
from expandd.service.runtime.app import built
from tests.benchmarks import daemon, photos, table
from tests.benchmarks.simulator import LOGIN, simulator
from tests.benchmarks.yard import yard

T = TypeVar("T")


@dataclass(slots=True)
class Commits:
    """How many transactions SQLite was asked to commit."""

    count: int = 0
    connections: list[sqlite3.Connection] = field(default_factory=list)

    def remember(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect/handle":
            self.connections.append(arguments[0])

    def follow(self) -> None:
        """Count from here on, on every connection that is open now."""
        for connection in self.connections:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed by now
                connection.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        self.count += statement == "COMMIT"


@dataclass(slots=True)
class Timed:
    """A job database with a stopwatch. Only writes are timed and counted."""

    inner: JobStore
    writes: int = 0
    seconds: float = 0.0

    async def _timed(self, write: Awaitable[T]) -> T:
        began = time.monotonic()
        done = await write
        self.writes += 1
        self.seconds += time.monotonic() - began
        return done

    async def add(self, job: Job) -> None:
        await self._timed(self.inner.add(job))

    async def save(self, job: Job, expected: JobState) -> None:
        await self._timed(self.inner.save(job, expected))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@dataclass(slots=True)
class Ways:
    """What subscribers see: jobs that are over."""

    wanted: int
    over: asyncio.Event = field(default_factory=asyncio.Event)
    seconds: list[float] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, JobClosed):
            return
        state_changes = {change.state: change.at for change in event.job.state_changes}
        waited = state_changes[JobState.RENDERED] - state_changes[JobState.ACCEPTED]
        self.seconds.append(time.time() - state_changes[JobState.CLAIMED] - waited)
        if len(self.seconds) >= self.wanted:
            self.over.set()


async def measure(images: int, workers: int, api_url: str, place: Any) -> list[table.Cell]:
    config = daemon.configure(place, api_url, daemon.FolderDefaults(workers=workers, poll=0.5, settle=0.2))
    ways, commits, timed = Ways(images), Commits(), []
    sys.addaudithook(commits.remember)

    def around(ports: Ports) -> Ports:
        timed.append(Timed(ports.store))
        return replace(ports, store=timed[0])

    async with built(load(config), {**os.environ, **LOGIN}, ways, around=around) as engine:
        running = asyncio.create_task(engine.run())
        await asyncio.wait({running, asyncio.create_task(engine.started())}, return_when=asyncio.FIRST_COMPLETED)
        commits.follow()
        place.drop(photos.stage(place.staging, images))
        before, began = commits.count, time.monotonic()
        await asyncio.wait_for(ways.over.wait(), 60.0 + images)
        took, number = time.monotonic() - began, commits.count - before
        running.cancel()
        await asyncio.wait({running})
    [store] = timed
    way = sum(ways.seconds)
    return [
        images,
        workers,
        store.writes / images,
        number / images,
        store.seconds / store.writes * 1000,
        store.seconds / images * 1000,
        way / images * 1000,
        f"{store.seconds / way:.0%}",
        images / took,
    ]


COLUMNS = (
    "images",
    "workers",
    "writes/image",
    "commits/image",
    "ms/write",
    "ms of writing/image",
    "ms of its way/image",
    "share",
    "images/s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    chosen = parser.parse_args()
    print(table.machine())
    rows: list[Sequence[table.Cell]] = []
    for workers in chosen.workers:
        with simulator(poll_limit=0.0, generate_min=0.5, generate_max=0.5) as service, yard() as place:
            rows.append(asyncio.run(measure(chosen.images, workers, service.api_url, place)))
    table.show("The job database's part", COLUMNS, rows)


if __name__ == "__main__":
    main()
