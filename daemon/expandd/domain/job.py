"""The job: one dropped file on its way to one result, its states and the moves between them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from expandd.domain.bounds import WallTime
from expandd.domain.errors import Fault, IllegalMove
from expandd.domain.finishing import Finishing, finishing, most_bytes, scaled, sent_size
from expandd.domain.image import ImageFormat, Prepared, Size
from expandd.domain.offsets import Offsets
from expandd.domain.result_rules import AS_A_RULE, ResultRules
from expandd.domain.settings import Duplicates, HotFolder, Originals
from expandd.domain.spending import Outcome, Payments, begun, known


class JobState(Enum):
    """Where a job is. Each member says what is true once it is written."""

    CLAIMED = "claimed"
    """The file is being renamed, or has been, into the work folder."""
    UPLOADED = "uploaded"
    """The API holds the image under `image_id`; nothing has been paid."""
    SUBMITTING = "submitting"
    """The paid call is about to be sent, or is on its way."""
    ACCEPTED = "accepted"
    """The API took the paid call; the poller waits for its result."""
    UNKNOWN = "unknown"
    """The answer to the paid call was lost; the API is asked what became of it."""
    RENDERED = "rendered"
    """The API has a result; its link is stored."""
    DOWNLOADED = "downloaded"
    """The result's bytes are checked and synced on the local disk."""
    DELIVERED = "delivered"
    """The result lies whole in the outbox."""
    DONE = "done"
    """The original is archived and the notification is gone. The end."""
    FAILED = "failed"
    """The file itself cannot be expanded; the original goes to the error folder. The end once closed."""
    RETURNED = "returned"
    """The file went back to the inbox, or a person took it away, before anything was paid. The end once closed."""


S = JobState

MOVES: dict[JobState, frozenset[JobState]] = {
    # Straight to its end where the same bytes were paid for before: their result is delivered again, or none is.
    # So also from the next state: they may have been paid for only just now.
    # To unknown from either where the record beside the file tells of a paid call that the job database does not know.
    S.CLAIMED: frozenset({S.UPLOADED, S.UNKNOWN, S.DOWNLOADED, S.DELIVERED, S.FAILED, S.RETURNED}),
    # An upload can be repeated when the API has let go of the image; it costs nothing.
    # To rendered where the API announces a result after it had shown none: it was made all the same.
    S.UPLOADED: frozenset(
        {S.CLAIMED, S.SUBMITTING, S.UNKNOWN, S.RENDERED, S.DOWNLOADED, S.DELIVERED, S.FAILED, S.RETURNED},
    ),
    # Back to uploaded only by a refusal that proves nothing was made.
    S.SUBMITTING: frozenset({S.ACCEPTED, S.UNKNOWN, S.UPLOADED, S.CLAIMED, S.FAILED}),
    S.ACCEPTED: frozenset({S.RENDERED, S.FAILED, S.UNKNOWN}),
    # Back to uploaded only when the API proves, or a person says, that nothing was made.
    S.UNKNOWN: frozenset({S.RENDERED, S.FAILED, S.UPLOADED}),
    S.RENDERED: frozenset({S.DOWNLOADED, S.FAILED}),
    # Back to rendered when the bytes in the spool are damaged or gone: fetching them again costs nothing. Back to the
    # beginning only where they are those of a duplicate.
    S.DOWNLOADED: frozenset({S.DELIVERED, S.RENDERED, S.CLAIMED}),
    S.DELIVERED: frozenset({S.DONE}),
    S.DONE: frozenset(),
    S.FAILED: frozenset(),
    S.RETURNED: frozenset(),
}

