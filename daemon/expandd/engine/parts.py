"""Builds the parts of the engine and connects them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from expandd.domain.settings import HotFolder, Settings
from expandd.engine.control.holds import Cause, Holds
from expandd.engine.flow.account import Account, Probe
from expandd.engine.flow.admission import Admission
from expandd.engine.flow.budgets import Budgets
from expandd.engine.flow.circuit_breaker import CircuitBreakers, Decoders
from expandd.engine.flow.slots import AllSlots, SlotKeeping
from expandd.engine.inbox.error_recheck import ErrorRecheck
from expandd.engine.inbox.inbox import Emptied, Inbox, LookAfter
from expandd.engine.inbox.settle import BurstGuard, Reject, Settler
from expandd.engine.inbox.watch import InboxWatch, PauseFile, tick
from expandd.engine.job.deduplicate import Deduplicator
from expandd.engine.job.deliver import Delivery
from expandd.engine.job.download import Downloader
from expandd.engine.job.failures import FaultScope, ImageFailures
from expandd.engine.job.finish import Finisher
from expandd.engine.job.pipeline import Pipeline
from expandd.engine.job.reconcile import Reconciler
from expandd.engine.job.submit import RequestRefusals, Submitter
from expandd.engine.job.work_folder import Presence, WorkFolders
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Emit, Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What all parts share: the open jobs, the circuit breakers, and what decides which jobs may begin."""

    ports: Ports
    emit: Emit
    jobs: Jobs
    breakers: CircuitBreakers
    commands: Holds
    budgets: Budgets
    account: Account
    probing: Probe
    image_failures: ImageFailures
    refusals: RequestRefusals
    deduplicator: Deduplicator
    admission: Admission
    presence: Presence
    fault_scope: FaultScope
    decoders: Decoders


def build_parts(settings: Settings, ports: Ports, emit: Emit) -> EngineParts:
    breakers = CircuitBreakers(ports.clock, ports.randomness, emit)
    jobs = Jobs(ports.store, ports.clock, emit, ports.membership.owner, database=breakers.database)
    commands = Holds(ports.store, breakers.pauses)
    budgets = Budgets(
        settings, jobs=jobs, store=ports.store, commands=commands, pauses=breakers.pauses, clock=ports.clock
    )
    deduplicator = Deduplicator(
        jobs=jobs, store=ports.store, folders=ports.folders, spool=ports.spool, commands=commands, budgets=budgets
    )
    account = Account(settings, api=ports.api, breakers=breakers, clock=ports.clock)
    probing = Probe(account, breakers, ports.clock)
    return EngineParts(
        ports=ports,
        emit=emit,
        jobs=jobs,
        breakers=breakers,
        commands=commands,
        budgets=budgets,
        account=account,
        probing=probing,
        image_failures=ImageFailures(jobs=jobs, breakers=breakers, probing=probing),
        refusals=RequestRefusals(settings.api.generate_extra),
        deduplicator=deduplicator,
        admission=Admission(commands=commands, pauses=breakers.pauses, budgets=budgets, deduplicator=deduplicator),
        presence=Presence(ports.clock, ports.membership.leads),
        fault_scope=FaultScope(ports.folders),
        decoders=Decoders(ports.images, breakers.decoder, ports.clock),
    )


def pipeline(on: EngineParts, *, slots: AllSlots, reconciler: Reconciler) -> Pipeline:
    out = on.ports
    work = WorkFolders(out.folders, on.presence)
    downloader = Downloader(
        jobs=on.jobs,
        breakers=on.breakers,
        api=out.api,
        folders=out.folders,
        images=on.decoders,
        spool=out.spool,
        clock=out.clock,
    )
    return Pipeline(
        jobs=on.jobs,
        slots=SlotKeeping(
            jobs=on.jobs,
            slots=slots,
            breakers=on.breakers,
            reconciler=reconciler,
            downloader=downloader,
            image_failures=on.image_failures,
        ),
        probing=on.probing,
        breakers=on.breakers,
        randomness=out.randomness,
        mount_of=out.mount_of,
        admission=on.admission,
        fault_scope=on.fault_scope,
        submitter=Submitter(
            jobs=on.jobs,
            breakers=on.breakers,
            api=out.api,
            folders=out.folders,
            images=on.decoders,
            spool=out.spool,
            clock=out.clock,
            budgets=on.budgets,
            account=on.account,
            deduplicator=on.deduplicator,
            work=work,
            fault_scope=on.fault_scope,
            image_failures=on.image_failures,
            refusals=on.refusals,
            membership=out.membership,
        ),
        reconciler=reconciler,
        downloader=downloader,
        finisher=Finisher(jobs=on.jobs, folders=out.folders, images=on.decoders, spool=out.spool, work=work),
        delivery=Delivery(
            jobs=on.jobs,
            breakers=on.breakers,
            api=out.api,
            folders=out.folders,
            spool=out.spool,
            deduplicator=on.deduplicator,
            work=work,
        ),
    )


def inbox_of(
    folder: HotFolder, on: EngineParts, *, reject: Reject, look_after: LookAfter, changed: asyncio.Event, inboxes: int
) -> Inbox:
    out = on.ports
    watching = InboxWatch(
        folder,
        watcher=out.watcher,
        folders=out.folders,
        clock=out.clock,
        randomness=out.randomness,
        emit=on.emit,
        tick=tick(inboxes),
    )
    settling = Settler(
        folder,
        folders=out.folders,
        images=on.decoders,
        watching=watching,
        clock=out.clock,
        emit=on.emit,
        commands=on.commands,
        guard=BurstGuard(folder, commands=on.commands, clock=out.clock),
        is_taken=lambda relative, stat: on.jobs.waits_for(folder.inbox, relative, stat),
        reject=reject,
        changed=changed,
    )
    return Inbox(
        folder,
        folders=out.folders,
        watching=watching,
        settling=settling,
        breakers=on.breakers,
        clock=out.clock,
        look_after=look_after,
        presence=on.presence,
        emit=on.emit,
        emptied=Emptied(folder, out.folders, out.clock, lambda subfolder: on.jobs.any_below(folder.inbox, subfolder)),
        pause_file=PauseFile(folder.inbox, folders=out.folders, pause=on.breakers.pauses.at(folder.inbox, Cause.FILE)),
    )


def error_recheck(on: EngineParts, inboxes: Callable[[], tuple[Inbox, ...]]) -> ErrorRecheck:
    out = on.ports
    return ErrorRecheck(
        store=out.store, folders=out.folders, images=out.images, clock=out.clock, emit=on.emit, inboxes=inboxes
    )
