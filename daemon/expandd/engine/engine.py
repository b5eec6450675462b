"""Owns the running whole: builds the engine's parts over their ports, starts them, stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from expandd.domain.events import Event, GateOpened, GateShut, JobClosed, JobMoved
from expandd.domain.job import MAYBE_PAID, UNPAID, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import HotFolder, Settings
from expandd.engine.composition import basis, inbox_of, pipeline, second_look
from expandd.engine.control.command_handler import Steering
from expandd.engine.flow.error_matching import Attribution
from expandd.engine.flow.heartbeat import Heartbeat, Heartbeats
from expandd.engine.flow.idle_activations import standing
from expandd.engine.flow.poller import Poller
from expandd.engine.flow.scheduler import Dispatcher
from expandd.engine.flow.slots import Slots
from expandd.engine.inbox.hot_folders import HotFolders
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.inbox.intake import Intake
from expandd.engine.janitor import Janitor
from expandd.engine.job.reconcile import Asking
from expandd.engine.ports import Emit, Outside
from expandd.engine.recovery import Recovery
from expandd.engine.supervisor import Supervisor

SPREAD = 0.02
"""Seconds for each open job over which they go on after a gate has opened."""

MOST_SPREAD = 5.0


class Engine:
    """All parts, wired. `run` until cancelled; `stop` lets what is under way come to a safe point first."""

    def __init__(self, settings: Settings, outside: Outside, emit: Emit) -> None:
        self._settings = settings
        self._outside = outside
        self._emit_on = emit
        self._changed = asyncio.Event()
        self._recovered = asyncio.Event()
        self.heartbeats = Heartbeats()
        self.supervisor = Supervisor(outside.clock, outside.chance, self._emit)
        self._basis = basis(settings, outside, self._emit)
        self.gates, self.jobs, self.orders = self._basis.gates, self._basis.jobs, self._basis.orders
        self.budgets, self.account = self._basis.budgets, self._basis.account
        self.account.waiting = lambda: not self.finished
        self.slots = Slots(settings.workers, self._changed)
        self._attribution = Attribution()
        self.asking = Asking(
            jobs=self.jobs,
            gates=self.gates,
            api=outside.api,
            clock=outside.clock,
            attribution=self._attribution,
            settings=settings.api,
        )
        self.dispatcher = Dispatcher(
            pipeline(self._basis, slots=self.slots, asking=self.asking).advance,
            outside.clock,
            outside.chance,
            self._emit,
            at_once=_activations(settings.workers),
            look=lambda job_id: standing(self.jobs.get(job_id)),
        )
        self.poller = self._poller()
        self.intake = self._intake()
        self.steering = Steering(
            jobs=self.jobs,
            journal=outside.journal,
            folders=outside.folders,
            orders=self.orders,
            inboxes=lambda: self.inboxes,
            waker=self.dispatcher,
            clock=outside.clock,
            emit=self._emit,
        )
        self.janitor = Janitor(
            settings, journal=outside.journal, vault=outside.vault, folders=outside.folders, clock=outside.clock
        )
        self.second_look = second_look(self._basis, lambda: self.inboxes)
        self.recovery = Recovery(
            jobs=self.jobs,
            slots=self.slots,
            gates=self.gates,
            folders=outside.folders,
            vault=outside.vault,
            emit=self._emit,
        )
        self.hot_folders = HotFolders(
            make=self._inbox, intake=self.intake, heartbeats=self.heartbeats, supervisor=self.supervisor
        )
        self.hot_folders.serve(settings.folders)

    async def run(self) -> None:
        """Recover, then work until cancelled."""
        await self.orders.load()
        self._show_orders()
        await self.recovery.run(self._settings.folders)
        await self.budgets.load()
        await asyncio.gather(*(inbox.look_for_pause() for inbox in self.inboxes))
        self._recovered.set()
        for name, beat in self._beats():
            self.heartbeats.follow(name, beat)
        for job in self.jobs:
            self.dispatcher.wake(job.id)
        async with asyncio.TaskGroup() as tasks:
            for name, loop, its_beat in self._loops():
                tasks.create_task(self.supervisor.keep(name, loop, its_beat))
            self.hot_folders.run_in(tasks)

    def _loops(self) -> tuple[tuple[str, Callable[[], Awaitable[None]], Heartbeat | None], ...]:
        """All but the inboxes, by name. None of them ends by itself, and each fails alone."""
        return (
            ("dispatcher", self.dispatcher.run, self.dispatcher.beat),
            ("poller", self.poller.run, self.poller.beat),
            ("intake", self.intake.run, self.intake.beat),
            ("orders", self.steering.run, self.steering.beat),
            ("janitor", self.janitor.run, None),
            ("second look", self.second_look.run, None),
            ("budgets", self.budgets.run, None),
            ("account", self.account.run, None),
            ("decoders", self._basis.decoders.run, None),
            ("probes", self._basis.probing.run, None),
        )

    async def started(self) -> None:
        """Return once recovery is over and each inbox is watched, or is known to be away."""
        await self._recovered.wait()
        for inbox in self.inboxes:
            await inbox.started.wait()

    def reconfigure(self, settings: Settings) -> None:
        """Go on with other folders, presets, workers and intervals, all from one instant on.

        Jobs in hand keep what they started with. What the outside was built from (state directory, API) must be the
        same.
        """
        self._settings = settings
        self.slots.workers = settings.workers
        self.dispatcher.at_once = _activations(settings.workers)
        self.poller.interval = settings.api.poll_interval
        self.asking.settings = settings.api
        self.janitor.settings = self.budgets.settings = self.account.settings = settings
        self._show_orders()
        self.budgets.look()
        self.account.look()
        self.hot_folders.serve(settings.folders)
        self._changed.set()

    def _show_orders(self) -> None:
        served = frozenset(folder.inbox for folder in self._settings.folders)
        self.gates.barriers.leave(served)
        self.orders.show(served)

    def stop(self) -> None:
        """Begin nothing new: no claim, no upload, no paid call."""
        self.gates.stopping = True

    async def at_rest(self) -> None:
        """Return once no step is under way and no paid result is still to be fetched or put away.

        An original that has gone away with its inbox is not waited for: its result is delivered.
        """
        while self.dispatcher.busy or any(
            not job.held and not (job.state is JobState.DELIVERED and job.attempts)
            for job in self.jobs.in_state(*MAYBE_PAID)
        ):
            self.dispatcher.paused.clear()
            await self.dispatcher.paused.wait()

    @property
    def settings(self) -> Settings:
        """What it works by now."""
        return self._settings

    @property
    def inboxes(self) -> tuple[Inbox, ...]:
        return self.hot_folders.inboxes

    @property
    def in_use(self) -> frozenset[Path]:
        """The inboxes that are worked on, and those that are no longer served but have jobs in hand."""
        return self.hot_folders.busy | {job.place.inbox for job in self.jobs}

    @property
    def finished(self) -> bool:
        """Whether every file that lay in an inbox has been answered, and every order that was left carried out."""
        return self.steering.settled and not len(self.jobs) and all(inbox.idle for inbox in self.inboxes)

    @property
    def at_a_stand(self) -> bool:
        """Whether all that is left waits for a person's word or for a budget."""
        left = (inbox for inbox in self.inboxes if not inbox.idle)
        stopped = all(inbox.held_back or self.gates.barriers.stop(inbox.folder.inbox) for inbox in left)
        return stopped and all(job.held or self._basis.leave.denied(job) for job in self.jobs)

    def _emit(self, event: Event) -> None:
        match event:
            case JobMoved(job):
                if event.before is None:
                    self.dispatcher.wake(job.id)
                self.poller.watch(job)
                if job.state is JobState.RENDERED:
                    self.gates.made(job)
                    self.asking.made(job)
            case GateShut():
                self._basis.probing.needed.set()
            case GateOpened():
                self._go_on()
            case JobClosed(job) if job.state is JobState.WITHDRAWN:
                self._look_again(job)
        self._emit_on(event)
        self._tell_parts(event)

    def _tell_parts(self, event: Event) -> None:
        match event:
            case GateShut(reason=PauseReason.NO_CREDITS):
                self.account.needed.set()
            case JobMoved(job):
                self.budgets.look(job.place.inbox)
            case GateShut(reason=PauseReason.PAUSED) | GateOpened(reason=PauseReason.PAUSED):
                self.budgets.look()
            case JobClosed(job):
                self.budgets.look(job.place.inbox)
                self.second_look.closed(job)
                for twin in self.jobs.of_bytes(job.source.sha256):
                    if twin.state in UNPAID:
                        self.dispatcher.wake(twin.id)

    def _look_again(self, job: Job) -> None:
        """A file went back to its inbox: it is looked for at once, also where no event tells of it."""
        for inbox in self.inboxes:
            if inbox.folder.inbox == job.place.inbox:
                inbox.look_again()

    def _go_on(self) -> None:
        """What waited at a gate goes on now, not when the gate would have been probed next; not all in one instant."""
        spread = min(MOST_SPREAD, SPREAD * len(self.jobs))
        for job in self.jobs:
            self.dispatcher.wake(job.id, spread * self._outside.chance.fraction())
        self._changed.set()

    def _beats(self) -> tuple[tuple[str, Heartbeat], ...]:
        return (
            ("dispatcher", self.dispatcher.beat),
            ("poller", self.poller.beat),
            ("intake", self.intake.beat),
            ("journal", self.steering.beat),
        )

    def _intake(self) -> Intake:
        return Intake(
            jobs=self.jobs,
            slots=self.slots,
            gates=self.gates,
            leave=self._basis.leave,
            blame=self._basis.blame,
            waker=self.dispatcher,
            clock=self._outside.clock,
            chance=self._outside.chance,
            changed=self._changed,
            emit=self._emit,
        )

    def _inbox(self, folder: HotFolder) -> Inbox:
        return inbox_of(
            folder,
            self._basis,
            reject=self.intake.reject,
            look_after=self.recovery.look_after,
            changed=self._changed,
            inboxes=len(self._settings.folders),
        )

    def _poller(self) -> Poller:
        out = self._outside
        return Poller(
            jobs=self.jobs,
            journal=out.journal,
            gates=self.gates,
            api=out.api,
            clock=out.clock,
            emit=self._emit,
            waker=self.dispatcher,
            attribution=self._attribution,
            probing=self._basis.probing,
            chance=out.chance,
            interval=self._settings.api.poll_interval,
        )


def _activations(workers: int) -> int:
    """How many jobs are advanced at once: those in flight, and some that are on their way in or out."""
    return 4 * workers + 8