OUTCOME_OF_MOVE: dict[tuple[JobState, JobState], Outcome] = {
    (S.SUBMITTING, S.ACCEPTED): Outcome.TAKEN,
    (S.SUBMITTING, S.UPLOADED): Outcome.REFUSED,
    (S.SUBMITTING, S.CLAIMED): Outcome.REFUSED,
    (S.SUBMITTING, S.FAILED): Outcome.REFUSED,
    (S.UNKNOWN, S.UPLOADED): Outcome.NOT_MADE,
    # A result, an error that the API announced, or a person's word.
    (S.UNKNOWN, S.RENDERED): Outcome.TAKEN,
    (S.UNKNOWN, S.FAILED): Outcome.TAKEN,
    (S.UPLOADED, S.RENDERED): Outcome.TAKEN,
}
"""The outcome of the paid call that each of these moves proves."""

UNPAID = frozenset({S.CLAIMED, S.UPLOADED})
"""States in which nothing can have been charged."""

MAYBE_PAID = frozenset({S.SUBMITTING, S.ACCEPTED, S.UNKNOWN, S.RENDERED, S.DOWNLOADED, S.DELIVERED})
"""States in which the API may have charged for the job."""

AWAITING_RESULT = frozenset({S.ACCEPTED, S.UNKNOWN})
"""States in which the poller expects the job's notification."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Identifies the content of a file without reading it."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    def is_same(self, other: FileIdentity) -> bool:
        """Whether both are of the same file, unchanged, on one disk: device numbers change at each start."""
        return (self.inode, self.size, self.mtime_ns) == (other.inode, other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The dropped image: its size in px as a person sees it, and its EXIF orientation (1 to 8).

    `converts`, `several` and `metadata` as in `Valid`.
    """

    identity: FileIdentity
    format: ImageFormat | None = None
    size: Size | None = None
    orientation: int = 1
    sha256: str = ""
    converts: bool = False
    several: bool = False
    metadata: bool = False

    @property
    def needs_copy(self) -> bool:
        """Whether the API is sent a copy that is made of it."""
        too_large = self.size is not None and sent_size(self.size) != self.size
        return self.orientation != 1 or self.converts or self.several or too_large


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An image in the spool: the paid bytes, or what was made of them. `expected` is the size in px of the result."""

    sha256: str
    bytes: int
    format: ImageFormat
    size: Size
    expected: Size

    @property
    def differs(self) -> bool:
        return self.size != self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSnapshot:
    """The hot folder as it stood at the claim: a reload never changes a job in progress.

    Each field is that of `HotFolder` with the same name.
    """

    inbox: Path
    outbox: Path
    done: Path
    error: Path
    name: str
    preset_name: str
    originals: Originals
    duplicates: Duplicates = Duplicates.EXPAND
    sidecar: bool = False
    result: ResultRules = AS_A_RULE

    @classmethod
    def of(cls, folder: HotFolder) -> FolderSnapshot:
        return cls(**{kept.name: getattr(folder, kept.name) for kept in fields(cls)})


@dataclass(frozen=True, slots=True)
class StateChange:
    """When a state was entered."""

    state: JobState
    at: WallTime


NO_OFFSETS = Offsets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One dropped file on its way to one result.

    `relative` is its path below the inbox as it was dropped. `attempts` counts the tries of the step in progress,
    `tries` those of the whole job, `uploads` the uploads that the API took, `strikes` the failures in a row of this
    image alone, while the API served. `prepared` is the copy that the API was sent, None for the file itself. `result`
    are the API's own bytes, `finished` what was made of them, and `finish_failed` why the API's bytes are delivered
    without that. `target` (the result) and `archived_to` (the original) are chosen final paths,
    written down before a file is put there. `reused_from` is the earlier job with the same bytes and offsets whose
    result this one gets for nothing; `duplicate_of` the earlier one where this one is paid for all the same.
    """

    id: str
    folder: FolderSnapshot
    relative: Path
    source: Source
    state: JobState = JobState.CLAIMED
    owner: str = ""
    epoch: int = 0
    sender: str = ""
    """The owner whose paid call may not have ended, and may even still be sent: by a host that froze and thaws."""
    offsets: Offsets = NO_OFFSETS
    image_id: str = ""
    task_id: str = ""
    link: str = ""
    notifications: tuple[int, ...] = ()
    prepared: Prepared | None = None
    result: Result | None = None
    finished: Result | None = None
    finish_failed: str = ""
    target: Path | None = None
    archived_to: Path | None = None
    fault: Fault | None = None
    held: bool = False
    note: str = ""
    attempts: int = 0
    tries: int = 0
    uploads: int = 0
    strikes: int = 0
    reused_from: str = ""
    duplicate_of: str = ""
    closed: bool = False
    dismissed: bool = False
    """Whether a person has dismissed its error, which is not listed any more."""
    state_changes: tuple[StateChange, ...] = ()
    payments: Payments = ()

    @property
    def host(self) -> str:
        """The name of the host that carries it; "" where hosts do not share jobs, or none carries it now."""
        return host_of(self.owner)

    @property
    def may_still_be_sent(self) -> bool:
        """Whether it is unknown and another host may send its paid call yet: that nothing was paid proves nothing.

        Held it is only once that host is proven dead, or the API has let go of the upload.
        """
        return self.state is S.UNKNOWN and bool(self.sender) and not self.held

    @property
    def work_dir(self) -> Path:
        return self.folder.inbox / ".expandd" / self.id

    @property
    def work_file(self) -> Path:
        return self.work_dir / self.relative.name

    @property
    def asked(self) -> Offsets:
        """What the API is asked to add to what it is sent."""
        if self.source.size is None or self.prepared is None:
            return self.offsets
        return scaled(self.offsets, self.source.size, self.prepared.size)

    @property
    def room(self) -> int:
        """Bytes that its result can take at most; 0 where its size is not known."""
        if self.source.size is None:
            return 0
        return most_bytes(self.offsets.applied_to(self.source.size), converts=self.source.converts)

    @property
    def as_made(self) -> bool:
        """Whether the API's own bytes are what is delivered."""
        return self.finished is None or self.finished == self.result

    @property
    def final(self) -> Result | None:
        """What is delivered, or was: the finished image, else the API's own."""
        return self.finished or self.result

    @property
    def uploaded_size(self) -> Size | None:
        """The size in px of what the API is sent, or was; None where that of the file is not known."""
        if self.prepared is not None:
            return self.prepared.size
        return sent_size(self.source.size) if self.source.size else None

    @property
    def has_original_pixels(self) -> bool:
        """Whether the original's own pixels were put back into what is delivered."""
        return not self.as_made and self.finishing is not None and self.finishing.pixels

    @property
    def finishing(self) -> Finishing | None:
        """How the API's image becomes the result; None where it is the result as it is, or nothing is known of it."""
        if self.result is None or self.source.size is None or self.source.format is None:
            return None
        plan = finishing(
            rules=self.folder.result,
            source=self.source.format,
            original=self.source.size,
            offsets=self.offsets,
            prepared=self.prepared,
            made=self.result.format,
        )
        return plan if plan.canvas or self.source.metadata else None

    @property
    def paid(self) -> bool:
        """Whether the API took a paid call, as far as anybody knows."""
        return any(payment.outcome is Outcome.TAKEN for payment in self.payments)

    @property
    def spent_at(self) -> float | None:
        """When the last paid call was begun, seconds since the epoch; None when nothing was or can have been paid."""
        return next((payment.at for payment in reversed(self.payments) if payment.counts), None)

    def entered(self, state: JobState) -> float | None:
        """When the job entered `state`, seconds since the epoch; a step back to it does not count."""
        return next((change.at for change in reversed(self.state_changes) if change.state is state), None)

    @property
    def generated_within(self) -> float | None:
        """Seconds from the paid call until its result was seen; None where nothing tells, or the clock stepped back."""
        began, seen = self.entered(S.SUBMITTING), self.entered(S.RENDERED)
        if self.reused_from or began is None or seen is None or seen < began:
            return None
        return seen - began

    @property
    def original_lost(self) -> bool:
        """Whether it is over and its original was gone before it could be archived or removed."""
        return self.closed and self.state in {S.DONE, S.FAILED} and self.archived_to is None

    @property
    def original_removed(self) -> bool:
        """Whether it is over and its original was removed after delivery, as its folder says."""
        return self.closed and self.archived_to == self.work_file

    @property
    def lost_result(self) -> bool:
        """Whether it needs a person because its result was made and cannot be fetched."""
        return self.held and self.state is S.RENDERED

    def with_(self, **changes: Any) -> Job:
        return replace(self, **changes)


