"""Owns what the engine needs of what is kept: the contracts of the journal and the vault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from expandd.domain.calendar import Spent, Today
from expandd.domain.job import Job, JobState
from expandd.domain.orders import Order, StandingOrder


class Vault(Protocol):
    """Paid bytes on the local disk, by job."""

    def incoming(self, job_id: str) -> Path:
        """Where an unfinished download may be written."""
        ...

    def path(self, job_id: str) -> Path: ...

    async def admit(self, job_id: str) -> None:
        """Make the incoming file the vaulted one, durably. Repeating it is fine."""
        ...

    async def recall(self, job_id: str) -> None:
        """Make a vaulted file the incoming one again, to be checked and admitted anew."""
        ...

    async def prove(self, room: int) -> None:
        """Raise AccountAway unless `room` bytes can be stored."""
        ...

    async def drop(self, job_id: str) -> None:
        """Forget the bytes of a job that is over."""
        ...

    async def keep(self, job_id: str, sha256: str) -> None:
        """Keep the vaulted bytes beyond their job, by their digest. Repeating it is fine."""
        ...

    async def reuse(self, sha256: str, job_id: str) -> bool:
        """Make the kept bytes of this digest those of a new job too; False when they are not kept (any more)."""
        ...

    async def forget_older(self, before: float) -> None:
        """Forget the bytes that were kept before this wall time."""
        ...


class Journal(Protocol):
    """The jobs, durable. A write returns only once it would survive a power cut. Raises JournalAway."""

    async def add(self, job: Job) -> None: ...

    async def save(self, job: Job, expected: JobState) -> None:
        """Replace the job's row if it is in state `expected` and of the same owner and epoch; else raise StaleJob."""
        ...

    async def get(self, job_id: str) -> Job | None: ...

    async def open_jobs(self) -> Sequence[Job]:
        """All that are not closed, oldest first."""
        ...

    async def orders(self) -> Sequence[Order]:
        """What people have ordered and nobody has carried out yet, oldest first."""
        ...

    async def carried_out(self, order: Order) -> None:
        """Forget an order."""
        ...

    async def standing_orders(self) -> Sequence[StandingOrder]: ...

    async def stand(self, order: StandingOrder) -> None:
        """Write down an order that lasts; it replaces one of the same key."""
        ...

    async def lift(self, order: StandingOrder) -> None:
        """End the standing order of this key; fine if there is none."""
        ...

    async def twin(self, job: Job) -> Job | None:
        """The youngest other job that is done with a result for the same source bytes and offsets."""
        ...

    async def paid_here(self, job: Job) -> Job | None:
        """The youngest other job of the same inbox that is done with a result for the same bytes, by any offsets."""
        ...

    async def failed(self, inbox: Path | None) -> Sequence[Job]:
        """The jobs that are over and went to the error folder, of one inbox or of all, oldest first."""
        ...

    async def spent(self, today: Today) -> Sequence[Spent]:
        """What was paid for since the month began, by inbox and day: by jobs that are open, over or forgotten."""
        ...

    async def prune(self, before: float) -> int:
        """Forget the jobs that were over before this wall time, but not what they count for; how many."""
        ...

    async def by_image_id(self, image_id: str) -> Job | None:
        """The youngest job, open or closed, that the API knows under this id."""
        ...
