"""The workshop: a whole engine on fakes, real folders and a manual clock, with what a test does to it by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import RECORD_NAME
from expandd.domain.events import BugFound, Event, JobClosed, JobMoved
from expandd.domain.job import JobState
from expandd.domain.offsets import Amount, Sides
from expandd.domain.settings import ApiSettings, HotFolder, Settings
from expandd.engine.engine import Engine
from expandd.engine.ports import Folders, Membership, Ports
from expandd.engine.single_host import SingleHost
from tests.support.fake_api import FakeApi
from tests.support.fakes import FakeImages, FixedRandomness, MemoryJobStore, MemorySpool, SilentWatcher, an_image
from tests.support.manual_clock import ManualClock, at_once, inline
from tests.support.recorder import Recorder

WIDE = Sides(
    left=Amount(Fraction(20)), right=Amount(Fraction(20)), top=Amount(Fraction(10)), bottom=Amount(Fraction(10))
)

HOUR = 3600.0

UNKNOWN_WAIT = 64.0
"""Seconds: of a quarter of an hour, as it is by default, each second would be gone through."""

A_WHILE = HOUR if os.environ.get("EXPANDD_STORM") == "1" else HOUR / 6
"""Long enough for all to happen that is going to, whatever is tried again and again."""


def hot_folder(base: Path, **changes: Any) -> HotFolder:
    """A hot folder with its four directories made below `base`."""
    folder = HotFolder(
        inbox=base / "inbox",
        outbox=base / "outbox",
        done=base / "done",
        error=base / "error",
        preset=WIDE,
        preset_name="wide",
    )
    for directory in (folder.work, folder.outbox, folder.done, folder.error):
        directory.mkdir(parents=True, exist_ok=True)
    return replace(folder, **changes)


class Workshop:
    """One engine and its world. What it holds outlives the engine: `crash` and `start` again are a restart."""

    def __init__(
        self,
        base: Path,
        *,
        folders: int = 1,
        workers: int = 4,
        ahead: int | None = None,
        clock: ManualClock | None = None,
        **folder_changes: Any,
    ) -> None:
        self.clock = clock or ManualClock()
        self.api = FakeApi(self.clock)
        self.images = FakeImages()
        self.store = MemoryJobStore()
        self.membership: Membership = SingleHost()
        self.watcher = SilentWatcher()
        self.recorder = Recorder()
        self.hot = tuple(hot_folder(base / f"hot-{number}", **folder_changes) for number in range(folders))
        self.folders: Folders = LocalFolders(Disk(Roots.of(self.hot)), run=at_once)
        (base / "spool").mkdir(exist_ok=True)
        self.spool = MemorySpool(base / "spool")
        api = ApiSettings(unknown_wait=UNKNOWN_WAIT)
        self.settings = Settings(state_dir=base, workers=workers, ahead=ahead, api=api, folders=self.hot)
        self.bugs_expected = False
        self._runs = 0
        self._engine: Engine | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the workshop has not been started"
        return self._engine

    # --- its life ---

    def start(self) -> None:
        inline()
        self._runs += 1
        ports = Ports(
            api=self.api,
            randomness=FixedRandomness(prefix=f"{self.membership.owner}run-{self._runs:04d}"),
            clock=self.clock,
            folders=self.folders,
            images=self.images,
            store=self.store,
            spool=self.spool,
            watcher=self.watcher,
            membership=self.membership,
        )
        self._engine = Engine(self.settings, ports, self.recorder)
        self._running = asyncio.create_task(self._engine.run())

    async def crash(self) -> None:
        """The process dies here and now: nothing is wound down. An engine that died of itself is raised."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait({running})
            if not running.cancelled():
                running.result()

    def kill(self) -> None:
        """The process is killed by something that runs inside it; `crash` waits for its end."""
        if self._running is not None:
            self._running.cancel()

    async def close(self) -> None:
        """The end of a test: an engine that died of itself, or met a bug of its own, fails it."""
        await self.crash()
        bugs = self.recorder.of(BugFound)
        if bugs and not self.bugs_expected:
            raise bugs[0].error

    # --- what people do ---

    def drop(self, name: str, content: bytes | None = None, *, folder: int = 0) -> Path:
        """Drop a file into an inbox; its event comes at once."""
        path = self.hot[folder].inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(an_image(note=name.encode("unicode_escape").decode()) if content is None else content)
        self.watcher.hint(path)
        return path

    # --- what a test waits for ---

    async def until(self, condition: Callable[[], bool], within: float = HOUR) -> None:
        """Until something is so; an engine that has died fails the test at once."""

        def done() -> bool:
            if self._running is not None and self._running.done():
                self._running.result()
            return condition()

        await self.clock.until(done, within)

    async def event(self, predicate: Callable[[Event], bool], within: float = HOUR) -> Event:
        """The first event, past or to come, that `predicate` accepts."""
        waiting = asyncio.create_task(self.recorder.until(predicate))
        try:
            await self.until(waiting.done, within)
        finally:
            waiting.cancel()
        return waiting.result()

    async def closed(self, *names: str, within: float = HOUR) -> None:
        """Until a job of each of these dropped files is over."""
        await self.until(lambda: set(names) <= self._closed(), within)

    async def reached(self, name: str, state: JobState, within: float = HOUR) -> None:
        """Until a job of the dropped file enters `state`."""
        await self.event(
            lambda event: isinstance(event, JobMoved) and event.job.state is state and event.job.relative.name == name,
            within,
        )

    async def finished(self, within: float = HOUR) -> None:
        """Until every file that lay in an inbox has been answered."""
        await self.until(lambda: self.engine.finished, within)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        if self._running is not None and self._running.done():
            self._running.result()

    # --- what a test looks at ---

    def names(self, where: str, folder: int = 0) -> list[str]:
        """The names of all files below one of the folder's directories, hidden ones left out."""
        root: Path = getattr(self.hot[folder], where)
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if not any(part.startswith(".") for part in path.parts))

    def in_work(self, folder: int = 0) -> list[str]:
        """The names of all files in the work folder; marks stand beside their files and go unnamed."""
        files = [path for path in self.hot[folder].work.rglob("*") if path.is_file()]
        return sorted(path.name for path in files if path.name != RECORD_NAME or len(list(path.parent.iterdir())) == 1)

    def most_at_once(self, states: Collection[JobState]) -> int:
        """How many jobs were in one of these states at once, at most."""
        flying: set[str] = set()
        most = 0
        for event in self.recorder.events:
            if isinstance(event, JobMoved | JobClosed):
                (flying.add if event.job.state in states else flying.discard)(event.job.id)
                most = max(most, len(flying))
        return most

    def _closed(self) -> set[str]:
        return {event.job.relative.name for event in self.recorder.of(JobClosed)}
