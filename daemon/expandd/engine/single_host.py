"""The membership of a host that is alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from expandd.domain.job import Job


class SingleHost:
    """Fulfils Membership: everything is this host's own."""

    owner = ""
    room: int | None = None
    hindsight = 0.0

    def leads(self, inbox: Path) -> bool:
        del inbox
        return True

    def may_send(self) -> bool:
        return True

    async def is_dead(self, owner: str) -> bool:
        """An earlier run of this host is: the lock on the state directory is of one that lives."""
        del owner
        return True

    async def offer(self, job: Job) -> bool:
        del job
        return False

    async def run(
        self, carry: Callable[[Job], Awaitable[None]], knows: Callable[[str], bool], changed: Callable[[], None]
    ) -> None:
        """Nothing is ever left to this host by another."""
