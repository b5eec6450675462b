"""The fakes: each fulfils one of the engine's ports in memory, as the port's contract says and no kinder."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from expandd.domain.commands import Command, Hold
from expandd.domain.errors import (
    AccountAway,
    DatabaseAway,
    DecoderAway,
    Fault,
    FaultCode,
    InspectionTooLong,
    Later,
    NameTaken,
    ReaderDied,
    StaleJob,
)
from expandd.domain.finishing import Finishing, sent_size
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Prepared, Size, Valid
from expandd.domain.job import MAYBE_PAID, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Duplicates
from expandd.domain.spending import Denied, Limits, Spent, Today
from expandd.engine.ports import Clock

IN_FLIGHT = frozenset({JobState.SUBMITTING, JobState.ACCEPTED, JobState.UNKNOWN})


def _is_same(other: Job, job: Job) -> bool:
    """Whether that one is paid for, or may be, and will have the result of this one."""
    alike = (other.source.sha256, other.offsets) == (job.source.sha256, job.offsets) and job.source.sha256 != ""
    shares = other.folder.duplicates is not Duplicates.EXPAND and not other.reused_from
    return alike and shares and other.state in MAYBE_PAID


class MemoryJobStore:
    """A job database in memory. `away` makes every call fail, `fails` and `lies` single writes, by their number."""

    def __init__(self, *jobs: Job) -> None:
        self.rows: dict[str, Job] = {job.id: job for job in jobs}
        self.away = False
        self.requests: list[Command] = []
        """What people have ordered."""
        self.standing: dict[object, Hold] = {}
        self.held_by_others = False
        """Whether another host has set or lifted one since they were read."""
        self.forgotten: list[Spent] = []
        """What the jobs that were pruned count for."""
        self.clock: Clock | None = None
        """With a clock each write takes `seconds` of it, as a slow disk does."""
        self.seconds = 0.0
        self.writes = 0
        self.fails: set[int] = set()
        """Writes, numbered from 1, that do not happen."""
        self.lies: set[int] = set()
        """Writes that happen and are reported as failed, as when a disk fails just after the sync."""

    async def add(self, job: Job) -> None:
        number = await self._write()
        if job.id in self.rows:
            raise DatabaseAway(f"UNIQUE constraint failed: {job.id}")
        self._prove_names(job)
        self.rows[job.id] = job
        self._lie(number)

    async def save(self, job: Job, expected: JobState) -> None:
        number = await self._write()
        row = self.rows.get(job.id)
        if row is None or (row.state, row.owner, row.epoch) != (expected, job.owner, job.epoch):
            raise StaleJob(f"job {job.id} is not in state {expected.value} any more, or not ours")
        self._prove_names(job)
        self.rows[job.id] = job
        self._lie(number)

    async def submit(self, job: Job, expected: JobState, limits: Limits) -> Denied | None:
        denied = self._against(job, limits)
        if denied is None:
            await self.save(job, expected)
        return denied

    def _against(self, job: Job, limits: Limits) -> Denied | None:
        self._read()
        others = [other for other in self.rows.values() if not other.closed and not other.held and other.id != job.id]
        same = [other.id for other in others if limits.unique and _is_same(other, job)]
        if same:
            return Denied(duplicate=min(same))
        for cap in limits.caps:
            paid = [(row.folder.inbox, paid.at) for row in self.rows.values() for paid in row.payments if paid.counts]
            now = sum(at >= cap.since and cap.inbox in {None, inbox} for inbox, at in paid)
            before = sum(old.images for old in self.forgotten if old.day >= cap.day and cap.inbox in {None, old.inbox})
            if now + before >= cap.most:
                return Denied(cap=cap)
        in_flight = sum(other.state in IN_FLIGHT for other in others)
        return Denied(in_flight=True) if limits.in_flight is not None and in_flight >= limits.in_flight else None

    def _prove_names(self, job: Job) -> None:
        others = (
            [] if job.closed else [other for other in self.rows.values() if not other.closed and other.id != job.id]
        )
        for name in ("target", "archived_to"):
            if getattr(job, name) in {getattr(other, name) for other in others} - {None}:
                raise NameTaken(f"another job has this name for its {name} already")

    async def get(self, job_id: str) -> Job | None:
        self._read()
        return self.rows.get(job_id)

    async def open_jobs(self) -> Sequence[Job]:
        self._read()
        return sorted((job for job in self.rows.values() if not job.closed), key=lambda job: job.id)

    async def by_image_id(self, image_id: str) -> Job | None:
        self._read()
        known = [job for job in self.rows.values() if image_id and job.image_id == image_id]
        return max(known, key=lambda job: job.id, default=None)

    async def accepted_elsewhere(self, job: Job) -> float | None:
        self._read()
        others = (row for row in self.rows.values() if row.state is JobState.ACCEPTED and row.owner != job.owner)
        earlier = (row for row in others if not row.held and (row.spent_at or 0.0) <= (job.spent_at or 0.0))
        return min((row.state_changes[-1].at for row in earlier), default=None)

    async def commands(self) -> Sequence[Command]:
        self._read()
        return tuple(self.requests)

    async def carried_out(self, command: Command) -> None:
        await self._write()
        self.requests = [request for request in self.requests if request.number != command.number]

    async def holds_changed(self) -> bool:
        return self.held_by_others

    async def holds(self) -> Sequence[Hold]:
        self._read()
        self.held_by_others = False
        return sorted(self.standing.values(), key=lambda command: command.at)

    async def set_hold(self, command: Hold) -> None:
        await self._write()
        self.standing[command.key] = command

    async def lift_hold(self, command: Hold) -> None:
        await self._write()
        self.standing.pop(command.key, None)

    async def reused_from(self, job: Job) -> Job | None:
        self._read()
        deduplicator = [
            other
            for other in self.rows.values()
            if other.id != job.id
            and (other.state, other.source.sha256, other.offsets) == (JobState.DONE, job.source.sha256, job.offsets)
            and other.result is not None
        ]
        return max(deduplicator, key=lambda other: other.id, default=None)

    async def done_last(self, most: int) -> Sequence[Job]:
        self._read()
        done = [job for job in self.rows.values() if job.closed and job.state is JobState.DONE]
        return sorted(done, key=lambda job: (job.state_changes[-1].at, job.id), reverse=True)[:most]

    async def paid_here(self, job: Job) -> Job | None:
        self._read()
        same = [
            other
            for other in self.rows.values()
            if other.id != job.id
            and (other.state, other.source.sha256, other.folder.inbox)
            == (JobState.DONE, job.source.sha256, job.folder.inbox)
            and other.result is not None
            and not other.reused_from
        ]
        return max(same, key=lambda other: other.id, default=None)

    async def failed(self, inbox: Path | None) -> Sequence[Job]:
        self._read()
        over = [job for job in self.rows.values() if job.closed and job.state is JobState.FAILED]
        return sorted((job for job in over if inbox in {None, job.folder.inbox}), key=lambda job: job.id)

    async def spent(self, today: Today) -> Sequence[Spent]:
        self._read()
        spent = [*self.forgotten, *(one for job in self.rows.values() for one in _spent(job))]
        return [one for one in spent if one.day[:7] >= today.month]

    async def prove(self) -> None:
        if self.away:
            raise DatabaseAway("The job database is away.")

    async def prune(self, before: float) -> int:
        await self._write()
        old = [job.id for job in self.rows.values() if job.closed and job.state_changes[-1].at < before]
        for job_id in old:
            job = self.rows.pop(job_id)
            self.forgotten += _spent(job)
        return len(old)

    async def _write(self) -> int:
        if self.clock is not None:
            await self.clock.sleep(self.seconds)
        self._read()
        self.writes += 1
        number = self.writes
        if number in self.fails:
            raise DatabaseAway("the job database is away for a moment")
        return number

    def _lie(self, number: int) -> None:
        if number in self.lies:
            raise DatabaseAway("nobody knows whether this was written")

    def _read(self) -> None:
        if self.away:
            raise DatabaseAway("the job database is away")


def _spent(job: Job) -> list[Spent]:
    days = (datetime.fromtimestamp(paid.at, UTC).strftime("%Y-%m-%d") for paid in job.payments if paid.counts)
    return [Spent(job.folder.inbox, day, 1) for day in days]


class MemorySpool:
    """A spool that knows which jobs it holds, in files under `directory`. `full` makes `prove` fail."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.full = False

    def incoming(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.part"

    def path(self, job_id: str) -> Path:
        return self._directory / job_id

    def finished(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.finished"

    async def admit(self, job_id: str) -> None:
        self.incoming(job_id).rename(self.path(job_id))

    async def recall(self, job_id: str) -> None:
        self.path(job_id).rename(self.incoming(job_id))

    async def prove(self, room: int) -> None:
        if self.full or not self._directory.is_dir():
            raise AccountAway(PauseReason.STORAGE_UNAVAILABLE, "The spool is full.")

    async def drop(self, job_id: str) -> None:
        for path in (self.incoming(job_id), self.finished(job_id), self.path(job_id)):
            path.unlink(missing_ok=True)

    async def keep(self, job_id: str, sha256: str) -> None:
        if self.path(job_id).exists():
            self._kept(sha256).write_bytes(self.path(job_id).read_bytes())

    async def reuse(self, sha256: str, job_id: str) -> bool:
        if not self._kept(sha256).exists() or _digest(self._kept(sha256).read_bytes()) != sha256:
            return False
        self.path(job_id).write_bytes(self._kept(sha256).read_bytes())
        return True

    async def forget_older(self, before: float) -> None:
        for path in self._directory.glob("kept-*"):
            if path.stat().st_ctime < before:
                path.unlink()

    def _kept(self, sha256: str) -> Path:
        return self._directory / f"kept-{sha256}"


class SilentWatcher:
    """A watcher that never says a word of itself; a test may speak for it with `hint`."""

    def __init__(self) -> None:
        self.watched: dict[Path, Callable[[Path], None]] = {}
        self.dead: set[Path] = set()
        self.renewals = 0
        self.asked = 0
        """How often anybody wanted to know whether a watch is alive."""

    async def watch(self, inbox: Path, *, recursive: bool, hint: Callable[[Path], None]) -> None:
        self.watched[inbox] = hint
        self.dead.discard(inbox)
        self.renewals += 1

    async def unwatch(self, inbox: Path) -> None:
        self.watched.pop(inbox, None)

    async def alive(self, inbox: Path) -> bool:
        self.asked += 1
        return inbox in self.watched and inbox not in self.dead

    def hint(self, path: Path) -> None:
        """Tell every inbox above `path` that something happened there."""
        for inbox, hint in self.watched.items():
            if path.is_relative_to(inbox):
                hint(path)


class FixedRandomness:
    """No chance at all: one fraction, and ids that count."""

    def __init__(self, fraction: float = 0.5, prefix: str = "job") -> None:
        self._fraction = fraction
        self._prefix = prefix
        self._numbers = count(1)

    def fraction(self) -> float:
        return self._fraction

    def job_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers):016d}"


