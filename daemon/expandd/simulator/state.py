"""The state of the simulated account: sources, jobs, notifications, credits, and counts of calls."""

from __future__ import annotations

import copy
import hashlib
import heapq
import itertools
import random
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from http import HTTPStatus
from typing import Any

from expandd.simulator.faults import FaultBox, Subject
from expandd.simulator.switches import Duplicates, Foreign, Switches

UNKNOWN_FIELD = "Unknown field."
NULL_FIELD = "Field may not be null."
NOT_TEXT = "Not a valid string."


@dataclass(frozen=True, slots=True)
class UploadSeen:
    """One completely received file, accepted or not. `id_image` is None for a refused one.

    `began` is the arrival of the call's first bytes, in monotonic seconds.
    """

    sha256: str
    size: int
    part: str
    filename: str
    id_image: str | None
    began: float


@dataclass(frozen=True, slots=True)
class DeleteSeen:
    """One deleted notification. `downloaded` is whether its result had been completely sent before."""

    id: int
    name: str
    id_image: str
    foreign: bool
    downloaded: bool


@dataclass(slots=True)
class Counts:
    """Figures since the server was made. `calls` is endpoint → status → number.

    A status is the HTTP status, or `reset` or `dropped` where no complete answer was sent; calls without an endpoint
    count under `unknown`. `downloads` counts completely sent results, by image id. `generation_seconds` is the duration
    of each accepted generate, in order, `generated` the time of its acceptance, in monotonic seconds.
    """

    calls: dict[str, dict[str, int]] = field(default_factory=dict)
    generates_by_image: dict[str, int] = field(default_factory=dict)
    generates_by_source: dict[str, int] = field(default_factory=dict)
    generates_refused: int = 0
    generation_seconds: list[float] = field(default_factory=list)
    generated: list[float] = field(default_factory=list)
    generate_extras: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[UploadSeen] = field(default_factory=list)
    polls_too_close: int = 0
    poll_gaps: list[float] = field(default_factory=list)
    in_flight_max: int = 0
    downloads: dict[str, int] = field(default_factory=dict)
    tasks_downloaded: set[str] = field(default_factory=set)
    deletes: list[DeleteSeen] = field(default_factory=list)
    authorization_at_link_host: int = 0
    authorization_at_refresh: int = 0
    refresh_reused: int = 0
    unknown_fields: int = 0
    null_fields: int = 0
    name_list_not_text: int = 0

    def total(self, endpoint: str) -> int:
        """All calls to one endpoint, with any status."""
        return sum(self.calls.get(endpoint, {}).values())

    @property
    def generates_accepted(self) -> int:
        return sum(self.generates_by_image.values())

    @property
    def paid_twice(self) -> list[str]:
        """The sha256 of each source for which more than one generate was accepted."""
        return [sha256 for sha256, number in self.generates_by_source.items() if number > 1]

    @property
    def poll_gap_min(self) -> float | None:
        """The shortest time between two polls in seconds; None before the second poll."""
        return min(self.poll_gaps, default=None)

    @property
    def deletes_foreign(self) -> int:
        return sum(seen.foreign for seen in self.deletes)

    @property
    def deletes_before_download(self) -> int:
        """Deletes of a finished job's notification before its result was completely sent."""
        return sum(not seen.downloaded and not seen.foreign and seen.name != "error" for seen in self.deletes)

    def note_call(self, endpoint: str, status: str) -> None:
        _add(self.calls.setdefault(endpoint, {}), status)
        self.generates_refused += endpoint == "generate" and status.isdigit() and int(status) >= HTTPStatus.BAD_REQUEST

    def note_generate(
        self, id_image: str, sha256: str, in_flight: int, seconds: float, extras: Mapping[str, Any]
    ) -> None:
        _add(self.generates_by_image, id_image)
        _add(self.generates_by_source, sha256)
        self.in_flight_max = max(self.in_flight_max, in_flight)
        self.generation_seconds.append(seconds)
        self.generated.append(time.monotonic())
        if extras:
            self.generate_extras.append(dict(extras))

    def note_download(self, id_image: str, id_task: str) -> None:
        self.tasks_downloaded.add(id_task)
        _add(self.downloads, id_image)

    def note_errors(self, errors: Mapping[str, list[str]]) -> None:
        """Count the errors of a refused body, given as field → messages."""
        messages = [message for group in errors.values() for message in group]
        self.unknown_fields += messages.count(UNKNOWN_FIELD)
        self.null_fields += messages.count(NULL_FIELD)
        self.name_list_not_text += errors.get("name_list", []).count(NOT_TEXT)

    def snapshot(self) -> Counts:
        return copy.deepcopy(self)

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["poll_gaps"], values["tasks_downloaded"]
        return values | {name: getattr(self, name) for name in _DERIVED}


_DERIVED = ("generates_accepted", "paid_twice", "poll_gap_min", "deletes_foreign", "deletes_before_download")


