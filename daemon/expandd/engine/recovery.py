"""Owns the start: the journal against the work folders, both ways, before anything new is done."""

from __future__ import annotations

from collections.abc import Sequence

from expandd.domain.errors import FolderAway
from expandd.domain.events import Recovered
from expandd.domain.job import AWAITING_RESULT, Job, JobState, Place
from expandd.domain.settings import HotFolder, Originals
from expandd.engine.gates import Gates
from expandd.engine.jobs import Jobs
from expandd.engine.keeping import Vault
from expandd.engine.pipeline import HOLDS_SLOT
from expandd.engine.ports import Emit, Folders
from expandd.engine.slots import Slots


class Recovery:
    """Makes an earlier run's end this run's beginning. Recover before spend."""

    def __init__(self, *, jobs: Jobs, slots: Slots, gates: Gates, folders: Folders, vault: Vault, emit: Emit) -> None:
        self._jobs = jobs
        self._slots = slots
        self._gates = gates
        self._folders = folders
        self._vault = vault
        self._emit = emit

    async def run(self, hot_folders: Sequence[HotFolder]) -> None:
        """Load the open jobs, keep their slots, hold back paid calls until the first poll, return stray files."""
        await self._jobs.load()
        returned = 0
        for folder in hot_folders:
            returned += await self.clear_strays(folder)
        for job in self._jobs:
            maybe_made = job.state in HOLDS_SLOT - {JobState.CLAIMED, JobState.UPLOADED}
            if maybe_made and not job.held:
                self._slots.take(job.id, by_force=True)
        # Nobody polls for a held job: waiting for that poll would hold back all others for ever.
        self._gates.draining = any(not job.held for job in self._jobs.in_state(JobState.INTENT, *AWAITING_RESULT))
        self._emit(Recovered(len(self._jobs), returned))

    async def clear_strays(self, folder: HotFolder) -> int:
        """Files in the work folder that no job owns: their claim was never written down, or the journal is gone."""
        try:
            strays = await self._folders.strays(folder.inbox)
            return sum([await self._clear(folder, job_id) for job_id in strays if self._jobs.get(job_id) is None])
        except FolderAway as error:
            self._gates.inbox(folder.inbox).away(error)
            return 0

    async def _clear(self, folder: HotFolder, job_id: str) -> int:
        known = await self._jobs.known(job_id)
        if known is not None and known.state in {JobState.DONE, JobState.FAILED}:
            await self._put_to_rest(known)
            return 0
        job = await self._folders.marked(folder.inbox, job_id)
        if job is None:
            return await self._folders.return_stray(folder.inbox, job_id)
        # People may write where the mark lies: of what it says, only what cannot lead anywhere else is believed.
        job = job.with_(place=Place.of(folder), target=None, resting=None, link="")
        vaulted = await self._folders.identity(self._vault.path(job_id)) is not None
        state = JobState.RENDERED if vaulted else JobState.UNKNOWN
        await self._jobs.adopt(job, state, "the journal does not know this job: it is found out whether it was paid")
        return 0

    async def _put_to_rest(self, job: Job) -> None:
        """A job that was over while its original was away with its inbox: now it is back."""
        place = job.place
        if job.state is JobState.DONE and place.originals is Originals.DELETE:
            await self._folders.discard(job)
        else:
            directory = place.done if job.state is JobState.DONE else place.error
            resting = await self._folders.free_name(directory, job.relative, frozenset())
            await self._folders.put_away(job.work_file, resting)
        await self._folders.tidy(job)
