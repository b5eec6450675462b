"""The ports: what the engine needs from outside, as protocols that adapters and fakes implement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from expandd.domain.api_types import Account, Fetched, History, Notification, Uploaded
from expandd.domain.commands import Command, Hold
from expandd.domain.events import Event
from expandd.domain.finishing import Finishing
from expandd.domain.image import Inspection, Prepared
from expandd.domain.job import FileIdentity, Job, JobState, Result
from expandd.domain.offsets import Offsets
from expandd.domain.settle import FileStat, Found, InboxState
from expandd.domain.spending import Denied, Limits, Spent, Today
from expandd.engine.single_host import SingleHost

Emit = Callable[[Event], None]


class Clock(Protocol):
    """Time, passed in. Waits and lifetimes use `monotonic`; `wall` is for what people and other machines read."""

    def wall(self) -> float:
        """Seconds since the epoch, UTC; may step."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start; never steps, goes on through a suspend."""
        ...

    def today(self) -> Today:
        """The local day and month of the wall clock."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set or `seconds` have passed, whichever comes first."""
        ...


class Randomness(Protocol):
    """Randomness, passed in."""

    def fraction(self) -> float:
        """A number in [0, 1)."""
        ...

    def job_id(self) -> str:
        """A new id: sortable by time, safe as a file name, 20 to 40 characters."""
        ...


class Api(Protocol):
    """The Magic Expand API.

    Every call raises AccountAway for what concerns everybody (no network, 5xx, HTML, 401 after a refresh, 402, 403,
    429), and Later for what concerns this call only.
    """

    async def upload(self, source: Path, name: str) -> Uploaded:
        """Send the file's bytes. Raises FileFault when the API refuses this image. Repeating it costs nothing."""
        ...

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        """The paid call, sent once, never repeated inside. Returns the task id, or "" when the API named none.

        Raises FileFault (refused: nothing was made), ImageIdRefused (the image is gone: nothing was made),
        AccountAway or Later (certainly nothing was made), OutcomeUnknown (may have been made).
        """
        ...

    async def notifications(self, image_id: str = "") -> Sequence[Notification]:
        """One poll, for all images or filtered for one. The caller keeps the poll interval."""
        ...

    async def delete_notification(self, number: int) -> None:
        """Delete one notification of ours; one that is gone already is fine."""
        ...

    async def history(self, image_id: str) -> History: ...

    async def download(self, link: str, target: Path) -> Fetched:
        """Write the link's bytes to `target` and sync them. Never sends a token.

        Raises LinkDead when the link cannot be used, Later when it may work in a moment.
        """
        ...

    async def account(self) -> Account: ...


class Images(Protocol):
    """Inspects and converts images. Never follows a symlink, waits for a FIFO or changes the file."""

    def warm_up(self) -> None:
        """Prepare to inspect an image soon: start a decoder process if none is idle."""
        ...

    async def prove(self) -> object:
        """Start a decoder. Every method raises DecoderAway when that is not possible."""
        ...

    async def inspect(self, path: Path, *, thorough: bool = True) -> Inspection:
        """What the file is, decoded to its last row.

        Raises Later when it cannot be opened just now, ReaderDied when the decoder ended without an answer,
        InspectionTooLong when it takes long and need not be `thorough`.
        """
        ...

    async def inspect_result(self, path: Path) -> Inspection:
        """The same of a downloaded result: complete, of any size in pixels. Raises Later."""
        ...

    async def prepare(self, source: Path, target: Path) -> Prepared:
        """Write the copy that the API is sent: the first image of `source`, upright, in sRGB, at most 4096 px a side.

        The same file gives the same bytes. Raises FileFault when it cannot be decoded, Later, ReaderDied.
        """
        ...

    async def finish(self, original: Path, made: Path, target: Path, plan: Finishing) -> bool:
        """Write the result of `original` and of the API's image at `made` to `target`, as `plan` says.

        False, and nothing written, where the API's own bytes are the result. Raises FileFault, Later, ReaderDied.
        """
        ...


