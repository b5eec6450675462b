"""Decides what a failure is about: one file, its folder, or the API."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable
from enum import Enum
from pathlib import Path
from typing import TypeVar

from expandd.domain.errors import AccountAway, Fault, FaultCode, FileFault, FolderAway, Later, OutcomeUnknown
from expandd.domain.job import UNPAID, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.engine.flow.account import Probe
from expandd.engine.flow.circuit_breaker import CircuitBreakers
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Folders

MOST_PAID = 2
"""Paid images of one folder in a row that cannot be stored, after which nothing more is paid for it, even if its
directories seem fine."""


class FaultScope:
    """Decides whether a file or its folder is at fault. A file at fault waits alone; its folder goes on."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._waiting_for_file: set[str] = set()
        self._unstored: defaultdict[Path, dict[str, FolderAway]] = defaultdict(dict)

    def waits_for_file(self, job_id: str) -> bool:
        """Whether the job waits because its own file is at fault."""
        return job_id in self._waiting_for_file

    def prove_stores(self, inbox: Path) -> None:
        """Raise FolderAway while one paid image after the other cannot be stored there.

        Trying has said more than the directories say when they are asked.
        """
        errors = tuple(self._unstored.get(inbox, {}).values())
        if len(errors) >= MOST_PAID:
            raise FolderAway(errors[-1].reason, str(errors[-1]))

    def fine(self, job: Job, *, over: bool) -> None:
        """Note that a step of this job succeeded; `over` when it was the last."""
        self._waiting_for_file.discard(job.id)
        if over:
            self._unstored.pop(job.folder.inbox, None)

    async def is_files(self, job: Job, error: FolderAway) -> bool:
        """Whether the job's file alone is at fault for this failure."""
        before = self.waits_for_file(job.id)
        self._waiting_for_file.discard(job.id)
        if not error.may_be_file or not await self._is_folder_fine(job):
            return False
        if job.state not in UNPAID and not before:
            self._unstored[job.folder.inbox][job.id] = error
            if len(self._unstored[job.folder.inbox]) >= MOST_PAID:
                return False
        self._waiting_for_file.add(job.id)
        return True

    async def _is_folder_fine(self, job: Job) -> bool:
        folder = job.folder
        try:
            for root in (folder.inbox, job.work_dir.parent, folder.outbox, folder.done, folder.error):
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


T = TypeVar("T")

STRIKES = 5
"""Failures of one image in a row, while the API served, after which it is at fault if others have passed since."""

ALONE = 10
"""The same where no other image has passed since: this takes minutes, and applies to few images only."""

FEW = 3
"""Images that may be at fault at once; if more fail, the cause is what they have in common."""

UNKNOWN_STRIKES = 2
"""Strikes for a lost answer to a paid call while the API served: each costs a long wait."""


class Step(Enum):
    """What an image fails at."""

    UPLOAD = "upload"
    GENERATE = "generate"


class ImageFailures:
    """Every call about one image goes through `call`, which counts on its job how often it has failed alone.

    A failure is the image's own only where the free question is answered right after it. One that is not proves an
    outage, and clears the image: it begins anew. Nothing that was paid for is ever given up here.
    """

    def __init__(self, *, jobs: Jobs, breakers: CircuitBreakers, probing: Probe) -> None:
        self._jobs = jobs
        self._breakers = breakers
        self._probing = probing
        self._passed: Counter[Step] = Counter()
        # By job: how many others had passed when it failed first.
        self._passed_before: dict[tuple[str, Step], int] = {}

    async def call(self, job: Job, step: Step, call: Awaitable[T]) -> T:
        """The answer to the call. Raises Later, not AccountAway, for a failure that is this image's own.

        Raises FileFault once it is at fault.
        """
        try:
            answer = await self._breakers.through(call)
        except OutcomeUnknown as error:
            await self._lost(job, step, str(error))
            raise
        except (AccountAway, Later) as error:
            if await self._failed_alone(job, step, error):
                raise Later(str(error)) from error
            raise
        self._passed[step] += 1
        self._passed_before.pop((job.id, step), None)
        return answer

    def convict(self, job: Job, step: Step, why: str) -> None:
        """Raise FileFault where the image has failed alone for often enough. Nothing may have been made of it."""
        if self._is_at_fault(job, step):
            self._passed_before.pop((job.id, step), None)
            raise FileFault(_fault(why))

    def others_passed(self, job: Job, step: Step) -> bool:
        """Whether others have got through since this image failed first."""
        # Strikes of an earlier run: any image that has passed in this run has passed since.
        return bool(job.strikes) and self._passed[step] > self._passed_before.get((job.id, step), 0)

    async def _lost(self, job: Job, step: Step, why: str) -> None:
        """The answer to a paid call is lost: the image's own fault where the API serves."""
        served = await self._probing.serves()
        if not served:
            self._breakers.service.failed(PauseReason.API_UNREACHABLE, why)
        if served is not None:
            await self._count(job, step, UNKNOWN_STRIKES if served else None)

    async def _failed_alone(self, job: Job, step: Step, error: AccountAway | Later) -> bool:
        """Count the failure; whether it was the image's own and concerns nobody else."""
        if isinstance(error, AccountAway) and error.reason is not PauseReason.API_UNREACHABLE:
            return False
        served = await self._probing.serves()
        if served is None:
            return False
        job = await self._count(job, step, 1 if served else None)
        if served:
            self.convict(job, step, str(error))
        return served

    async def _count(self, job: Job, step: Step, strikes: int | None) -> Job:
        """One failure more; None: it was no image's fault, and the count begins anew."""
        current = self._jobs.get(job.id) or job
        if strikes is None:
            self._passed_before.pop((job.id, step), None)
            return await self._jobs.note(current, strikes=0) if current.strikes else current
        self._passed_before.setdefault((job.id, step), self._passed[step])
        return await self._jobs.note(current, strikes=current.strikes + strikes)

    def _is_at_fault(self, job: Job, step: Step) -> bool:
        if self.others_passed(job, step):
            return job.strikes >= STRIKES
        return job.strikes >= ALONE and self._failing() <= FEW

    def _failing(self) -> int:
        return sum(job.strikes > 0 for job in self._jobs if job.state in UNPAID)


def _fault(why: str) -> Fault:
    return Fault(
        FaultCode.NOT_TAKEN_BY_API,
        f"The API could not take this image: it failed again and again, while the API served otherwise. {why}",
        "Nothing was paid. Move the file back into the inbox to try it once more; if it fails again, save it anew as a "
        "smaller JPEG or PNG and drop that.",
    )
