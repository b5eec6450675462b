"""Owns the slots: how many images are in flight at once."""

from __future__ import annotations

import asyncio


class Slots:
    """At most `workers` jobs hold a slot. A job that only waits to be tried again gives its slot back.

    `changed` is set when a slot may have been freed.
    """

    def __init__(self, workers: int, changed: asyncio.Event) -> None:
        self.workers = workers
        self._changed = changed
        self._held: set[str] = set()
        self._wanted: set[str] = set()

    @property
    def spare(self) -> int:
        """Slots for new files: those that are free and that no earlier job waits for."""
        return max(0, self.workers - len(self._held) - len(self._wanted))

    def holds(self, job_id: str) -> bool:
        return job_id in self._held

    def take(self, job_id: str, *, by_force: bool = False) -> bool:
        """Whether the job holds a slot now. By force only for what is in flight already."""
        if job_id not in self._held:
            if len(self._held) >= self.workers and not by_force:
                self._wanted.add(job_id)
                return False
            self._held.add(job_id)
        self._wanted.discard(job_id)
        return True

    def give(self, job_id: str) -> None:
        """The job needs no slot any more, or not for now."""
        self._held.discard(job_id)
        self._wanted.discard(job_id)
        self._changed.set()