class Folders(Protocol):
    """The directories of hot folders. Every change is durable when the call returns.

    Raises FolderAway for a directory that is gone, full, read-only or not permitted.
    """

    async def stat(self, path: Path) -> FileStat | None:
        """What lstat says of a regular file; None for anything else, or nothing."""
        ...

    async def irregular(self, path: Path) -> str | None:
        """What lies at `path` in words ("a symbolic link", "a directory"), when it is no regular file; else None."""
        ...

    async def first_there(self, directory: Path, names: Sequence[str]) -> str:
        """The first of these names under which anything at all lies in the directory; "" when nothing does."""
        ...

    async def events_reach(self, inbox: Path) -> bool:
        """Whether file events of this file system reach this machine: not those of network shares and overlays."""
        ...

    def scan(self, inbox: Path, *, recursive: bool) -> AsyncIterator[Sequence[Found]]:
        """Everything in the inbox that is not a directory, in small batches, in any order, work folder left out."""
        ...

    async def cannot_take_because(self, inbox: Path, relative: Path) -> str | None:
        """Why a file cannot be taken out of its subfolder, and the remedy; None where it can, or is in no subfolder."""
        ...

    async def emptied(self, subfolder: Path) -> tuple[int, int] | None:
        """When an empty subfolder last changed; None for one that is not empty, or is gone."""
        ...

    async def remove_emptied(self, subfolder: Path, changed: tuple[int, int]) -> bool:
        """Remove such a subfolder unless it has changed since. Whether it is gone now."""
        ...

    async def claim(self, job: Job) -> FileIdentity | None:
        """Rename the dropped file into its work directory. None when it is not there any more, or cannot be taken."""
        ...

    async def identity(self, path: Path) -> FileIdentity | None:
        """What lies at `path` now, without following a symlink; None when no regular file does."""
        ...

    async def digest(self, path: Path) -> str:
        """sha256 of the file's bytes. Raises FileNotFoundError."""
        ...

    async def give_back(self, job: Job) -> Path | None:
        """Put a claimed file back into the inbox under a free name; None when it is gone."""
        ...

    async def bring_back(self, job: Job) -> Path | None:
        """Put the original of a job that is over back into the inbox under a free name; None when it is gone."""
        ...

    async def free_name(self, root: Path, relative: Path, taken: frozenset[Path]) -> Path:
        """`root`/`relative`, numbered if it exists or is in `taken`, cut to a legal length.

        Directories below `root` are made; `root` itself never is: it may be a mount point.
        """
        ...

    async def make_directories(self, root: Path, relative: Path) -> bool:
        """Make the directories that `root`/`relative` needs below `root`, which must be there.

        False where something else has the name of one of them: a file, a link, or what somebody has shut.
        """
        ...

    async def prove(self, root: Path, room: int) -> None:
        """Raise FolderAway unless the directory `root` can take a file of `room` bytes now."""
        ...

    async def publish(self, downloaded: Path, target: Path, sha256: str) -> bool:
        """Copy bytes to `target`, whole or not at all, never over another file.

        True when they lie there, also from an earlier try; False when something else does. Raises SpoolDamaged when
        the bytes are not those of `sha256`.
        """
        ...

    async def archive(self, job: Job, target: Path) -> bool:
        """Move the job's original to `target`, never over another file; True when it lies there, also from before.

        What is not the file that was claimed, unchanged, goes back into the inbox instead.
        """
        ...

    async def discard(self, job: Job) -> None:
        """Remove the job's original. What is not the file that was claimed, unchanged, goes back into the inbox."""
        ...

    async def tidy(self, job: Job) -> None:
        """Remove what is left of the job's work directory and of unfinished copies. Never an original."""
        ...

    async def write_sidecar(self, job: Job, target: Path) -> None:
        """Write `<name>.error.json` beside the failed original at `target`."""
        ...

    async def write_result_sidecar(self, job: Job, result: Result, target: Path) -> None:
        """Write `<result>.json` beside the result at `target`, whole or not at all, never over another file; once.

        Where `archived_to` is None it says that the original is lost.
        """
        ...

    async def forget_sidecar(self, failed: Path) -> None:
        """Remove the sidecar of a file that went to the error folder once and is no longer there."""
        ...

    async def write_record(self, job: Job) -> None:
        """Write the recovery record beside the file in work: it suffices to go on if the job database is lost."""
        ...

    async def read_record(self, inbox: Path, job_id: str) -> Job | None:
        """The job of the recovery record in its work directory; None where nothing can have been paid."""
        ...

    async def strays(self, inbox: Path) -> Sequence[str]:
        """The ids of all work directories in the inbox's work folder."""
        ...

    async def return_stray(self, inbox: Path, job_id: str) -> int:
        """Put the files of a work directory that no job owns back into the inbox; how many."""
        ...

    async def remove_older(self, directory: Path, before: float) -> None:
        """Remove the files in a directory and below that were put there before this wall time."""
        ...

    async def inbox_state(self, inbox: Path, markers: Sequence[str] = ()) -> InboxState:
        """Make the inbox's work folder where it is missing, and keep other instances out. Repeating it is fine.

        `markers` are names to look for in the same call, since each call costs one into a thread.
        """
        ...

    async def directory_identity(self, directory: Path) -> tuple[int, int] | None:
        """(st_dev, st_ino) of a directory; None when there is none. FolderAway when its disk is not mounted."""
        ...


