"""Owns how the engine's larger parts are put together from the smaller ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from expandd.domain.settings import HotFolder, Settings
from expandd.engine.control.holds import StandingOrders
from expandd.engine.control.pauses import Cause
from expandd.engine.flow.account import Account
from expandd.engine.flow.admission import Leave
from expandd.engine.flow.budgets import Budgets
from expandd.engine.flow.circuit_breaker import Gates
from expandd.engine.flow.decoder_breaker import Decoders
from expandd.engine.flow.probe import Probing
from expandd.engine.flow.slot_policy import SlotKeeping
from expandd.engine.flow.slots import Slots
from expandd.engine.inbox.burst_guard import BurstGuard
from expandd.engine.inbox.error_recheck import SecondLook
from expandd.engine.inbox.inbox import Inbox, LookAfter
from expandd.engine.inbox.pause_file import PauseFile
from expandd.engine.inbox.settle import Reject, Settling
from expandd.engine.inbox.watch import Watching, tick
from expandd.engine.job.deduplicate import Twins
from expandd.engine.job.deliver import Delivery
from expandd.engine.job.download import Fetching
from expandd.engine.job.fault_scope import Blame
from expandd.engine.job.image_failures import Suspicion
from expandd.engine.job.pipeline import Pipeline
from expandd.engine.job.reconcile import Asking
from expandd.engine.job.request_refusals import Refusals
from expandd.engine.job.submit import Paying
from expandd.engine.job.work_folder import Presence, WorkFolders
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Emit, Outside


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
