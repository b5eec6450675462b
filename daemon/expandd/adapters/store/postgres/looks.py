"""When a host looks whether a task waits in the queue: each look that finds none costs the database as much as one.

All hear of each new task. One of them, a different one for each, looks for it at once; the others do so when they have
room and know of tasks, or once a renewal of their lease has shown that some still wait.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

POLL = 15.0
"""Seconds between two looks for tasks where no notice of one has come: it may be lost, and renewals tell too."""

MOST = 1000
"""Tasks that are remembered; a host that has heard of more looks in any case."""


Notify = Callable[..., Awaitable[None]]
"""What the queue calls, by `channel` and `notification`, for a notice that the server has sent."""


class Looks:
    """One host's. Tasks go by their numbers."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._me = ""
        self._members: frozenset[str] = frozenset()
        self._announced: set[int] = set()
        """Those that may still wait, as far as this host knows."""
        self._asked: frozenset[int] = frozenset()
        """Those that the look under way must find if they wait."""
        self._doubts = 1
        """How often tasks may have come of which this host knows nothing."""
        self._doubts_asked = 0
        """How many of them the look under way lays to rest if it finds none."""
        self._doubts_settled = 0
        self._looked = float("-inf")
        self._notify: Notify | None = None

    def heeding(self, notify: Notify) -> Notify:
        """`notify` for what concerns this host alone. It is what makes the queue look."""

        async def heed(*, channel: str, notification: Any) -> None:
            if notification["type"] != "job_inserted" or self.announce(notification["job_id"]):
                await notify(channel=channel, notification=notification)

        self._notify = notify
        return heed

    async def look(self) -> None:
        """Look for tasks of which some wait, if there is room for one more."""
        self._doubts += 1
        if self._notify is not None:
            await self._notify(channel="", notification={"type": "job_inserted", "job_id": 0})

    def meet(self, me: str, members: Collection[str]) -> None:
        """Know who else looks for tasks."""
        self._me, self._members = me, frozenset(members)

    def announce(self, task: int) -> bool:
        """Hear of a new task. Whether this host is the one that looks for it at once; one that knows no other is."""
        self._announced.add(task)
        if len(self._announced) > MOST:
            self._announced.clear()
            self._doubts += 1
        return self._me not in self._members or self._me == min(self._members, key=lambda one: _lot(task, one))

    def begin(self) -> bool:
        """Whether to look now, as that may find a task, or none was made for long."""
        self._asked = frozenset(self._announced)
        self._doubts_asked = self._doubts
        unsure = self._doubts > self._doubts_settled
        return unsure or bool(self._announced) or self._monotonic() - self._looked >= 0.9 * POLL

    def looked(self, found: int | None) -> None:
        """A look has found this task, or that none waits."""
        self._looked = self._monotonic()
        if found is None:
            # What was announced meanwhile may have come too late to be found.
            self._announced -= self._asked
            self._doubts_settled = self._doubts_asked
        else:
            self._announced.discard(found)


def _lot(task: int, member: str) -> bytes:
    return hashlib.sha256(f"{task} {member}".encode()).digest()