class Watcher(Protocol):
    """Hints that something happened in a directory. May be silent, late, or wrong: the scan is the truth."""

    async def watch(self, inbox: Path, *, recursive: bool, hint: Callable[[Path], None]) -> None:
        """Call `hint` (from any thread) with each path that was created, closed or moved in. Replaces an earlier watch.

        A hint of the inbox itself means that events were lost.

        Raises FolderAway when the directory cannot be watched.
        """
        ...

    async def unwatch(self, inbox: Path) -> None: ...

    async def alive(self, inbox: Path) -> bool:
        """False when the watch is known to be dead. True proves nothing."""
        ...


class Spool(Protocol):
    """Paid bytes on the local disk, by job."""

    def incoming(self, job_id: str) -> Path:
        """Where an unfinished download may be written."""
        ...

    def path(self, job_id: str) -> Path:
        """Where the downloaded bytes are."""
        ...

    def finished(self, job_id: str) -> Path:
        """Where what is made of them is."""
        ...

    async def admit(self, job_id: str) -> None:
        """Make the incoming file the downloaded one, durably. Repeating it is fine."""
        ...

    async def recall(self, job_id: str) -> None:
        """Make a downloaded file the incoming one again, to be checked and admitted once more."""
        ...

    async def prove(self, room: int) -> None:
        """Raise AccountAway unless `room` bytes can be stored."""
        ...

    async def drop(self, job_id: str) -> None:
        """Forget the bytes of a job that is over, and what was made of them."""
        ...

    async def keep(self, job_id: str, sha256: str) -> None:
        """Keep the downloaded bytes beyond their job, by their digest. Repeating it is fine."""
        ...

    async def reuse(self, sha256: str, job_id: str) -> bool:
        """Make the kept bytes of this digest those of a new job too; False when they are not kept (any more)."""
        ...

    async def forget_older(self, before: float) -> None:
        """Forget the bytes that were kept before this wall time."""
        ...


