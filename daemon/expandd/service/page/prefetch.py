"""Owns small pictures made as soon as there is something to make them of: results do not lie in outboxes for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from expandd.domain.events import Event, JobMoved
from expandd.domain.job import Job, JobState
from expandd.service.page.thumbnails import Gone, Kind, Pictures

MOST = 16
"""Pictures that wait to be made. Where more come than can be made, the newest are what people look at."""

_TIMES = {JobState.ACCEPTED: Kind.SOURCE, JobState.DELIVERED: Kind.RESULT}
"""The original is made small while the service draws, the result as soon as it has its name."""


class Foresight:
    """A subscriber of events that makes pictures beside the work, one after the other."""

    def __init__(self) -> None:
        self._due: deque[tuple[Job, Kind]] = deque(maxlen=MOST)
        self._news = asyncio.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobMoved) and event.job.state in _TIMES:
            self._due.append((event.job, _TIMES[event.job.state]))
            self._news.set()

    async def run(self, pictures: Pictures) -> None:
        """Until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.make(pictures)

    async def make(self, pictures: Pictures) -> None:
        """Make all that is due."""
        while self._due:
            job, kind = self._due.popleft()
            with contextlib.suppress(Gone):
                await pictures.picture(job, kind)