def _add(counter: dict[str, int], key: str) -> None:
    counter[key] = counter.get(key, 0) + 1


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
    """The file of an upload, and the name and type of its part."""

    part: str
    filename: str
    data: bytes
    subject: Subject = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", Subject(len(self.data), hashlib.sha256(self.data).hexdigest()))


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded image: its received bytes and its stored size in pixels."""

    id_image: str
    data: bytes
    subject: Subject
    width: int
    height: int
    uploaded: float


class Outcome(Enum):
    """How a job ends: with a result; with a result but no notification; with an error notification; never."""

    FINISHED = "finished"
    UNANNOUNCED = "unannounced"
    FAILED = "failed"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted generate. Its link needs `signature`, like a signed address of a real store."""

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
    """One notification, of a job of this account or of another client."""

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
    """The data of the account on the server. Not thread-safe: the owner holds a lock.

    Each request first calls `settle`, which announces finished jobs and deletes old data, so no thread has to watch the
    clock.
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
        """Announce finished jobs and delete expired data."""
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
        """The source of this id until it expires; None for an unknown or expired one."""
        source = self._sources.get(id_image)
        return source if source and now < source.uploaded + switches.source_life else None

    def stored(self, id_image: str) -> Source | None:
        """The source of this id, including one that has expired for new calls but still has valid links."""
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
        """The jobs of this image with a result, oldest first."""
        return list(self._results.get(id_image, ()))

    def delete_notification(self, number: int) -> Notification | None:
        return self._notifications.pop(number, None)

    def notifications(
        self, names: Collection[str] | None, id_image: str | None, id_task: str | None
    ) -> list[Notification]:
        """The unexpired notifications that match all given filters, oldest first."""
        return [
            notification
            for notification in self._notifications.values()
            if (names is None or notification.name in names)
            and (id_image is None or notification.id_image == id_image)
            and (id_task is None or notification.id_task == id_task)
        ]

    def ensure_foreign(self, kinds: Collection[Foreign], now: float, life: float) -> None:
        """Keep one notification of each kind; make a new one only when the last one has expired."""
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


Log = Callable[[str], None]


def silent(_: str) -> None:
    """A log that discards all lines."""


class SimulatorClock:
    """Seconds since the epoch plus an offset that a test can move. Safe to use from any thread."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward by `seconds`. Raises ValueError for a step backwards."""
        # Data expires in order of time, which a step back would break.
        if not seconds >= 0:
            raise ValueError(f"the clock only moves forward, not by {seconds} s")
        with self._lock:
            self._offset += seconds


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access and a refresh token with their expiry, in epoch seconds."""

    access: str
    refresh: str
    access_expires: float
    refresh_expires: float
    spent: bool = False

    def as_json(self) -> dict[str, str]:
        return {
            "access_token": self.access,
            "refresh_token": self.refresh,
            "access_expiration": _iso(self.access_expires),
            "refresh_expiration": _iso(self.refresh_expires),
        }


class RefreshRefusedError(Exception):
    """A refresh token is unknown, expired or reused; a reused one has also revoked every token."""


class Tokens:
    """All token pairs of the account. Not thread-safe: the owner holds a lock."""

    def __init__(self) -> None:
        self._pairs: dict[str, TokenPair] = {}

    def install(self, access: str, refresh: str, now: float, life: float) -> TokenPair:
        pair = TokenPair(access, refresh, now + life, now + life)
        self._pairs[refresh] = pair
        return pair

    def issue(self, now: float, life: float) -> TokenPair:
        # Random, not seeded: a client's pair from an earlier server must not be valid here.
        return self.install(secrets.token_hex(20), secrets.token_hex(20), now, life)

    def valid(self, access: str, now: float) -> bool:
        return any(pair.access == access and now < pair.access_expires for pair in self._pairs.values())

    def rotate(self, access: str, refresh: str, now: float, life: float, grace: float) -> TokenPair:
        """A new pair for an unused one, whose access token lives on for `grace` seconds. Raises RefreshRefusedError."""
        pair = self._pairs.get(refresh)
        if pair is not None and pair.spent:
            self._pairs.clear()
            raise RefreshRefusedError("reused")
        if pair is None or pair.access != access:
            raise RefreshRefusedError("unknown")
        if now >= pair.refresh_expires:
            raise RefreshRefusedError("expired")
        self._pairs[refresh] = replace(pair, spent=True, access_expires=min(pair.access_expires, now + grace))
        return self.issue(now, life)

    def expire_access(self, now: float) -> None:
        """Expire every access token now; refresh tokens stay valid."""
        self._pairs = {key: replace(pair, access_expires=now) for key, pair in self._pairs.items()}

    def revoke_all(self) -> None:
        self._pairs.clear()


class State:
    """The state that requests, the control endpoints and a test in the same process share.

    Hold `lock` while reading or changing anything but `clock` and `faults`, which lock themselves.
    """

    def __init__(self, switches: Switches, log: Log = silent) -> None:
        self.lock = threading.RLock()
        self.switches = switches
        self.clock = SimulatorClock()
        self.faults = FaultBox(switches.seed)
        self.counts = Counts()
        self.store = Store(switches.credits)
        self.tokens = Tokens()
        self.random = random.Random(switches.seed)  # noqa: S311 - repeatable on purpose
        self.link_url = ""
        self.last_poll: float | None = None
        self.log = log
        if switches.access_token is not None and switches.refresh_token is not None:
            self.tokens.install(switches.access_token, switches.refresh_token, self.clock.now(), switches.token_life)

    def settled(self) -> float:
        """Apply everything that is due by now; returns the present time."""
        now = self.clock.now()
        self.store.settle(now, self.switches)
        return now


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