def owner_name(host: str, run: str) -> str:
    """The name under which a run of a host owns jobs."""
    return f"{host}-{run}"


def host_of(owner: str) -> str:
    """The name of the host that owns jobs under this name."""
    return owner.rpartition("-")[0]


def moved(job: Job, to: JobState, now: float, **changes: Any) -> Job:
    """`job` in state `to`, with `changes`. Raises IllegalMove for a move the table does not have."""
    paid_for = job.state is S.DOWNLOADED and to is S.CLAIMED and not job.reused_from
    if job.closed or paid_for or to not in MOVES[job.state]:
        raise IllegalMove(f"job {job.id} cannot move from {job.state.value} to {to.value}")
    # A step back undoes what came after it: nothing was made, so no later change may say otherwise. It renews nothing
    # either: an upload is as old as it was.
    kept = tuple(change for change in job.state_changes if _IN_ORDER.index(change.state) < _IN_ORDER.index(to))
    change = next((change for change in job.state_changes if change.state is to), StateChange(to, now))
    payments = _payments(job, to, now)
    facts = {"attempts": 0, "note": "", "state_changes": (*kept, change), "payments": payments, **changes}
    if to in {JobState.FAILED, JobState.RETURNED}:
        # A name that was chosen for a result which never came is free again.
        facts["target"] = None
    return replace(job, state=to, sender=_sender(job, to), **facts)


