"""Owns carrying out what people order while the work goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from expandd.domain.commands import Lasting, Order, StandingOrder, Verb
from expandd.domain.errors import CANCELLED, GIVEN_UP, AccountAway, FaultCode, FolderAway, JournalAway, Later, StaleJob
from expandd.domain.events import BugFound
from expandd.domain.job import UNPAID, Job, JobState
from expandd.engine.control.holds import StandingOrders
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.engine.flow.poller import Waker
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Clock, Emit, Folders, Journal

PAUSE = 2.0
"""Seconds between two looks for orders."""

ALLOWANCE = 60.0
"""Seconds within which the journal's writer answers, if only that its disk is away: then it is not stuck."""


class Steering:
    """Reads orders and carries them out, each as often as a crash makes necessary: none does harm twice.

    An order about a job that has found its own way is dropped. `inboxes` are those that are served now.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        journal: Journal,
        folders: Folders,
        orders: StandingOrders,
        inboxes: Callable[[], tuple[Inbox, ...]],
        waker: Waker,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._jobs = jobs
        self._journal = journal
        self._folders = folders
        self._orders = orders
        self._inboxes = inboxes
        self._waker = waker
        self._clock = clock
        self._emit = emit
        # By number of an order: the jobs whose originals it has brought back. They may fail again before it is over.
        self._brought: dict[int, set[str]] = {}
        self.settled = False
        """Whether all orders that were there at the last look are carried out, or wait for a folder that is away."""
        self.beat = Heartbeat(ALLOWANCE)
        """The journal's: each look is a turn of its writer, in line with all writes."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.beat()
            # Whoever writes next says that the journal is away; the orders stay where they are.
            with contextlib.suppress(JournalAway):
                await self.act()
            await self._clock.sleep(PAUSE)

    async def act(self) -> None:
        overtaken = False
        for order in await self._journal.orders():
            self.beat()
            # A job that moved under the order, or a folder that is away: at the next look the order is still there.
            try:
                await self._carried_out(order)
                await self._journal.carried_out(order)
                self._brought.pop(order.number, None)
            except StaleJob:
                overtaken = True
            except (FolderAway, AccountAway, Later):
                continue
        await self._end_cancelling()
        self.settled = not overtaken

    async def _carried_out(self, order: Order) -> None:
        """Carry an order out. One that meets a bug of ours is let go of: it would stop all work at each start."""
        try:
            await self._carry_out(order)
        except (StaleJob, FolderAway, AccountAway, Later, JournalAway):
            raise
        except Exception as error:  # noqa: BLE001 - as said
            self._emit(BugFound(f"the order to {order.verb.value}", error))

    async def _carry_out(self, order: Order) -> None:
        match order.verb:
            case Verb.PAID | Verb.NOT_PAID:
                await self._resolve(order)
            case Verb.CANCEL:
                await self._cancel(order)
            case Verb.RETRY | Verb.REDO:
                await self._retry(order)
            case Verb.PAUSE:
                await self._orders.stand(_lasting(Lasting.PAUSED, order))
            case Verb.RESUME:
                await self._resume(order)
            case Verb.RELEASE:
                await self._release(order)

    async def _resolve(self, order: Order) -> None:
        job = self._jobs.get(order.job_id)
        paid = order.verb is Verb.PAID
        # Of a result that cannot be fetched it is known that it was paid for: a person can only give it up.
        gone = job is not None and job.held and job.state is JobState.RENDERED and paid
        if job is None or not (gone or job.state is JobState.UNKNOWN):
            return
        if paid:
            await self._jobs.move(job, JobState.FAILED, fault=GIVEN_UP, held=False)
        else:
            await self._jobs.move(job, JobState.UPLOADED, held=False, note="a person has said that nothing was paid")
        self._waker.wake(job.id)

    async def _cancel(self, order: Order) -> None:
        for job in self._jobs.in_state(*UNPAID):
            if _is_about(order, job) and job.fault is None:
                await self._cancel_job(job)
        for inbox in self._served(order):
            await self._orders.stand(_lasting(Lasting.CANCELLED, order, inbox.folder.inbox))
            inbox.reconsider()

    async def _cancel_job(self, job: Job) -> None:
        if job.state is JobState.UPLOADED:
            await self._jobs.move(job, JobState.FAILED, fault=CANCELLED)
        else:
            # Its file may not be in the work folder yet: its next step puts it there, and then looks at this.
            await self._jobs.note(job, fault=CANCELLED)
        self._waker.wake(job.id)

    async def _end_cancelling(self) -> None:
        """An order to cancel is fulfilled once nothing that lay there then is left, and then nothing is held either."""
        idle = {inbox.folder.inbox for inbox in self._inboxes() if inbox.idle}
        ended = [order for order in self._orders.of(Lasting.CANCELLED) if order.inbox in idle]
        emptied = {order.inbox for order in ended if order.relative is None}
        held = [order for order in self._orders.of(Lasting.HELD) if order.inbox in emptied]
        for order in (*held, *ended):
            await self._orders.lift(order)

    async def _retry(self, order: Order) -> None:
        for job in self._jobs:
            if _is_about(order, job) and job.attempts:
                await self._jobs.note(job, attempts=0)
                self._waker.wake(job.id)
        away: FolderAway | None = None
        for job in await self._over(order):
            self.beat()
            try:
                await self._again(job, order)
            except FolderAway as error:
                away = error
        for inbox in self._served(order):
            inbox.look_again()
        if away is not None:
            raise away

    async def _over(self, order: Order) -> Sequence[Job]:
        """The jobs that are over and that the order is about; in a folder only those that went to error before it."""
        if order.job_id:
            job = await self._jobs.known(order.job_id)
            return [job] if job is not None and job.closed else []
        failed = await self._journal.failed(order.inbox)
        failed = [job for job in failed if _is_about(order, job) and not _stays_by_word(job)]
        # What lies there is the youngest one's. Where it came after the order, this was carried out before.
        youngest = {job.resting: job for job in failed}.values()
        now = self._clock.wall()
        return [job for job in youngest if not order.at < job.stamps[-1].at <= now]

    async def _again(self, job: Job, order: Order) -> None:
        """Put the original back into its inbox, where it is picked up anew; not into one that nobody looks into."""
        inbox = next((inbox for inbox in self._inboxes() if inbox.folder.inbox == job.place.inbox), None)
        brought = self._brought.setdefault(order.number, set())
        if job.resting is None or inbox is None or job.id in brought:
            return
        there = await self._folders.identity(job.resting) is not None
        if there and not await self._is_original(job.resting, job.source.sha256):
            return
        if there and order.verb is Verb.REDO and job.source.sha256:
            again = StandingOrder(lasting=Lasting.AGAIN, at=self._clock.wall(), sha256=job.source.sha256)
            await self._orders.stand(again)
        await self._folders.bring_back(job)
        await self._folders.forget_sidecar(job.resting)
        brought.add(job.id)
        inbox.look_again()

    async def _is_original(self, resting: Path, sha256: str) -> bool:
        """Whether what lies there is still the job's original: people put other files into these folders."""
        try:
            return not sha256 or await self._folders.digest(resting) == sha256
        except FileNotFoundError:
            return False

    async def _resume(self, order: Order) -> None:
        for paused in self._orders.of(Lasting.PAUSED):
            everything = order.inbox is None
            if everything or (paused.inbox == order.inbox and order.relative in {None, paused.relative}):
                await self._orders.lift(paused)

    async def _release(self, order: Order) -> None:
        for inbox in self._served(order):
            await self._orders.stand(_lasting(Lasting.RELEASED, order, inbox.folder.inbox))
        for held in self._orders.of(Lasting.HELD):
            if order.inbox in {None, held.inbox}:
                await self._orders.lift(held)

    def _served(self, order: Order) -> tuple[Inbox, ...]:
        """The inboxes that an order about files is about: none for one about a job."""
        if order.job_id:
            return ()
        return tuple(inbox for inbox in self._inboxes() if order.inbox in {None, inbox.folder.inbox})


def _is_about(order: Order, job: Job) -> bool:
    if order.job_id:
        return order.job_id == job.id
    return order.inbox in {None, job.place.inbox} and order.relative in {None, job.relative}


def _stays_by_word(job: Job) -> bool:
    """Whether a person has sent this one to the error folder: only its own name brings it back."""
    return job.fault is not None and job.fault.code in {FaultCode.CANCELLED, FaultCode.GIVEN_UP_BY_PERSON}


def _lasting(lasting: Lasting, order: Order, inbox: Path | None = None) -> StandingOrder:
    return StandingOrder(lasting=lasting, at=order.at, inbox=inbox or order.inbox, relative=order.relative)
