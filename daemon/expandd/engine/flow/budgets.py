"""Budgets: what may still be spent today and this month, by folder and in all, reserved before it is spent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.job import Job
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import NO_LIMIT, Budget, Settings
from expandd.domain.spending import Cap, Spent, Today
from expandd.engine.control.holds import Cause, Holds, Pauses
from expandd.engine.jobs import Jobs
from expandd.engine.ports import Clock, JobStore

ROUND = 60.0
"""Seconds, at most, until a new day is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How many images of one scope were paid for today and this month; `reserved` are on their way to it."""

    today: int
    this_month: int
    reserved: int

    def left(self, budget: Budget) -> int | None:
        """How many more may be begun; None without a limit."""
        limits = ((budget.day, self.today), (budget.month, self.this_month))
        return min((limit - used - self.reserved for limit, used in limits if limit is not None), default=None)


class Budgets:
    """Counts payments from the job database and the open jobs: none twice, and none is forgotten by a restart.

    `inbox` is None where all folders are meant.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        jobs: Jobs,
        store: JobStore,
        commands: Holds,
        pauses: Pauses,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self._commands = commands
        self._jobs = jobs
        self._store = store
        self._pauses = pauses
        self._clock = clock
        self._spent: Counter[tuple[Path | None, str]] = Counter()
        """Payments by inbox (None: of all) and local day, and by local month, since the month `_since_month`."""
        self._since_month = ""
        self._meanwhile: list[tuple[Path, float, int]] | None = None
        """What was counted while the job database was asked."""
        self._loading = asyncio.Lock()
        jobs.tally.follow(self.count)
        self._used_up = asyncio.Event()

    async def load(self) -> None:
        """Load what was spent before. Nothing is paid until this is known."""
        async with self._loading:
            today = self._clock.today()
            self._meanwhile = []
            known = await self._store.spent(today)
            meanwhile, self._meanwhile = self._meanwhile, None
            self._spent, self._since_month = Counter(), today.month
            for spent in known:
                self._add(spent, today)
            for inbox, at, images in meanwhile:
                self.count(inbox, at, images)
            self.update_pauses()

    async def keep_up(self) -> None:
        """Load the payments of a month again that the clock has stepped back to."""
        if self._clock.today().month < self._since_month:
            await self.load()

    async def run(self) -> None:
        """Until cancelled: open the pauses of daily and monthly budgets when the day or month ends."""
        while True:
            await self._clock.wait(self._used_up, None)
            self._used_up.clear()
            await self._clock.sleep(ROUND)
            self.update_pauses()

    def count(self, inbox: Path, at: float, images: int) -> None:
        """Count so many more paid images at that time (epoch seconds); negative where a payment did not happen."""
        if self._meanwhile is not None:
            self._meanwhile.append((inbox, at, images))
        today = self._clock.today()
        self._add(Spent(inbox, _day_of(at, today), images), today)

    def used(self, inbox: Path | None) -> Used:
        today = self._clock.today()
        return Used(
            today=self._spent[inbox, today.day],
            this_month=self._spent[inbox, today.month],
            reserved=sum(map(self._reserved, self._jobs.tally.inboxes() if inbox is None else (inbox,))),
        )

    def _reserved(self, inbox: Path) -> int:
        """How many images are about to be paid for. Paused images reserve nothing."""
        if self._commands.stops_all_of(inbox):
            return 0
        tally = self._jobs.tally
        return tally.unpaid_in(inbox) - sum(tally.unpaid(inbox, file) for file in self._commands.paused_files(inbox))

    def within(self, job: Job) -> bool:
        """Whether this job's paid call is within all budgets."""
        used = ((budget, self.used(inbox)) for inbox, budget in self._scopes(job.folder.inbox))
        return not any(_spent_up(budget, spent.today, spent.this_month) for budget, spent in used)

    def caps(self, job: Job) -> tuple[Cap, ...]:
        """The same limits for the job database, which alone knows the payments of other hosts."""
        today = self._clock.today()
        since = ((today.day_began, today.day), (today.month_began, f"{today.month}-01"))
        return tuple(
            Cap(inbox=inbox, since=began, day=day, most=most)
            for inbox, budget in self._scopes(job.folder.inbox)
            for (began, day), most in zip(since, (budget.day, budget.month), strict=True)
            if most is not None
        )

    def update_pauses(self, *inboxes: Path) -> None:
        """Shut the pauses of budgets that are used up, and open the others: of these inboxes, or of all."""
        for inbox, budget in self._all_scopes(inboxes):
            pause = self._pauses.at(inbox, Cause.BUDGET)
            why = "" if budget == NO_LIMIT else _why(budget, self.used(inbox))
            if why:
                pause.close(PauseReason.BUDGET_SPENT, why)
                self._used_up.set()
            else:
                pause.open()

    def _all_scopes(self, inboxes: tuple[Path, ...]) -> Iterator[tuple[Path | None, Budget]]:
        yield None, self.settings.budget
        budgets = self._folder_budgets()
        for inbox in inboxes or budgets:
            if inbox in budgets:
                yield inbox, budgets[inbox]

    def _folder_budgets(self) -> dict[Path, Budget]:
        return {folder.inbox: folder.budget for folder in self.settings.folders}

    def _scopes(self, inbox: Path) -> Iterator[tuple[Path | None, Budget]]:
        folders = ((folder.inbox, folder.budget) for folder in self.settings.folders if folder.inbox == inbox)
        scopes = ((None, self.settings.budget), *folders)
        yield from ((where, budget) for where, budget in scopes if budget != NO_LIMIT)

    def _add(self, spent: Spent, today: Today) -> None:
        month = spent.day[:7]
        if month >= today.month:
            for inbox in (None, spent.inbox):
                self._spent[inbox, spent.day] += spent.images
                self._spent[inbox, month] += spent.images
        if today.month > self._since_month:
            self._since_month = today.month
            self._spent = Counter({key: images for key, images in self._spent.items() if key[1][:7] >= today.month})


def _spent_up(budget: Budget, today: int, this_month: int) -> bool:
    over_day = budget.day is not None and today >= budget.day
    return over_day or (budget.month is not None and this_month >= budget.month)


def _why(budget: Budget, used: Used) -> str:
    """The sentence for a budget that is used up; "" for one that is not."""
    month, day = used.this_month + used.reserved, used.today + used.reserved
    if budget.month is not None and month >= budget.month:
        return (
            f"The budget of {budget.month} images a month is used up. It goes on next month, or with a higher budget."
        )
    if budget.day is not None and day >= budget.day:
        return f"The budget of {budget.day} images a day is used up. It goes on at midnight, or with a higher budget."
    return ""


def _day_of(instant: float, today: Today) -> str:
    """The local day of a time in this month, approximately: only whether it is today matters."""
    if instant >= today.day_began:
        return today.day
    return f"{today.month}-00" if instant >= today.month_began else "0000-00-00"