class JobStore(Protocol):
    """The jobs, durable. A write returns only once it would survive a power cut. Raises DatabaseAway."""

    async def add(self, job: Job) -> None: ...

    async def save(self, job: Job, expected: JobState) -> None:
        """Replace the job's row if it is in state `expected` and of the same owner and epoch; else raise StaleJob."""
        ...

    async def submit(self, job: Job, expected: JobState, limits: Limits) -> Denied | None:
        """Save a job that is about to be paid for, unless the limits forbid it: then nothing is written."""
        ...

    async def get(self, job_id: str) -> Job | None: ...

    async def open_jobs(self) -> Sequence[Job]:
        """All that are not closed, oldest first."""
        ...

    async def commands(self) -> Sequence[Command]:
        """The commands that are not carried out yet, oldest first."""
        ...

    async def carried_out(self, command: Command) -> None:
        """Forget a command."""
        ...

    async def holds(self) -> Sequence[Hold]: ...

    async def holds_changed(self) -> bool:
        """Whether another process has set or lifted a hold since the last call of `holds`."""
        ...

    async def set_hold(self, command: Hold) -> None:
        """Store a hold; it replaces one of the same key."""
        ...

    async def lift_hold(self, command: Hold) -> None:
        """Delete the hold of this key, if there is one."""
        ...

    async def reused_from(self, job: Job) -> Job | None:
        """The youngest other job that is done with a result for the same source bytes and offsets."""
        ...

    async def done_last(self, most: int) -> Sequence[Job]:
        """The jobs that were done last, youngest first."""
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

    async def prove(self) -> None:
        """Raise DatabaseAway unless something can be written now."""
        ...

    async def prune(self, before: float) -> int:
        """Delete the jobs that were over before this wall time, but keep them in the ledger; how many."""
        ...

    async def by_image_id(self, image_id: str) -> Job | None:
        """The youngest job, open or closed, that the API knows under this id."""
        ...

    async def accepted_elsewhere(self, job: Job) -> float | None:
        """When the API took the oldest job of another owner that it works on and that was paid for before this one.

        Seconds since the epoch; None where there is none.
        """
        ...


class Membership(Protocol):
    """Which inboxes and which jobs are this host's: all of them, unless several hosts share them.

    A job belongs to one host at a time, its `owner`; what another host writes of it is refused.
    """

    @property
    def owner(self) -> str:
        """The name under which this run of the daemon owns jobs; never that of an earlier run."""
        ...

    def leads(self, inbox: Path) -> bool:
        """Whether the files of this inbox are picked up here."""
        ...

    @property
    def room(self) -> int | None:
        """How many more files may be claimed for all hosts; None where `ahead` alone decides."""
        ...

    @property
    def hindsight(self) -> float:
        """Seconds for which a paid call of another host may be in progress without any trace at the API; or 0."""
        ...

    def may_send(self) -> bool:
        """Whether the lease is certain to hold for the next seconds: only then may a paid call be sent."""
        ...

    async def is_dead(self, owner: str) -> bool:
        """Whether the run with this name is proven to send nothing any more."""
        ...

    async def offer(self, job: Job) -> bool:
        """Offer the job, whose file is claimed, to all hosts. False where it stays here."""
        ...

    async def run(
        self, carry: Callable[[Job], Awaitable[None]], knows: Callable[[str], bool], changed: Callable[[], None]
    ) -> None:
        """Until cancelled: `carry` each job that becomes this host's; `carry` returns when another may come.

        A job that the database gives to this host, though it does not know it (`knows`), is carried too.
        `changed` is called when `leads` or `room` has changed. Raises HostFenced when others have taken this host for
        dead: its jobs are theirs.
        """
        ...


def _one_for_all(path: Path) -> Hashable:
    del path
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything that the engine needs from outside."""

    api: Api
    randomness: Randomness
    clock: Clock
    folders: Folders
    images: Images
    store: JobStore
    spool: Spool
    watcher: Watcher
    mount_of: Callable[[Path], Hashable] = _one_for_all
    """The mount of a path, found without disk access: a mount that hangs must not hold up others."""
    membership: Membership = field(default_factory=SingleHost)