def an_image(width: int = 100, height: int = 80, *, orientation: int = 1, note: str = "") -> bytes:
    """An image as FakeImages and FakeApi read it: one line of text."""
    return f"image {width}x{height} turned {orientation} {note}\n".encode()


_IMAGE = re.compile(rb"image (\d+)x(\d+) turned (\d) [^\n]*\n")


def size_of(content: bytes) -> Size | None:
    """The size of a fake image; None when it is none."""
    found = _IMAGE.fullmatch(content)
    return Size(int(found[1]), int(found[2])) if found else None


@dataclass(slots=True)
class FakeImages:
    """Reads images made by `image`. What begins like one but is cut short is unfinished; all else is invalid."""

    expected: int = 0
    inspected: int = 0
    busy: int = 0
    """How many more looks end in Later."""
    deaths: int = 0
    """How many more looks their reader dies of."""
    finished: int = 0
    """Finishings so far."""
    unfinishable: int = 0
    """How many more finishings their reader dies of."""
    held_up: int = 0
    """How many more finishings a disk holds up."""
    away: str = ""
    """Why nothing can be decoded."""
    slow: dict[str, asyncio.Event] = field(default_factory=dict)
    """Names whose short look ends in InspectionTooLong and whose long one waits for the event."""
    short: dict[str, asyncio.Event] = field(default_factory=dict)
    """Names whose short look waits for the event."""
    meanwhile: Callable[[Path], None] | None = None
    """Called during a look, as a writer that goes on writing."""

    def warm_up(self) -> None:
        self.expected += 1

    async def prove(self) -> None:
        if self.away:
            raise DecoderAway(self.away)

    async def inspect(self, path: Path, *, thorough: bool = True) -> Inspection:
        await self.prove()
        self.inspected += 1
        if path.name in self.short and not thorough:
            await self.short[path.name].wait()
        if path.name in self.slow:
            if not thorough:
                raise InspectionTooLong("it takes long")
            await self.slow[path.name].wait()
        if self.busy:
            self.busy -= 1
            raise Later("the image cannot be opened just now")
        if self.deaths:
            self.deaths -= 1
            raise ReaderDied("it died of SIGKILL")
        inspection = self._find(path)
        if self.meanwhile is not None:
            self.meanwhile(path)
        return inspection

    async def inspect_result(self, path: Path) -> Inspection:
        await self.prove()
        return self._find(path)

    async def prepare(self, source: Path, target: Path) -> Prepared:
        await self.prove()
        found = _IMAGE.fullmatch(source.read_bytes())
        assert found, "only a whole image is prepared"
        sent = sent_size(Size(int(found[1]), int(found[2])))
        target.write_bytes(an_image(sent.width, sent.height, note="upright"))
        return Prepared(format=ImageFormat.PNG, size=sent, exact=sent == Size(int(found[1]), int(found[2])))

    async def finish(self, original: Path, made: Path, target: Path, plan: Finishing) -> bool:
        await self.prove()
        self.finished += 1
        if self.held_up:
            self.held_up -= 1
            raise Later("its disk does not answer")
        if self.unfinishable:
            self.unfinishable -= 1
            raise ReaderDied("it died of SIGKILL")
        assert original.is_file()
        assert made.is_file()
        size = plan.size
        target.write_bytes(an_image(size.width, size.height, note="finished"))
        return True

    def _find(self, path: Path) -> Inspection:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise Later(str(error)) from error
        found = _IMAGE.fullmatch(content)
        if found:
            return Valid(
                format=ImageFormat.PNG,
                size=Size(int(found[1]), int(found[2])),
                orientation=int(found[3]),
            )
        if b"image".startswith(content[:5]):
            return Incomplete(Fault(FaultCode.NOT_WHOLE, "The image ends too early.", "Save it again."))
        return Invalid(Fault(FaultCode.UNSUPPORTED_TYPE, "This is no image.", "Drop a JPEG, a PNG or a WEBP."))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


_digest = sha256
