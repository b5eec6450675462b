"""Believes the record beside a file in work where it tells of a paid call that the journal does not know.

A journal that came back from a backup knows nothing of what was paid since. The record is written before each paid
call and lies with the file, on another disk: where it says more, the API is asked before anything is paid.
"""

from __future__ import annotations

from expandd.domain.job import Job
from expandd.domain.recovery_record import tells_more
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Folders


class Records:
    """Looked into before each upload and each paid call: whatever brought the journal back, nothing is paid twice."""

    def __init__(self, *, jobs: Jobs, folders: Folders) -> None:
        self._jobs = jobs
        self._folders = folders

    async def says_more(self, job: Job) -> bool:
        """Whether the record knew of a paid call that the job did not; then the job is unknown from now on.

        Raises FolderAway where it cannot be read just now.
        """
        record = await self._folders.marked(job.place.inbox, job.id)
        if record is None or not tells_more(record, job):
            return False
        await self._jobs.believe(job, record)
        return True
