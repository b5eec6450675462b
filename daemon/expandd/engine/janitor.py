"""Deletes what is old: rows of closed jobs, kept results and, where configured, originals in done."""

from __future__ import annotations

from pathlib import Path

from expandd.domain.errors import AccountAway, DatabaseAway, FolderAway
from expandd.domain.settings import Originals, Settings
from expandd.engine.ports import Clock, Folders, JobStore, Spool

ROUND = 3600.0
"""Seconds between two rounds."""

TRUST = 24
"""Rounds in a row in which the wall clock has run like the monotonic one, before anything is judged by its age."""

DRIFT = 300.0
"""Seconds by which the two clocks may differ over one round."""


class Janitor:
    """Deletes by age, only while the wall clock is plausible: after a jump, everything looks old."""

    def __init__(self, settings: Settings, *, store: JobStore, spool: Spool, folders: Folders, clock: Clock) -> None:
        self.settings = settings
        self._store = store
        self._spool = spool
        self._folders = folders
        self._clock = clock
        self._steady = 0
        self._before = (clock.wall(), clock.monotonic())

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._clock.sleep(ROUND)
            if self._clock_is_steady():
                await self._tidy()

    def _clock_is_steady(self) -> bool:
        now = (self._clock.wall(), self._clock.monotonic())
        drift = (now[0] - self._before[0]) - (now[1] - self._before[1])
        self._steady = self._steady + 1 if abs(drift) < DRIFT else 0
        self._before = now
        return self._steady >= TRUST

    async def _tidy(self) -> None:
        now = self._clock.wall()
        keep = self.settings.keep
        if keep.journal is not None:
            try:
                await self._store.prune(now - keep.journal)
            except DatabaseAway:
                return
        if keep.results is not None:
            await self._forget_results(now - keep.results)
        if keep.done is None:
            return
        for folder in self.settings.folders:
            if folder.originals is Originals.MOVE:
                await self._clear_done(folder.done, now - keep.done)

    async def _forget_results(self, before: float) -> None:
        try:
            await self._spool.forget_older(before)
        except AccountAway:
            return  # a job that needs the spool reports it; it is tidied another time

    async def _clear_done(self, done: Path, before: float) -> None:
        try:
            await self._folders.remove_older(done, before)
        except FolderAway:
            return  # the circuit breakers say so; it is tidied another time
