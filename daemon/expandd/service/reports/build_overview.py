"""Owns the making of an overview: from the journal, the folders and what the running daemon tells, to values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.clock import SystemClock
from expandd.adapters.files.folder_counts import Counting, FolderCount
from expandd.adapters.responsiveness import lying
from expandd.adapters.store.sqlite.reader import Count, JournalReader, reading
from expandd.domain.calendar import Spent, Today
from expandd.domain.job import Job, JobState
from expandd.domain.settings import Budget, HotFolder, Settings
from expandd.service.reports.overview import MOST_LISTED, FolderOverview, Money, Overview, Pace
from expandd.service.reports.pauses import current_pauses
from expandd.service.reports.snapshot import Snapshot, last_snapshot, live_snapshot
from expandd.service.runtime.rebuild import JOURNAL

HOUR = 3600.0
MOST_PACE = 50
"""Images done last that tell how long one is in flight."""


def build_overview(settings: Settings, counting: Counting) -> Overview:
    """How it goes now, with the daemon and without. Blocks; call it off an event loop.

    `counting` is kept by whoever asks again. Raises JournalAway.
    """
    running, snapshot = live_snapshot(settings.state_dir)
    counts = counting.of(settings.folders)
    with reading(settings.state_dir / JOURNAL) as journal:
        clock = SystemClock()
        return overview_of(
            settings, journal, counts, running=running, snapshot=snapshot, today=clock.today(), now=clock.wall()
        )


def overview_of(
    settings: Settings,
    journal: JournalReader | None,
    counts: Sequence[FolderCount],
    *,
    running: str,
    snapshot: Snapshot | None,
    today: Today,
    now: float,
) -> Overview:
    """The overview of these facts; `snapshot` is that of the process that is `running`, if any."""
    facts = _facts(journal, today, now)
    folders = tuple(
        _folder(folder, count, facts, snapshot) for folder, count in zip(settings.folders, counts, strict=True)
    )
    halts = tuple(current_pauses(settings, journal, snapshot, counts))
    done = tuple(journal.done(MOST_PACE)) if journal else ()
    failed = tuple(journal.failed(MOST_LISTED)) if journal else ()
    left = sum(folder.waiting + folder.in_flight for folder in folders)
    moving = bool(running) and all(halt.inbox is not None for halt in halts)
    return Overview(
        at=now,
        running=running,
        told_at=snapshot.at if snapshot else None,
        failing=snapshot.failing if snapshot else (),
        folders=folders,
        pauses=halts,
        money=_money(settings.budget, facts, snapshot or last_snapshot(settings.state_dir)),
        pace=_pace(done, facts.done_in_the_last_hour, left if moving else 0, settings.workers),
        in_hand=tuple(journal.open_jobs(MOST_LISTED)) if journal else (),
        held=tuple(journal.held(MOST_LISTED)) if journal else (),
        done=done[:MOST_LISTED],
        failed=_in_error(failed),
        lost=tuple(job for job in (*done, *failed) if job.original_lost)[:MOST_LISTED],
        differing=tuple(journal.differing(MOST_LISTED)) if journal else (),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What the journal counts, read once: jobs since midnight, images done within the hour, this month's ledger."""

    now: float
    day: str
    counts: Sequence[Count]
    done_in_the_last_hour: int
    spent: Sequence[Spent]
    duplicates: Counter[Path]


def _facts(journal: JournalReader | None, today: Today, now: float) -> _Facts:
    if journal is None:
        return _Facts(now=now, day=today.day, counts=(), done_in_the_last_hour=0, spent=(), duplicates=Counter())
    lately = journal.counts(now - HOUR)
    return _Facts(
        now=now,
        day=today.day,
        counts=journal.counts(today.day_began),
        done_in_the_last_hour=sum(count.jobs for count in lately if count.state is JobState.DONE and count.closed),
        spent=journal.spent(today),
        duplicates=journal.duplicates(today.day_began),
    )


def _folder(folder: HotFolder, count: FolderCount, facts: _Facts, snapshot: Snapshot | None) -> FolderOverview:
    raw = os.fsencode(folder.inbox)
    mine = [one for one in facts.counts if one.inbox == raw]
    paid = [spent for spent in facts.spent if spent.inbox == folder.inbox]
    today, month = _paid(paid, facts.day), _paid(paid)
    live = snapshot.inbox(folder.inbox) if snapshot else None
    return FolderOverview(
        inbox=folder.inbox,
        outbox=folder.outbox,
        preset_name=folder.preset_name,
        waiting=live.waiting if count.away and live else count.waiting,
        oldest=None if count.oldest is None else max(0.0, facts.now - count.oldest),
        aged=count.aged,
        counted=not count.away,
        in_flight=sum(one.jobs for one in mine if not one.closed and not one.held),
        held=sum(one.jobs for one in mine if not one.closed and one.held),
        done=sum(one.jobs for one in mine if one.closed and one.state is JobState.DONE),
        failed=sum(one.jobs for one in mine if one.closed and one.state is JobState.FAILED),
        in_error=count.in_error,
        paid_today=today,
        day_left=_left(folder.budget.day, today),
        month_left=_left(folder.budget.month, month),
        duplicates=facts.duplicates[folder.inbox],
        missed=live.missed if live else 0,
        watched=live.watched if live else None,
    )


def _money(budget: Budget, facts: _Facts, snapshot: Snapshot | None) -> Money:
    today, month = _paid(facts.spent, facts.day), _paid(facts.spent)
    return Money(
        paid_today=today,
        paid_this_month=month,
        day_left=_left(budget.day, today),
        month_left=_left(budget.month, month),
        credits=snapshot.credits if snapshot else None,
        credits_at=snapshot.credits_at if snapshot else None,
        price=snapshot.price if snapshot else None,
    )


def _paid(spent: Sequence[Spent], day: str | None = None) -> int:
    return sum(one.images for one in spent if day in {None, one.day})


def _left(budget: int | None, paid: int) -> int | None:
    return None if budget is None else max(0, budget - paid)


def _pace(done: Sequence[Job], lately: int, left: int, workers: int) -> Pace:
    each = seconds_each(done)
    return Pace(
        per_hour=float(lately),
        seconds_each=each,
        seconds_left=each * left / workers if each is not None and left else None,
    )


def seconds_each(done: Sequence[Job]) -> float | None:
    """How long an image is in flight, from the claim until its bytes are safe; None when no image tells.

    As many as there are workers are in flight together, so a backlog of n takes n/workers times this.
    """
    spans = [
        end - start
        for job in done
        if not job.twin
        and (start := job.entered(JobState.CLAIMED)) is not None
        and (end := job.entered(JobState.VAULTED)) is not None
        and end >= start
    ]
    return sum(spans) / len(spans) if spans else None


def _in_error(failed: Sequence[Job]) -> tuple[Job, ...]:
    """Of these, youngest first, those whose file lies in the error folder, as far as can be told, each once."""
    youngest: dict[Path, Job] = {}
    there = lying(job.resting for job in failed if job.resting is not None)
    for job in failed:
        if job.resting is not None and job.resting in there:
            youngest.setdefault(job.resting, job)
    return tuple(youngest.values())
