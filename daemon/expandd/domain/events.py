"""What the engine emits: facts in the past tense, frozen, for log, status and tests alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from expandd.domain.errors import ExpanddError
from expandd.domain.job import Job, JobState
from expandd.domain.pauses import PauseReason


@dataclass(frozen=True, slots=True)
class FileSettled:
    """A candidate stopped changing and was inspected; `missed` when a scan found it and no event had announced it."""

    inbox: Path
    relative: Path
    missed: bool


@dataclass(frozen=True, slots=True)
class FileIgnored:
    """A name in an inbox is not picked up, and why."""

    inbox: Path
    relative: Path
    why: str


@dataclass(frozen=True, slots=True)
class FileUnfinished:
    """A file has stopped changing but is not whole; it is checked again when it changes, and given up in the end."""

    inbox: Path
    relative: Path
    why: str


@dataclass(frozen=True, slots=True)
class JobMoved:
    """A job entered its state; `before` is None for a new one."""

    job: Job
    before: JobState | None


@dataclass(frozen=True, slots=True)
class JobRetrying:
    """A step of a job failed; it is tried again in `seconds`."""

    job: Job
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class DuplicateFound:
    """A file has the bytes of one that its folder has paid for before, and is paid for again, as the folder says."""

    job: Job


@dataclass(frozen=True, slots=True)
class JobHeld:
    """A job needs a person: whether it was paid cannot be found out."""

    job: Job
    why: str


@dataclass(frozen=True, slots=True)
class JobClosed:
    """A job is over: done, failed with its file in the error folder, or returned."""

    job: Job


@dataclass(frozen=True, slots=True)
class OriginalLost:
    """The original of a job that is as good as over was gone from the work folder: somebody removed it."""

    job: Job


@dataclass(frozen=True, slots=True)
class FinishFailed:
    """The API's own bytes are delivered: putting the original's pixels and metadata back has failed."""

    job: Job
    why: str


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """A file that was given up unfinished has become whole in the error folder and is back in its inbox."""

    job: Job


@dataclass(frozen=True, slots=True)
class StrayStuck:
    """A file in a work folder that no open job owns cannot be returned; it is tried again."""

    inbox: Path
    job_id: str
    why: str


@dataclass(frozen=True, slots=True)
class PauseStarted:
    """Everything, or one folder, waits."""

    pause: str
    reason: PauseReason
    why: str


@dataclass(frozen=True, slots=True)
class PauseEnded:
    """The pause is over and the work goes on; `seconds` is how long the pause lasted."""

    pause: str
    reason: PauseReason
    seconds: float


@dataclass(frozen=True, slots=True)
class WatchRenewed:
    """The watch of an inbox was set up again: the directory is another one, or the watcher had gone silent."""

    inbox: Path
    why: str


@dataclass(frozen=True, slots=True)
class NotificationsRead:
    """One poll came back."""

    total: int
    ours: int
    foreign: int
    filtered: bool


@dataclass(frozen=True, slots=True)
class Recovered:
    """The job database and the work folders were compared at start."""

    open_jobs: int
    returned: int


@dataclass(frozen=True, slots=True)
class AccountShared:
    """Another instance of this machine works with the same e-mail address at the same API."""

    holder: str


@dataclass(frozen=True, slots=True)
class BugFound:
    """An unforeseen error occurred; the work in progress is dropped and tried again."""

    where: str
    error: BaseException


Event = (
    FileSettled
    | FileIgnored
    | FileUnfinished
    | JobMoved
    | JobRetrying
    | DuplicateFound
    | JobHeld
    | JobClosed
    | OriginalLost
    | FinishFailed
    | BroughtBack
    | StrayStuck
    | PauseStarted
    | PauseEnded
    | WatchRenewed
    | NotificationsRead
    | Recovered
    | AccountShared
    | BugFound
)


class HookName(Enum):
    """The hooks, by their key in the configuration."""

    ON_DONE = "on_done"
    ON_ERROR = "on_error"
    ON_PAUSED = "on_paused"

    @property
    def event(self) -> str:
        """What happened: done, error or paused."""
        return self.value.removeprefix("on_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one event. `about` names the file or the pause, for the log.

    `json` is one object in UTF-8. `environ` holds the same facts as names and texts; a file name in it has the bytes
    that it has on the disk, as os.fsdecode gives them.
    """

    event: str
    about: str
    json: bytes
    environ: tuple[tuple[str, str], ...]


class HookFailed(ExpanddError):
    """A hook failed. The message has no address, no secret and no fact in it.

    `again`: another try may succeed. `output` holds the first lines of what a command said.
    """

    def __init__(self, message: str, *, again: bool = False, output: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.again = again
        self.output = output
