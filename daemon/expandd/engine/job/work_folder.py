"""Compares a job with its work folder: a file that was taken away, and the recovery record beside it.

A job database that came back from a backup knows nothing of what was paid since. The record is written before each paid
call and lies with the file, on another disk: where it says more, the API is asked before anything is paid.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from expandd.domain.errors import FolderAway, Later
from expandd.domain.job import Job, tells_more
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Clock, Folders

GRACE = 10.0
"""Seconds that an inbox must have been there, looked after, before what is not in it counts as gone: some tools swap
directories by two renames."""

MOST_TRIES = 1000
"""Tries, at most a minute apart, after which what went away with an inbox that nobody serves is not waited for."""


class Presence:
    """Keeps since when each inbox has been there unchanged, with its work folder compared with the jobs."""

    def __init__(self, clock: Clock, leads: Callable[[Path], bool]) -> None:
        self._clock = clock
        self._leads = leads
        self._since: dict[Path, float] = {}
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}

    def here(self, inbox: Path) -> None:
        """Note that the inbox is there and compared, until `away` or `anew`."""
        self._since.setdefault(inbox, self._clock.monotonic())

    def away(self, inbox: Path) -> None:
        """Note that the inbox is not there, not ours, not compared yet, or no longer served."""
        self._since.pop(inbox, None)

    def seen(self, inbox: Path, work: tuple[int, int]) -> None:
        """Note the identity of its work folder, also where another host picks up its files."""
        if self._seen.get(inbox, (None, 0.0))[0] != work:
            self._seen[inbox] = (work, self._clock.monotonic())

    def is_settled(self, inbox: Path) -> bool:
        """Whether the inbox has been there for long enough; if another host picks up its files, as far as was seen."""
        since = self._since.get(inbox) if self._leads(inbox) else self._seen.get(inbox, (None, None))[1]
        return since is not None and self._clock.monotonic() - since >= GRACE


class WorkFolders:
    """Proves, before anything is inferred from a file that is missing, that it would be seen if it were there."""

    def __init__(self, folders: Folders, presence: Presence) -> None:
        self._folders = folders
        self._presence = presence

    async def prove(self, job: Job) -> None:
        """Return only where the work folder of the job's inbox is there, on the disk that the file was on.

        Raises FolderAway while it is not there, and Later while one is there that has never held this job: it lies
        on another disk than the file did, which may only not be mounted.
        """
        work = job.work_dir.parent
        found = await self._folders.directory_identity(work)
        if found is None:
            raise FolderAway(
                PauseReason.INBOX_UNAVAILABLE, f"The work folder {printable(work)} is not there. Mount its disk."
            )
        self._presence.seen(job.folder.inbox, found)
        # Another host knows the same disk by another number.
        elsewhere = not job.epoch and found[0] != job.source.identity.device and job.attempts < MOST_TRIES
        if elsewhere and await self._folders.directory_identity(job.work_dir) is None:
            raise Later(f"Another disk than the one that holds the file is mounted at {printable(job.folder.inbox)}.")

    async def prove_not_elsewhere(self, job: Job) -> None:
        """Return only where the original is in the work folder, or is gone from it for good as far as can be known.

        Raises Later while the job's own directory is missing and the inbox has not been there for long: it may be
        another one, in the place of the one that holds the original.
        """
        await self.prove(job)
        if self._presence.is_settled(job.folder.inbox) or job.attempts >= MOST_TRIES:
            return
        if await self._folders.directory_identity(job.work_dir) is None:
            raise Later(
                f"The original of {printable(job.relative)} is not in the work folder of its inbox, and it is not "
                "certain yet that this inbox is the one it was dropped into."
            )


class RecoveryRecords:
    """Reads recovery records before each upload and each paid call: a restored database pays nothing twice."""

    def __init__(self, *, jobs: Jobs, folders: Folders) -> None:
        self._jobs = jobs
        self._folders = folders

    async def says_more(self, job: Job) -> bool:
        """Whether the record knew of a paid call that the job did not; then the job is unknown from now on.

        Raises FolderAway where it cannot be read just now.
        """
        record = await self._folders.read_record(job.folder.inbox, job.id)
        if record is None or not tells_more(record, job):
            return False
        await self._jobs.believe(job, record)
        return True
