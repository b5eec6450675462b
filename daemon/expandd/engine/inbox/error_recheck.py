"""Rechecks files that went to the error folder unfinished: a slow writer may have completed them there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.errors import DatabaseAway, FaultCode, FolderAway, Later
from expandd.domain.events import BroughtBack
from expandd.domain.image import Valid
from expandd.domain.job import Job, JobState
from expandd.domain.settle import FileStat
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.ports import Clock, Emit, Folders, Images, JobStore

ROUND = 30.0
"""Seconds between two rounds."""

LIFE = 3 * 86400.0
"""Seconds for which such a file is rechecked; a writer that has not gone on by then is not expected any more."""

MOST = 256
"""The number of files that are rechecked, the youngest ones."""

_UNFINISHED = frozenset({FaultCode.EMPTY, FaultCode.NOT_WHOLE})


@dataclass(slots=True)
class _Watched:
    """A rechecked file: `judged` is its stat at the last inspection, `seen` its stat in the last round, and when."""

    job: Job
    judged: tuple[int, int]
    seen: FileStat | None = None
    since: float = 0.0


class ErrorRecheck:
    """Brings a file back into its inbox once it has become whole, each time it has changed and settled; never sooner.

    `inboxes` are those that are served now.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        folders: Folders,
        images: Images,
        clock: Clock,
        emit: Emit,
        inboxes: Callable[[], tuple[Inbox, ...]],
    ) -> None:
        self._store = store
        self._folders = folders
        self._images = images
        self._clock = clock
        self._emit = emit
        self._inboxes = inboxes
        self._watched: OrderedDict[Path, _Watched] = OrderedDict()

    async def run(self) -> None:
        """Until cancelled."""
        while not await self._loaded():
            await self._clock.sleep(ROUND)
        while True:
            await self._clock.sleep(ROUND)
            for inbox in self._inboxes():
                await self._round(inbox)

    def closed(self, job: Job) -> None:
        """Recheck the file of a closed job from now on, if it was given up unfinished."""
        if job.archived_to is None:
            return
        # The file there now is this job's, even if another one lay there before.
        self._watched.pop(job.archived_to, None)
        if job.state is JobState.FAILED and job.fault is not None and job.fault.code in _UNFINISHED and not job.paid:
            identity = job.source.identity
            self._watched[job.archived_to] = _Watched(job, (identity.size, identity.mtime_ns))
            if len(self._watched) > MOST:
                self._watched.popitem(last=False)

    async def _loaded(self) -> bool:
        """Load the files of earlier runs; False while the job database is away."""
        try:
            failed = await self._store.failed(None)
        except DatabaseAway:
            return False
        for job in failed:
            # Jobs that ended in this run are known already, and may have gone on.
            if job.archived_to not in self._watched and self._is_recent(job):
                self.closed(job)
        return True

    def _is_recent(self, job: Job) -> bool:
        return abs(self._clock.wall() - job.state_changes[-1].at) < LIFE

    async def _round(self, inbox: Inbox) -> None:
        mine = [one for one in self._watched.values() if one.job.folder.inbox == inbox.folder.inbox]
        for watched in mine:
            try:
                await self._check(watched, inbox)
            except (FolderAway, Later):
                return  # its circuit breaker says so; another time

    async def _check(self, watched: _Watched, inbox: Inbox) -> None:
        archived_to = watched.job.archived_to
        assert archived_to is not None, "only a file with a path in the error folder is checked"
        stat = await self._folders.stat(archived_to)
        if not self._is_recent(watched.job):
            self._watched.pop(archived_to, None)
        if stat is None:
            return  # somebody took it away, or its whole folder, which may come back
        now = self._clock.monotonic()
        if stat != watched.seen:
            watched.seen, watched.since = stat, now
        settled = now - watched.since >= max(inbox.folder.settle, ROUND)
        if (stat.size, stat.mtime_ns) == watched.judged or not settled:
            return
        inspection = await self._images.inspect(archived_to)
        if isinstance(inspection, Valid) and await self._folders.stat(archived_to) == stat:
            await self._bring_back(watched.job, inbox)
            self._watched.pop(archived_to, None)
        watched.judged = (stat.size, stat.mtime_ns)

    async def _bring_back(self, job: Job, inbox: Inbox) -> None:
        assert job.archived_to is not None
        if await self._folders.bring_back(job) is None:
            return
        await self._folders.forget_sidecar(job.archived_to)
        self._emit(BroughtBack(job))
        inbox.look_again()
