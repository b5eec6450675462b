"""The membership of a host that is alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from expandd.domain.job import Job


class SingleHost:
    """Implements Membership for one host: everything is its own."""

    owner = ""
    room: int | None = None
    hindsight = 0.0

    def leads(self, inbox: Path) -> bool:
        del inbox
        return True

    def may_send(self) -> bool:
        return True

    async def is_dead(self, owner: str) -> bool:
        """An earlier run of this host is dead: this run has the lock on the state directory."""
        del owner
        return True

    async def offer(self, job: Job) -> bool:
        del job
        return False

    async def run(
        self, carry: Callable[[Job], Awaitable[None]], knows: Callable[[str], bool], changed: Callable[[], None]
    ) -> None:
        """Return at once: no other host gives up jobs."""
