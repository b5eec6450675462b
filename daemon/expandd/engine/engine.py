"""The engine: builds its parts over the ports, starts them and stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.events import Event, GateOpened, GateShut, JobClosed, JobMoved
from expandd.domain.job import MAYBE_PAID, UNPAID, Job, JobState
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import HotFolder, Settings
from expandd.engine.control.command_handler import Steering
from expandd.engine.control.holds import Cause, StandingOrders
from expandd.engine.flow.account import Account, Probing
from expandd.engine.flow.admission import Leave
from expandd.engine.flow.budgets import Budgets
from expandd.engine.flow.circuit_breaker import Decoders, Gates
from expandd.engine.flow.error_matching import Attribution
from expandd.engine.flow.heartbeat import Heartbeat, Heartbeats
from expandd.engine.flow.poller import Poller
from expandd.engine.flow.scheduler import Dispatcher, standing
from expandd.engine.flow.slots import SlotKeeping, Slots
from expandd.engine.inbox.error_recheck import SecondLook
from expandd.engine.inbox.hot_folders import HotFolders
from expandd.engine.inbox.inbox import Inbox, LookAfter
from expandd.engine.inbox.intake import Intake
from expandd.engine.inbox.settle import BurstGuard, Reject, Settling
from expandd.engine.inbox.watch import PauseFile, Watching, tick
from expandd.engine.janitor import Janitor
from expandd.engine.job.deduplicate import Twins
from expandd.engine.job.deliver import Delivery
from expandd.engine.job.download import Fetching
from expandd.engine.job.failures import Blame, Suspicion
from expandd.engine.job.pipeline import Pipeline
from expandd.engine.job.reconcile import Asking
from expandd.engine.job.submit import Paying, Refusals
from expandd.engine.job.work_folder import Presence, WorkFolders
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Emit, Outside
from expandd.engine.recovery import Recovery
from expandd.engine.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What all parts share: the open jobs, the gates, and what has a say in what may be begun."""

    outside: Outside
    emit: Emit
    jobs: Jobs
    gates: Gates
    orders: StandingOrders
    budgets: Budgets
    account: Account
    probing: Probing
    suspicion: Suspicion
    refusals: Refusals
    twins: Twins
    leave: Leave
    presence: Presence
    blame: Blame
    decoders: Decoders


def basis(settings: Settings, outside: Outside, emit: Emit) -> Basis:
    gates = Gates(outside.clock, outside.chance, emit)
    jobs = Jobs(outside.journal, outside.clock, emit)
    orders = StandingOrders(outside.journal, gates.barriers)
    budgets = Budgets(
        settings, jobs=jobs, journal=outside.journal, orders=orders, barriers=gates.barriers, clock=outside.clock
    )
    twins = Twins(
        jobs=jobs, journal=outside.journal, folders=outside.folders, vault=outside.vault, orders=orders, budgets=budgets
    )
    account = Account(settings, api=outside.api, gates=gates, clock=outside.clock)
    probing = Probing(account, gates, outside.clock)
    return Basis(
        outside=outside,
        emit=emit,
        jobs=jobs,
        gates=gates,
        orders=orders,
        budgets=budgets,
        account=account,
        probing=probing,
        suspicion=Suspicion(jobs=jobs, gates=gates, probing=probing),
        refusals=Refusals(settings.api.generate_extra),
        twins=twins,
        leave=Leave(orders=orders, barriers=gates.barriers, budgets=budgets, twins=twins),
        presence=Presence(outside.clock),
        blame=Blame(outside.folders),
        decoders=Decoders(outside.images, gates.decoder, outside.clock),
    )


def pipeline(on: Basis, *, slots: Slots, asking: Asking) -> Pipeline:
    out = on.outside
    work = WorkFolders(out.folders, on.presence)
    fetching = Fetching(
        jobs=on.jobs,
        gates=on.gates,
        api=out.api,
        folders=out.folders,
        images=on.decoders,
        vault=out.vault,
        clock=out.clock,
    )
    return Pipeline(
        jobs=on.jobs,
        slots=SlotKeeping(jobs=on.jobs, slots=slots, asking=asking, fetching=fetching, suspicion=on.suspicion),
        probing=on.probing,
        gates=on.gates,
        chance=out.chance,
        mount_of=out.mount_of,
        leave=on.leave,
        blame=on.blame,
        paying=Paying(
            jobs=on.jobs,
            gates=on.gates,
            api=out.api,
            folders=out.folders,
            images=on.decoders,
            vault=out.vault,
            clock=out.clock,
            budgets=on.budgets,
            account=on.account,
            twins=on.twins,
            work=work,
            blame=on.blame,
            suspicion=on.suspicion,
            refusals=on.refusals,
        ),
        asking=asking,
        fetching=fetching,
        delivery=Delivery(
            jobs=on.jobs, gates=on.gates, api=out.api, folders=out.folders, vault=out.vault, twins=on.twins, work=work
        ),
    )


def inbox_of(
    folder: HotFolder, on: Basis, *, reject: Reject, look_after: LookAfter, changed: asyncio.Event, inboxes: int
) -> Inbox:
    out = on.outside
    watching = Watching(
        folder,
        watcher=out.watcher,
        folders=out.folders,
        clock=out.clock,
        chance=out.chance,
        emit=on.emit,
        tick=tick(inboxes),
    )
    settling = Settling(
        folder,
        folders=out.folders,
        images=on.decoders,
        watching=watching,
        clock=out.clock,
        emit=on.emit,
        orders=on.orders,
        guard=BurstGuard(folder, orders=on.orders, clock=out.clock),
        is_taken=lambda relative, look: on.jobs.waits_for(folder.inbox, relative, look),
        reject=reject,
        changed=changed,
    )
    return Inbox(
        folder,
        folders=out.folders,
        watching=watching,
        settling=settling,
        gates=on.gates,
        clock=out.clock,
        look_after=look_after,
        presence=on.presence,
        emit=on.emit,
        pause_file=PauseFile(folder.inbox, folders=out.folders, barrier=on.gates.barriers.at(folder.inbox, Cause.FILE)),
    )


def second_look(on: Basis, inboxes: Callable[[], tuple[Inbox, ...]]) -> SecondLook:
    out = on.outside
    return SecondLook(
        journal=out.journal, folders=out.folders, images=out.images, clock=out.clock, emit=on.emit, inboxes=inboxes
    )


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