def _sender(job: Job, to: JobState) -> str:
    """Whose paid call may not have ended: the owner's own has, once it says that the answer is lost."""
    if to is JobState.SUBMITTING:
        return job.owner
    return job.sender if to is JobState.UNKNOWN and job.sender != job.owner else ""


def _payments(job: Job, to: JobState, now: float) -> Payments:
    """The payments after the move. Only here is a payment begun or given its outcome."""
    if to is JobState.SUBMITTING:
        return begun(job.payments, now)
    outcome = OUTCOME_OF_MOVE.get((job.state, to))
    return job.payments if outcome is None else known(job.payments, outcome, now)


def claimed(job: Job, now: float) -> Job:
    """A new job with its first state."""
    return replace(job, state_changes=(StateChange(JobState.CLAIMED, now),))


_IN_ORDER = tuple(JobState)


def tells_more(record: Job, job: Job) -> bool:
    """Whether the record has a payment that the job does not have."""
    return any(not any(paid.is_same(known) for known in job.payments) for paid in record.payments)


def believing(job: Job, record: Job, now: float) -> Job:
    """`job` as its record tells: paid for, perhaps, under the image id and by the host that it names.

    The file and its folder are those of the job: people may write where the record lies.
    """
    since = tuple(
        change for change in record.state_changes if _IN_ORDER.index(change.state) < _IN_ORDER.index(JobState.UNKNOWN)
    )
    new = tuple(paid for paid in record.payments if not any(paid.is_same(known) for known in job.payments))
    return moved(
        job.with_(sender=record.sender),
        JobState.UNKNOWN,
        now,
        note="the record beside the file tells of a paid call that the job database does not know",
        image_id=record.image_id,
        task_id=record.task_id,
        uploads=record.uploads,
        prepared=record.prepared,
        offsets=record.offsets,
        source=replace(record.source, identity=job.source.identity),
        fault=None,
        state_changes=(*since, StateChange(JobState.UNKNOWN, now)),
        payments=(*job.payments, *new),
    )
