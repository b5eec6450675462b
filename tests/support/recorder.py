"""The recorder: every event the engine announces, in order, to be waited for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

from expandd.domain.events import Event, JobMoved
from expandd.domain.job import Job, JobState

E = TypeVar("E")


class Recorder:
    """A subscriber that forgets nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._of: defaultdict[type, list[Any]] = defaultdict(list)
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._of[type(event)].append(event)
        self._changed.set()

    def of(self, kind: type[E]) -> list[E]:
        """All events of one kind."""
        return [*self._of[kind]]

    async def until(self, predicate: Callable[[Event], bool], *, after: int = 0) -> Event:
        """The first event, past or to come, that `predicate` accepts; the first `after` events do not count."""
        seen = after
        while True:
            self._changed.clear()
            for event in self.events[seen:]:
                if predicate(event):
                    return event
            seen = max(seen, len(self.events))
            await self._changed.wait()

    def states_of(self, name: str) -> list[JobState]:
        """The states that the jobs of the dropped file `name` went through, in order."""
        return [event.job.state for event in self.of(JobMoved) if event.job.relative.name == name]

    def latest(self, name: str) -> Job:
        """The youngest job of the dropped file `name` as its last move left it."""
        return next(event.job for event in reversed(self.of(JobMoved)) if event.job.relative.name == name)
