"""The sentences of an overview: what status says, a fact a line."""

from __future__ import annotations

from collections.abc import Iterator

from expandd.domain.job import Job
from expandd.domain.naming import printable
from expandd.service.reports.facts import Pace
from expandd.service.reports.overview import (
    FolderOverview,
    Money,
    Overview,
    asked,
    clock,
    ended,
    sentence,
    span,
    too_deep_words,
)
from expandd.service.reports.snapshot import Reading

OLD = 60.0
"""Seconds after which what the running daemon tells of itself counts as old: it writes every 15."""


def lines(overview: Overview) -> Iterator[str]:
    """The status in words, a fact a line."""
    yield from headlines(overview)
    for folder in overview.folders:
        yield f"{printable(folder.inbox)} ({folder.preset_name}): {folder_words(folder)}."
    yield from footlines(overview)


def headlines(overview: Overview) -> Iterator[str]:
    """What concerns everything: whether it runs, and what waits on what."""
    yield _running(overview)
    if overview.running and overview.told_at is None:
        yield "It has not told yet what it is waiting for; ask again in a moment."
    elif overview.told_at is not None and overview.at - overview.told_at > OLD:
        yield (
            f"It has given no sign of life since {clock(overview.told_at, overview.at)}: "
            "see its log (`journalctl -u expandd`); what waits on what may be out of date."
        )
    if overview.reading is not None:
        yield from reading_lines(overview.reading, overview.at)
    for loop in overview.failing:
        yield (
            f"Something in expandd itself fails ({printable(loop.name)}) since {clock(loop.since, overview.at)}: "
            f"{printable(loop.why)}. The rest goes on, and it is tried again; see the log, and report it."
        )
    if overview.lost_log_lines:
        yield (
            f"Lines of the log lost since it started: {overview.lost_log_lines}. The work goes on; check the disk or "
            "the program that takes them."
        )
    if overview.account_shared_with:
        yield (
            f"Account shared: {printable(overview.account_shared_with)} worked with the same one when this began. The "
            "API's limits hold for both together, and each may have to wait for the other."
        )
    for pause in overview.pauses:
        yield sentence(pause, overview.at)
    yield from too_deep(overview)
    for one in overview.ordered:
        when = "as soon as it can be" if overview.running or overview.joined else "when expandd runs again"
        what = f"{one.verb.value} {one.about or 'everything'}"
        yield f"Ordered at {clock(one.at, overview.at)}: {what}. It is carried out {when}."


def _running(overview: Overview) -> str:
    if overview.running:
        return f"expandd runs as {overview.running}."
    if overview.joined:
        return "expandd does not run on this host. Others go on without it: see `expandd cluster status`."
    return "expandd does not run: nothing is picked up, paid or delivered until it does."


def reading_lines(reading: Reading, now: float) -> Iterator[str]:
    """What of the configuration is not in force, and why."""
    if reading.errors:
        yield (
            f"Configuration refused at {clock(reading.at, now)}; everything goes on as it was configured before. "
            "Correct it, then `expandd reload`:"
        )
        yield from (f"  {printable(error)}" for error in reading.errors)
    if reading.needs_restart:
        keys = ", ".join(reading.needs_restart)
        yield f"Not in force: the new {keys}. Only a restart changes that: `systemctl restart expandd`."


def too_deep(overview: Overview) -> Iterator[str]:
    """Which folders hold files that are not looked into."""
    for folder in overview.folders:
        if folder.too_deep:
            yield f"{printable(folder.inbox)}: {too_deep_words(folder.too_deep, folder.subfolders)}."


def footlines(overview: Overview) -> Iterator[str]:
    """Money, pace, and the images that a person should know of."""
    yield money_line(overview.money, overview.at)
    yield pace_line(overview.pace, running=bool(overview.running))
    for job in overview.held:
        yield f"needs you  {printable(job.relative)}: {ended(printable(job.note))} {asked(job)}"
    for job in overview.in_progress:
        if not job.held:
            why = f": {printable(job.note)}" if job.note else ""
            host = f" on {job.host}" if job.host else ""
            yield f"in progress    {job.state.value:<10} {printable(job.relative)}{host}{why}"
    for job in overview.failed:
        yield f"error      {printable(job.relative)}: {job.fault.message if job.fault else ''}"
    for job in overview.lost:
        noticed = clock(job.state_changes[-1].at, overview.at)
        yield (
            f"lost       {printable(job.relative)}: its original was removed from the work folder of "
            f"{printable(job.folder.inbox)} while it was in work; noticed {noticed}"
        )
    for job in overview.differing:
        yield f"size       {printable(job.target or job.relative)}: {difference(job)}"


def folder_words(folder: FolderOverview) -> str:
    """One folder's counts."""
    waiting = f"{folder.waiting} waiting{oldest(folder)}" if folder.counted else f"{folder.waiting} known to wait"
    parts = [
        waiting,
        f"{folder.in_progress} in progress",
        f"today {folder.done} done, {folder.failed} failed and {folder.paid_today} paid",
        f"{folder.in_error} in the error folder",
    ]
    if folder.held:
        parts.insert(2, f"{folder.held} need{'s' if folder.held == 1 else ''} you")
    if folder.duplicates:
        parts.append(
            f"{folder.duplicates} of today paid for again, though paid for before (`duplicates: reuse` in the "
            "configuration delivers the earlier result instead)"
        )
    parts += budget_words(folder.day_left, folder.month_left)
    if folder.watched is False:
        parts.append("scanned, for file events do not reach it")
    if folder.missed:
        parts.append(f"{folder.missed} found by a scan that no event had announced")
    return "; ".join(parts)


def oldest(folder: FolderOverview) -> str:
    """For how long the oldest file has waited, in words, as far as was looked."""
    if folder.oldest is None:
        return ""
    among = f" of {folder.aged} looked at" if folder.aged < folder.waiting else ""
    return f" (the oldest{among} for {span(folder.oldest)})"


def budget_words(day_left: int | None, month_left: int | None) -> list[str]:
    """What budgets leave, in words; nothing for those that are not set."""
    words = []
    if day_left is not None:
        words.append(f"the budget leaves {day_left} today")
    if month_left is not None:
        words.append(f"the budget leaves {month_left} this month")
    return words


def money_line(money: Money, now: float) -> str:
    """What was paid, and what is left."""
    parts = [f"{money.paid_today} paid today, {money.paid_this_month} this month"]
    parts += budget_words(money.day_left, money.month_left)
    if money.credits is not None and money.credits_at is not None:
        parts.append(f"credits {money.credits} at {clock(money.credits_at, now)}")
    if money.price is not None:
        parts.append(f"an image took {money.price} of them lately")
    return f"Money: {'; '.join(parts)}."


def pace_line(pace: Pace, *, running: bool = True) -> str:
    """How fast it goes, and when the backlog is done."""
    words = f"Pace: {pace.per_hour:.0f} done in the last hour"
    if pace.seconds_each is not None:
        words += f"; an image takes {span(pace.seconds_each)}"
    if pace.seconds_left is not None:
        words += f"; what goes on now is done in about {span(pace.seconds_left)}"
    if pace.stalled and running:
        words += f"; {pace.stalled} held up"
    return f"{words}."


def difference(job: Job) -> str:
    """How a result differs from what was asked for."""
    assert job.final is not None, "only a job with a result has a size that differs"
    return f"the API made {job.final.size}, the offsets ask for {job.final.expected}"
