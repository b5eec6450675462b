"""Sources, jobs, notifications and credits of the one account: pure state, told what time it is."""

import hashlib
import heapq
import itertools
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any

from expandd.simulator.faults import Subject
from expandd.simulator.switches import Duplicates, Foreign, Switches

_FOREIGN_NAMES = {Foreign.FAILED: "error", Foreign.PROGRESS: "progress"}


@dataclass(frozen=True, slots=True)
class Offsets:
    """Pixels added to (positive) or cut from (negative) each side."""

    top: int
    bottom: int
    left: int
    right: int

    def result_size(self, width: int, height: int) -> tuple[int, int]:
        return width + self.left + self.right, height + self.top + self.bottom


@dataclass(frozen=True, slots=True)
class Upload:
    """The one file of an upload, and the part that it came in."""

    part: str
    filename: str
    data: bytes
    subject: Subject = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", Subject(len(self.data), hashlib.sha256(self.data).hexdigest()))


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded image: its bytes as received and its size in pixels as stored."""

    id_image: str
    data: bytes
    subject: Subject
    width: int
    height: int
    uploaded: float


class Outcome(Enum):
    """How a job ends: a result; a result nobody is told of; an error notification; never."""

    FINISHED = "finished"
    UNANNOUNCED = "unannounced"
    FAILED = "failed"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted generate. Its link must carry `signature`, as a signed address of a real store does."""

    id_image: str
    offsets: Offsets
    finishes: float
    outcome: Outcome
    pro: bool
    id_task: str = field(default_factory=lambda: secrets.token_hex(8))
    signature: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def has_result(self) -> bool:
        return self.outcome in {Outcome.FINISHED, Outcome.UNANNOUNCED}


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification: of a job of ours, or a foreign one."""

    id: int
    name: str
    timestamp: float
    id_image: str
    job: Job | None = None
    foreign: Foreign | None = None

    @property
    def id_task(self) -> str | None:
        return self.job.id_task if self.job else None


class Store:
    """What the account owns on the server. Not thread-safe: the owner holds a lock.

    `settle` is called first in each request; until then finished jobs are not announced and old
    things not forgotten, so that no thread has to watch the clock.
    """

    def __init__(self, credits_at_start: Decimal) -> None:
        self.credits = credits_at_start
        self._sources: dict[str, Source] = {}
        self._source_bytes = 0
        self._jobs: dict[str, Job] = {}
        self._results: dict[str, list[Job]] = {}
        self._running: list[tuple[float, str]] = []
        self._notifications: dict[int, Notification] = {}
        self._foreign_made: dict[Foreign, float] = {}
        self._numbers = itertools.count(1001)

    def settle(self, now: float, switches: Switches) -> None:
        """Announce what has finished and forget what has outlived its time."""
        while self._running and self._running[0][0] <= now:
            _, id_task = heapq.heappop(self._running)
            self._finish(self._jobs[id_task], switches)
        self._drop_notifications(now - switches.notification_life)
        self._drop_sources(now - switches.source_life - switches.link_life, switches.keep_bytes)

    def add_source(self, upload: Upload, size: tuple[int, int], now: float) -> Source:
        source = Source(secrets.token_hex(12), upload.data, upload.subject, *size, now)
        self._sources[source.id_image] = source
        self._source_bytes += len(source.data)
        return source

    def source(self, id_image: str, now: float, switches: Switches) -> Source | None:
        """The source of this id while it lives; None for an unknown or expired one."""
        source = self._sources.get(id_image)
        return source if source and now < source.uploaded + switches.source_life else None

    def stored(self, id_image: str) -> Source | None:
        """The source of this id, even one that is expired for new calls but still has live links."""
        return self._sources.get(id_image)

    def accept(self, job: Job) -> None:
        self._jobs[job.id_task] = job
        heapq.heappush(self._running, (job.finishes, job.id_task))

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def job(self, id_task: str) -> Job | None:
        return self._jobs.get(id_task)

    def results(self, id_image: str) -> list[Job]:
        """The jobs of this image that have finished with a result, oldest first."""
        return list(self._results.get(id_image, ()))

    def delete_notification(self, number: int) -> Notification | None:
        return self._notifications.pop(number, None)

    def notifications(
        self, names: Collection[str] | None, id_image: str | None, id_task: str | None
    ) -> list[Notification]:
        """The live notifications that pass every filter given, oldest first."""
        return [
            notification
            for notification in self._notifications.values()
            if (names is None or notification.name in names)
            and (id_image is None or notification.id_image == id_image)
            and (id_task is None or notification.id_task == id_task)
        ]

    def ensure_foreign(self, kinds: Collection[Foreign], now: float, life: float) -> None:
        """Have one notification of each kind, made anew only when the last one has outlived its time."""
        for kind in kinds:
            if now - self._foreign_made.get(kind, -life) >= life:
                self._foreign_made[kind] = now
                name = _FOREIGN_NAMES.get(kind, "expand_generate")
                self._notify(name, now, f"foreign-{kind.value}", foreign=kind)

    def _finish(self, job: Job, switches: Switches) -> None:
        if job.has_result:
            self._results.setdefault(job.id_image, []).append(job)
        if job.outcome is Outcome.UNANNOUNCED:
            return
        name = "error" if job.outcome is Outcome.FAILED else "expand_generate"
        for _ in range(2 if switches.duplicates is Duplicates.NEW_ID else 1):
            self._notify(name, job.finishes, job.id_image, job=job)

    def _notify(self, name: str, timestamp: float, id_image: str, **whose: Any) -> None:
        notification = Notification(next(self._numbers), name, timestamp, id_image, **whose)
        self._notifications[notification.id] = notification

    def _drop_notifications(self, up_to: float) -> None:
        old = itertools.takewhile(lambda one: one.timestamp <= up_to, self._notifications.values())
        for notification in list(old):
            del self._notifications[notification.id]

    def _drop_sources(self, up_to: float, keep_bytes: int) -> None:
        for source in list(self._sources.values()):
            if source.uploaded > up_to and self._source_bytes <= keep_bytes:
                return
            del self._sources[source.id_image]
            self._source_bytes -= len(source.data)
            for job in self._results.pop(source.id_image, ()):
                self._jobs.pop(job.id_task, None)
