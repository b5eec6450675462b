"""The engine: builds its parts over the ports, starts them and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from expandd.domain.errors import HostFenced
from expandd.domain.events import Event, JobClosed, JobMoved, PauseEnded, PauseStarted
from expandd.domain.job import MAYBE_PAID, UNPAID, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import HotFolder, Settings
from expandd.engine.control.command_handler import CommandHandler
from expandd.engine.flow.error_matching import ErrorMatching
from expandd.engine.flow.heartbeat import Heartbeat, Heartbeats
from expandd.engine.flow.poller import Poller
from expandd.engine.flow.scheduler import Scheduler, activations, progress_of
from expandd.engine.flow.slots import AllSlots
from expandd.engine.inbox.hot_folders import HotFolders
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.inbox.intake import Intake
from expandd.engine.inbox.watch import PausesElsewhere
from expandd.engine.janitor import Janitor
from expandd.engine.job.reconcile import Reconciler
from expandd.engine.parts import build_parts, error_recheck, inbox_of, pipeline
from expandd.engine.ports import Emit, Ports
from expandd.engine.recovery import Recovery
from expandd.engine.sharing import Sharing
from expandd.engine.supervisor import Supervisor, alone

SPREAD = 0.02
"""Seconds for each open job over which jobs are spread when they resume after a circuit breaker has opened."""

MOST_SPREAD = 5.0


class Engine:
    """All parts, connected. `run` works until cancelled; `stop` first brings running steps to a safe point."""

    def __init__(self, settings: Settings, ports: Ports, emit: Emit) -> None:
        self._settings = settings
        self._ports = ports
        self._emit_on = emit
        self._changed = asyncio.Event()
        self._recovered = asyncio.Event()
        self.heartbeats = Heartbeats()
        self.supervisor = Supervisor(ports.clock, ports.randomness, self._emit)
        self._parts = build_parts(settings, ports, self._emit)
        self.breakers, self.jobs, self.commands = self._parts.breakers, self._parts.jobs, self._parts.commands
        self.budgets, self.account = self._parts.budgets, self._parts.account
        self.account.waiting = lambda: not self.finished
        self.slots = AllSlots(
            settings,
            shared=ports.membership.room is not None,
            wake=lambda job_id: self.scheduler.wake(job_id),  # noqa: PLW0108 - the scheduler is made after the slots
            changed=self._changed,
        )
        self._error_matching = ErrorMatching()
        self.reconciler = self._reconciler()
        self.scheduler = Scheduler(
            pipeline(self._parts, slots=self.slots, reconciler=self.reconciler).advance,
            ports.clock,
            ports.randomness,
            self._emit,
            at_once=activations(settings.workers),
            progress=lambda job_id: progress_of(self.jobs.get(job_id)),
        )
        self.poller = self._poller()
        self.intake = self._intake()
        self.command_handler = self._command_handler()
        self.janitor = Janitor(settings, store=ports.store, spool=ports.spool, folders=ports.folders, clock=ports.clock)
        self.error_recheck = error_recheck(self._parts, lambda: self.inboxes)
        self.recovery = Recovery(
            jobs=self.jobs,
            slots=self.slots,
            breakers=self.breakers,
            folders=ports.folders,
            spool=ports.spool,
            emit=self._emit,
        )
        self.hot_folders = HotFolders(
            make=self._inbox, intake=self.intake, heartbeats=self.heartbeats, supervisor=self.supervisor
        )
        self._sharing = Sharing(
            membership=ports.membership,
            jobs=self.jobs,
            recovery=self.recovery,
            command_handler=self.command_handler,
            waker=self.scheduler,
            pauses=PausesElsewhere(ports, self.breakers.pauses, self.jobs),
            changed=self._serve_led,
        )
        self._serve_led()

    async def run(self) -> None:
        """Recover, then work until cancelled. Raises HostFenced."""
        await self.commands.load()
        self._show_commands()
        await self.recovery.run([inbox.folder for inbox in self.inboxes])
        await self.budgets.load()
        await asyncio.gather(*(inbox.look_for_pause() for inbox in self.inboxes))
        self._recovered.set()
        for name, heartbeat in self._heartbeats_of():
            self.heartbeats.follow(name, heartbeat)
        for job in self.jobs:
            self.scheduler.wake(job.id)
        with alone(HostFenced):
            async with asyncio.TaskGroup() as tasks:
                for name, loop, its_beat in self._loops():
                    tasks.create_task(self.supervisor.keep(name, loop, its_beat))
                self.hot_folders.run_in(tasks)

    def _loops(self) -> tuple[tuple[str, Callable[[], Awaitable[None]], Heartbeat | None], ...]:
        """All loops except the inboxes', by name. None of them ends by itself, and each fails alone."""
        return (
            ("scheduler", self.scheduler.run, self.scheduler.heartbeat),
            ("poller", self.poller.run, self.poller.heartbeat),
            ("intake", self.intake.run, self.intake.heartbeat),
            ("commands", self.command_handler.run, self.command_handler.heartbeat),
            ("janitor", self.janitor.run, None),
            ("error recheck", self.error_recheck.run, None),
            ("budgets", self.budgets.run, None),
            ("account", self.account.run, None),
            ("decoders", self._parts.decoders.run, None),
            ("probes", self._parts.probing.run, None),
            ("membership", self._sharing.run, None),
            ("pauses of others", self._sharing.look_for_pauses, None),
        )

    def _serve_led(self) -> None:
        """Pick up the files of those inboxes whose files are picked up here."""
        leads = self._ports.membership.leads
        self.hot_folders.serve([folder for folder in self._settings.folders if leads(folder.inbox)])
        self._changed.set()

    async def started(self) -> None:
        """Return once recovery is over and each inbox is watched, or is known to be away."""
        await self._recovered.wait()
        for inbox in self.inboxes:
            await inbox.started.wait()

    def reconfigure(self, settings: Settings) -> None:
        """Go on with other folders, presets, workers and intervals, all from one instant on.

        Jobs in progress keep what they started with. What the adapters were built from (state directory, API) must be
        the same.
        """
        self._settings = settings
        self.slots.resize(settings)
        self.scheduler.at_once = activations(settings.workers)
        self.poller.interval = settings.api.poll_interval
        self.reconciler.settings, self.reconciler.workers = settings.api, settings.workers
        self.janitor.settings = self.budgets.settings = self.account.settings = settings
        self._show_commands()
        self.budgets.update_pauses()
        self.account.update_pauses()
        self._serve_led()

    def _show_commands(self) -> None:
        served = frozenset(folder.inbox for folder in self._settings.folders)
        self.breakers.pauses.forget_all_but(served)
        self.commands.show(served)

    def stop(self) -> None:
        """Begin nothing new: no claim, no upload, no paid call."""
        self.breakers.stopping = True

    async def at_rest(self) -> None:
        """Return once no step is under way and no paid result is still to be fetched or archived.

        An original that has gone away with its inbox is not waited for: its result is delivered.
        """
        while self.scheduler.busy or any(
            not job.held and not (job.state is JobState.DELIVERED and job.attempts)
            for job in self.jobs.in_state(*MAYBE_PAID)
        ):
            self.scheduler.paused.clear()
            await self.scheduler.paused.wait()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def inboxes(self) -> tuple[Inbox, ...]:
        return self.hot_folders.inboxes

    @property
    def in_use(self) -> frozenset[Path]:
        """The inboxes that are worked on, and those that are no longer served but have jobs in progress."""
        return self.hot_folders.busy | {job.folder.inbox for job in self.jobs}

    @property
    def finished(self) -> bool:
        """Whether each file of the inboxes is done or in error, and each command is carried out."""
        return self.command_handler.settled and not len(self.jobs) and all(inbox.idle for inbox in self.inboxes)

    @property
    def at_a_stand(self) -> bool:
        """Whether each remaining job waits for a person or for a budget."""
        left = (inbox for inbox in self.inboxes if not inbox.idle)
        stopped = all(inbox.held_back or self.breakers.pauses.stop(inbox.folder.inbox) for inbox in left)
        return stopped and all(job.held or self._parts.admission.denied(job) for job in self.jobs)

    def _emit(self, event: Event) -> None:
        match event:
            case JobMoved(job):
                if event.before is None:
                    self.scheduler.wake(job.id)
                self.poller.watch(job)
                self.slots.moved(job)
                if job.state is JobState.RENDERED:
                    self.breakers.made(job)
                    self.reconciler.made(job)
            case PauseStarted():
                self._parts.probing.needed.set()
            case PauseEnded():
                self._go_on()
            case JobClosed(job) if job.state is JobState.RETURNED:
                self._look_again(job)
        self._emit_on(event)
        self._tell_parts(event)

    def _tell_parts(self, event: Event) -> None:
        match event:
            case PauseStarted(reason=PauseReason.NO_CREDITS):
                self.account.needed.set()
            case JobMoved(job):
                self.budgets.update_pauses(job.folder.inbox)
            case PauseStarted(reason=PauseReason.PAUSED) | PauseEnded(reason=PauseReason.PAUSED):
                self.budgets.update_pauses()
            case JobClosed(job):
                self.budgets.update_pauses(job.folder.inbox)
                self.error_recheck.closed(job)
                for inbox in self.inboxes:
                    if inbox.folder.inbox == job.folder.inbox and job.state is not JobState.RETURNED:
                        inbox.is_over(job.relative)
                for reused_from in self.jobs.of_bytes(job.source.sha256):
                    if reused_from.state in UNPAID:
                        self.scheduler.wake(reused_from.id)

    def _look_again(self, job: Job) -> None:
        """Scan the inbox to which a file went back at once: no event may announce the file."""
        for inbox in self.inboxes:
            if inbox.folder.inbox == job.folder.inbox:
                inbox.look_again()

    def _go_on(self) -> None:
        """Wake the jobs that waited for a circuit breaker, spread over some time, before the next probe."""
        spread = min(MOST_SPREAD, SPREAD * len(self.jobs))
        for job in self.jobs:
            self.scheduler.wake(job.id, spread * self._ports.randomness.fraction())
        self._changed.set()

    def _heartbeats_of(self) -> tuple[tuple[str, Heartbeat], ...]:
        return (
            ("scheduler", self.scheduler.heartbeat),
            ("poller", self.poller.heartbeat),
            ("intake", self.intake.heartbeat),
            ("job_store", self.command_handler.heartbeat),
        )

    def _intake(self) -> Intake:
        return Intake(
            jobs=self.jobs,
            slots=self.slots.claims,
            membership=self._ports.membership,
            breakers=self.breakers,
            admission=self._parts.admission,
            fault_scope=self._parts.fault_scope,
            waker=self.scheduler,
            clock=self._ports.clock,
            randomness=self._ports.randomness,
            changed=self._changed,
            emit=self._emit,
        )

    def _reconciler(self) -> Reconciler:
        out = self._ports
        return Reconciler(
            jobs=self.jobs,
            breakers=self.breakers,
            api=out.api,
            clock=out.clock,
            error_matching=self._error_matching,
            settings=self._settings.api,
            workers=self._settings.workers,
            store=out.store,
            membership=out.membership,
        )

    def _command_handler(self) -> CommandHandler:
        out = self._ports
        return CommandHandler(
            jobs=self.jobs,
            store=out.store,
            folders=out.folders,
            commands=self.commands,
            inboxes=lambda: self.inboxes,
            waker=self.scheduler,
            clock=out.clock,
            emit=self._emit,
        )

    def _inbox(self, folder: HotFolder) -> Inbox:
        return inbox_of(
            folder,
            self._parts,
            reject=self.intake.reject,
            look_after=self.recovery.look_after,
            changed=self._changed,
            inboxes=len(self._settings.folders),
        )

    def _poller(self) -> Poller:
        out = self._ports
        return Poller(
            jobs=self.jobs,
            store=out.store,
            breakers=self.breakers,
            api=out.api,
            clock=out.clock,
            emit=self._emit,
            waker=self.scheduler,
            error_matching=self._error_matching,
            probing=self._parts.probing,
            randomness=out.randomness,
            interval=self._settings.api.poll_interval,
        )
