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
