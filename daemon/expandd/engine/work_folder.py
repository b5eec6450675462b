"""Owns the question whether a file that is not in the work folder was taken away, or its whole disk was."""

from __future__ import annotations

from expandd.domain.errors import FolderAway, GateReason, Later
from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.engine.ports import Folders


async def prove_work_folder(folders: Folders, job: Job) -> None:
    """Return only where a missing file means that a person took it.

    Raises FolderAway while the work folder of the job's inbox is not there, and Later while one is there that has
    never held this job: it lies on another disk than the file did, which may only not be mounted.
    """
    work = job.work_dir.parent
    found = await folders.directory_identity(work)
    if found is None:
        raise FolderAway(
            GateReason.FOLDER_AWAY, f"The work folder {printable(work)} is not there. Is its disk mounted?"
        )
    elsewhere = found[0] != job.source.identity.device
    if elsewhere and await folders.directory_identity(job.work_dir) is None:
        raise Later(f"Another disk than the one that holds the file is mounted at {printable(job.place.inbox)}.")


MOST_TRIES = 1000
"""Tries, at most a minute apart, after which an original that went away with its inbox is not waited for any more."""


async def prove_not_elsewhere(folders: Folders, job: Job) -> None:
    """Return only where the original is in the work folder, or a person took it out of there.

    Raises Later while the job's own directory is missing: the inbox was renamed aside, or another lies in its place,
    and the original went with it.
    """
    if await folders.directory_identity(job.work_dir) is None and job.attempts < MOST_TRIES:
        raise Later(
            f"The original of {printable(job.relative)} went away with its inbox. "
            "It is put away once the inbox is back; its result does not wait for that."
        )
