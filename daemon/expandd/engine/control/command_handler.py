"""Carries out the commands that people give while the daemon works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from expandd.domain.commands import Command, Hold, HoldKind, Verb
from expandd.domain.errors import CANCELLED, GIVEN_UP, AccountAway, DatabaseAway, FaultCode, FolderAway, Later, StaleJob
from expandd.domain.events import BugFound
from expandd.domain.job import UNPAID, Job, JobState
from expandd.engine.control.holds import Holds
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.flow.poller import Waker
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Clock, Emit, Folders, JobStore

WAIT = 2.0
"""Seconds between two checks for new commands."""

ALLOWANCE = 60.0
"""Seconds within which the job database's writer must answer, if only with an error, not to count as stuck."""


class CommandHandler:
    """Reads commands and carries them out, each as often as a crash makes necessary: none does harm twice.

    A command about a job that has found its own way is dropped. `inboxes` are those that are served now.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        store: JobStore,
        folders: Folders,
        commands: Holds,
        inboxes: Callable[[], tuple[Inbox, ...]],
        waker: Waker,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._jobs = jobs
        self._store = store
        self._folders = folders
        self._commands = commands
        self._inboxes = inboxes
        self._waker = waker
        self._clock = clock
        self._emit = emit
        # By command number: jobs whose originals the command has brought back. They may fail again before it is over.
        self._brought: dict[int, set[str]] = {}
        self.settled = False
        """Whether all commands that the last check found are carried out, or wait for a folder that is away."""
        self.heartbeat = Heartbeat(ALLOWANCE)
        """The heartbeat of the job database: each check passes through its writer, in line with all writes."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.heartbeat()
            # The next write reports that the job database is away; the commands stay where they are.
            with contextlib.suppress(DatabaseAway):
                await self.act()
                # Nobody else may have anything to write.
                await self._jobs.look_again()
            await self._clock.sleep(WAIT)

    async def act(self) -> None:
        overtaken = False
        # Both at once: where several hosts share the job database this is one query.
        _, commands = await asyncio.gather(self._commands.keep_up(), self._store.commands())
        for command in commands:
            self.heartbeat()
            # The job has moved meanwhile, or a folder is away: the next check finds the command again.
            try:
                await self._carried_out(command)
                await self._store.carried_out(command)
                self._brought.pop(command.number, None)
            except StaleJob:
                overtaken = True
            except (FolderAway, AccountAway, Later):
                continue
        await self._end_cancelling()
        self.settled = not overtaken

    async def _carried_out(self, command: Command) -> None:
        """Carry a command out. A command that raises an unforeseen error is dropped: it would stop each start."""
        try:
            await self._carry_out(command)
        except (StaleJob, FolderAway, AccountAway, Later, DatabaseAway):
            raise
        except Exception as error:  # noqa: BLE001 - as said
            self._emit(BugFound(f"the command to {command.verb.value}", error))

    async def _carry_out(self, command: Command) -> None:
        match command.verb:
            case Verb.PAID | Verb.NOT_PAID:
                await self._resolve(command)
            case Verb.CANCEL:
                await self._cancel(command)
            case Verb.RETRY | Verb.REDO:
                await self._retry(command)
            case Verb.PAUSE:
                await self._commands.set_hold(_lasting(HoldKind.PAUSED, command))
            case Verb.RESUME:
                await self._resume(command)
            case Verb.RELEASE:
                await self._release(command)
            case Verb.DISMISS:
                await self._dismiss(command)

    async def _resolve(self, command: Command) -> None:
        job = self._jobs.get(command.job_id)
        paid = command.verb is Verb.PAID
        # A result that cannot be fetched is known to be paid for: a person can only give it up.
        gone = job is not None and job.held and job.state is JobState.RENDERED and paid
        if job is None or not (gone or job.state is JobState.UNKNOWN):
            return
        if paid:
            await self._jobs.move(job, JobState.FAILED, fault=GIVEN_UP, held=False)
        elif not job.may_still_be_sent:
            await self._jobs.move(job, JobState.UPLOADED, held=False, note="a person has said that nothing was paid")
        self._waker.wake(job.id)

    async def _cancel(self, command: Command) -> None:
        for job in self._jobs.in_state(*UNPAID):
            if _is_about(command, job) and job.fault is None:
                await self._cancel_job(job)
        for inbox in self._served(command):
            await self._commands.set_hold(_lasting(HoldKind.CANCELLED, command, inbox.folder.inbox))
            inbox.reconsider()

    async def _cancel_job(self, job: Job) -> None:
        if job.state is JobState.UPLOADED:
            await self._jobs.move(job, JobState.FAILED, fault=CANCELLED)
        else:
            # Its file may not be in the work folder yet: its next step moves it there, and then checks this.
            await self._jobs.note(job, fault=CANCELLED)
        self._waker.wake(job.id)

    async def _end_cancelling(self) -> None:
        """End a cancel command once none of the files that lay there at its time is left, and lift its hold."""
        cancelling = self._commands.of(HoldKind.CANCELLED)
        if not cancelling:
            return
        idle = {inbox.folder.inbox for inbox in self._inboxes() if inbox.idle}
        ended = [command for command in cancelling if command.inbox in idle]
        emptied = {command.inbox for command in ended if command.relative is None}
        held = [command for command in self._commands.of(HoldKind.HELD) if command.inbox in emptied]
        for command in (*held, *ended):
            await self._commands.lift_hold(command)

    async def _retry(self, command: Command) -> None:
        for job in self._jobs:
            if _is_about(command, job) and job.attempts:
                await self._jobs.note(job, attempts=0)
                self._waker.wake(job.id)
        away: FolderAway | None = None
        for job in await self._over(command):
            self.heartbeat()
            try:
                await self._again(job, command)
            except FolderAway as error:
                away = error
        for inbox in self._served(command):
            inbox.look_again()
        if away is not None:
            raise away

    async def _over(self, command: Command) -> Sequence[Job]:
        """The jobs that are over and that the command is about; in a folder only those that went to error before it."""
        if command.job_id:
            job = await self._jobs.known(command.job_id)
            return [job] if job is not None and job.closed else []
        failed = await self._store.failed(command.inbox)
        failed = [job for job in failed if _is_about(command, job) and not _stays_by_word(job)]
        # What lies there is the youngest one's. Where it came after the command, this was carried out before.
        youngest = {job.archived_to: job for job in failed}.values()
        now = self._clock.wall()
        return [job for job in youngest if not command.at < job.state_changes[-1].at <= now]

    async def _again(self, job: Job, command: Command) -> None:
        """Put the original back into its inbox, to be picked up again; not into an inbox that is no longer served."""
        inbox = next((inbox for inbox in self._inboxes() if inbox.folder.inbox == job.folder.inbox), None)
        brought = self._brought.setdefault(command.number, set())
        if job.archived_to is None or inbox is None or job.id in brought:
            return
        there = await self._folders.identity(job.archived_to) is not None
        if there and not await self._is_original(job.archived_to, job.source.sha256):
            return
        if there and command.verb is Verb.REDO and job.source.sha256:
            again = Hold(kind=HoldKind.AGAIN, at=self._clock.wall(), sha256=job.source.sha256)
            await self._commands.set_hold(again)
        await self._folders.bring_back(job)
        await self._folders.forget_sidecar(job.archived_to)
        brought.add(job.id)
        inbox.look_again()

    async def _is_original(self, archived_to: Path, sha256: str) -> bool:
        """Whether the file there is still the job's original: people put other files into these folders."""
        try:
            return not sha256 or await self._folders.digest(archived_to) == sha256
        except FileNotFoundError:
            return False

    async def _resume(self, command: Command) -> None:
        for paused in self._commands.of(HoldKind.PAUSED):
            everything = command.inbox is None
            if everything or (paused.inbox == command.inbox and command.relative in {None, paused.relative}):
                await self._commands.lift_hold(paused)

    async def _release(self, command: Command) -> None:
        for inbox in self._served(command):
            await self._commands.set_hold(_lasting(HoldKind.RELEASED, command, inbox.folder.inbox))
        for held in self._commands.of(HoldKind.HELD):
            if command.inbox in {None, held.inbox}:
                await self._commands.lift_hold(held)

    async def _dismiss(self, command: Command) -> None:
        """Dismiss only the errors that existed when the person gave the command."""
        if command.job_id:
            job = await self._jobs.known(command.job_id)
            failed: Sequence[Job] = [] if job is None else [job]
        else:
            failed = [job for job in await self._store.failed(command.inbox) if job.state_changes[-1].at <= command.at]
        for job in failed:
            self.heartbeat()
            if job.closed and job.state is JobState.FAILED and not job.dismissed:
                await self._jobs.amend(job, dismissed=True)

    def _served(self, command: Command) -> tuple[Inbox, ...]:
        """The inboxes that a command about files is about: none for one about a job."""
        if command.job_id:
            return ()
        return tuple(inbox for inbox in self._inboxes() if command.inbox in {None, inbox.folder.inbox})


def _is_about(command: Command, job: Job) -> bool:
    if command.job_id:
        return command.job_id == job.id
    return command.inbox in {None, job.folder.inbox} and command.relative in {None, job.relative}


def _stays_by_word(job: Job) -> bool:
    """Whether a person has sent this one to the error folder: only its own name brings it back."""
    return job.fault is not None and job.fault.code in {FaultCode.CANCELLED, FaultCode.GIVEN_UP_BY_PERSON}


def _lasting(kind: HoldKind, command: Command, inbox: Path | None = None) -> Hold:
    return Hold(kind=kind, at=command.at, inbox=inbox or command.inbox, relative=command.relative)
