"""Decides whether one file is at fault where a step in its folder failed, or the whole folder is."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from expandd.domain.errors import FolderAway
from expandd.domain.job import UNPAID, Job, JobState
from expandd.engine.ports import Folders

MOST_PAID = 2
"""Paid images of one folder, one after the other, that cannot be stored: then nothing more is bought for it, whatever
its directories look like."""


class Blame:
    """A file is at fault where its folder is proven fine. It then waits alone; its folder goes on."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._stuck: set[str] = set()
        self._unstored: defaultdict[Path, dict[str, FolderAway]] = defaultdict(dict)

    def is_stuck(self, job_id: str) -> bool:
        """Whether this job's own file is what it waits for."""
        return job_id in self._stuck

    def prove_stores(self, inbox: Path) -> None:
        """Raise FolderAway while one paid image after the other cannot be stored there.

        Trying has said more than the directories say when they are asked.
        """
        errors = tuple(self._unstored.get(inbox, {}).values())
        if len(errors) >= MOST_PAID:
            raise FolderAway(errors[-1].reason, str(errors[-1]))

    def fine(self, job: Job, *, over: bool) -> None:
        """A step of this job went well; `over` when it was the last."""
        self._stuck.discard(job.id)
        if over:
            self._unstored.pop(job.place.inbox, None)

    async def is_files(self, job: Job, error: FolderAway) -> bool:
        """Whether the job's file alone is at fault for this failure."""
        before = self.is_stuck(job.id)
        self._stuck.discard(job.id)
        if not error.may_be_file or not await self._is_folder_fine(job):
            return False
        if job.state not in UNPAID and not before:
            self._unstored[job.place.inbox][job.id] = error
            if len(self._unstored[job.place.inbox]) >= MOST_PAID:
                return False
        self._stuck.add(job.id)
        return True

    async def _is_folder_fine(self, job: Job) -> bool:
        place = job.place
        try:
            for root in (place.inbox, job.work_dir.parent, place.outbox, place.done, place.error):
                await self._folders.prove(root, 0)
        except FolderAway:
            return False
        return True


_CLAIM = (
    "It cannot be taken out of the inbox ({why}). The user that expandd runs as must be allowed to rename it: it must "
    "be allowed to write to its directory, and own the file or the directory where that is sticky. The other files of "
    "the folder go on."
)
_LATER = (
    "A file or directory of this image cannot be read, moved or removed ({why}), while its folders are fine. See what "
    "lies at {work}, in the outbox and where the original is to go. The other files of the folder go on."
)


def words(job: Job, error: FolderAway, work: str) -> str:
    """What is wrong with the file, and what to do about it."""
    return (_CLAIM if job.state is JobState.CLAIMED else _LATER).format(why=error.detail, work=work)
