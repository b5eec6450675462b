"""The overview: everything that status, the page and the metrics show, as values, and how it is built."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from expandd.adapters.clock import SystemClock
from expandd.adapters.files.scan import FolderCount, FolderCounter
from expandd.adapters.responsiveness import lying
from expandd.adapters.store.database import reading
from expandd.adapters.store.sql.queries import ALL as ALL_JOBS
from expandd.adapters.store.sql.queries import Queries
from expandd.domain.commands import HoldKind, Verb
from expandd.domain.job import MAYBE_PAID, UNPAID, Job, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import TAKE_AWAY, Blocks, PauseReason, paused_by
from expandd.domain.settings import HotFolder, ImagePrice, Settings
from expandd.domain.spending import Today
from expandd.service.reports.facts import MOST_PACE, Facts, Pace, facts_of, pace_of
from expandd.service.reports.snapshot import LoopFailing, Reading, Snapshot, last_snapshot, live_snapshot

OTHER = "other"
"""Folders that are no longer configured but have images in progress."""

ALL = "all"


_COMMON = frozenset({"in", "inbox", "input", "drop"})
"""Names of inboxes that say nothing: their parents' names do."""


def labels_of(folders: Iterable[HotFolder | FolderOverview]) -> Mapping[Path, str]:
    """What people call each inbox: its label, else the folder's name. Where two have one name, their whole paths."""
    short = {folder.inbox: folder.label or short_name(folder.inbox) for folder in folders}
    often = Counter(short.values())
    return {inbox: name if often[name] == 1 else printable(inbox) for inbox, name in short.items()}


def short_name(inbox: Path) -> str:
    """`stories` for /srv/expand/stories/inbox, `print` for /srv/print/in, `drop-here` for /srv/drop-here."""
    known = inbox.parent if inbox.name.lower() in _COMMON else inbox
    return printable(known.name or inbox)


_RESULT = "Ask the API for its result, or give it up with `expandd resolve FILE --paid`; nothing more is paid for it."
_PAID = (
    "Check your account at PiktID, then `expandd resolve FILE --paid` or `--not-paid`; nothing more is paid "
    "for it until you decide."
)


def asked(job: Job) -> str:
    """What to do about a held job."""
    return _RESULT if job.lost_result else _PAID


MOST_LISTED = 20
MOST_LOOKED = 100
"""Errors of which those are listed that still lie there and that nobody has dismissed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why everything (`inbox` is None) or one folder waits, since when (epoch seconds), and its remedy.

    `since` is 0 where nobody knows, because expandd does not run. `again_at` is when it is tried again at the latest.
    """

    inbox: Path | None
    reason: PauseReason
    why: str
    since: float
    remedy: str
    again_at: float | None = None
    relative: Path | None = None
    """The one file that waits, below its inbox; None where all of them do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOverview:
    """One hot folder. `oldest` is how long the oldest waiting file has waited, in seconds; None when none waits.

    `done` and `failed` are those since midnight, `in_error` what lies in the error folder now, sidecars left out.
    `aged` is how many of the waiting files were looked at for `oldest`: fewer than `waiting` in a large backlog.
    `counted` is False where the inbox cannot be read; `waiting` is then what the daemon last knew of.
    """

    inbox: Path
    outbox: Path
    preset_name: str
    waiting: int
    oldest: float | None
    in_progress: int
    done: int
    failed: int
    in_error: int
    paid_today: int
    day_left: int | None
    month_left: int | None
    dismissed: int = 0
    """Of those in error, how many a person has dismissed."""
    held: int = 0
    """Images that need a person, not counted in `in_progress`."""
    duplicates: int = 0
    """Images since midnight that were paid for though their folder had paid for the same bytes before."""
    missed: int = 0
    """Files that no event announced since expandd started."""
    watched: bool | None = None
    """Whether file events are used; False when the inbox is scanned instead, None when expandd does not run."""
    aged: int = 0
    counted: bool = True
    too_deep: int = 0
    """Files in `subfolders`, the names below the inbox, that are not looked into."""
    subfolders: tuple[str, ...] = ()
    label: str = ""
    """What people call it, where the configuration says so."""
    directories: tuple[Path, ...] = ()
    """All of them, the inbox and the outbox included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Paid images since midnight and since the first of the month; what the budgets leave; the credits as last seen."""

    paid_today: int
    paid_this_month: int
    day_left: int | None
    month_left: int | None
    credits: Decimal | None
    credits_at: float | None
    price: Decimal | None = None
    """Credits that one image took lately, as far as the account's own figures tell."""
    cost: ImagePrice | None = None
    """What an image costs, where the configuration says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A command that waits to be carried out, given `at` (epoch seconds), and what it is about; "" for everything."""

    verb: Verb
    about: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it, as it was `at` (epoch seconds). `running` names the process that works, "" when none does.

    Of each kind of job at most MOST_LISTED are listed: the oldest in progress and held, the youngest of the others.
    """

    at: float
    running: str
    folders: tuple[FolderOverview, ...]
    pauses: tuple[Pause, ...]
    money: Money
    pace: Pace
    in_progress: tuple[Job, ...]
    done: tuple[Job, ...]
    failed: tuple[Job, ...]
    differing: tuple[Job, ...]
    held: tuple[Job, ...] = ()
    """Jobs that need a person."""
    lost: tuple[Job, ...] = ()
    """Those that are over without their originals, which somebody removed while they were in work."""
    failing: tuple[LoopFailing, ...] = ()
    """Parts of the daemon that fail again and again."""
    account_shared_with: str = ""
    """Who of this machine works with the same account, in words; "" for nobody."""
    lost_log_lines: int = 0
    """Lines of the log that could not be written since expandd started."""
    ordered: tuple[Ordered, ...] = ()
    """The commands that are not carried out yet, oldest first."""
    reading: Reading | None = None
    """What became of the last reading of the configuration; None when no daemon runs."""
    joined: bool = False
    """Whether other hosts go on with the same files, also where this one does not run."""
    told_at: float | None = None
    """The last sign of life of the running daemon; None when it does not run, or has given none yet."""


_ORDERED = {
    HoldKind.PAUSED: (PauseReason.PAUSED, "A person has paused this."),
    HoldKind.HELD: (
        PauseReason.BURST,
        f"More files came at once than the folder's burst guard allows. {PauseReason.BURST.remedy}",
    ),
}

_DAY = 86400.0


def current_pauses(
    settings: Settings, store: Queries | None, snapshot: Snapshot | None, counts: Sequence[FolderCount]
) -> Iterator[Pause]:
    """The pauses, from the running daemon's snapshot, else from the job database and the folders."""
    if snapshot is not None:
        yield from (_pause(one.inbox, one.reason, one.why, one.since, one.again_at) for one in snapshot.pauses)
    else:
        yield from _ordered(settings, store)
        for folder, count in zip(settings.folders, counts, strict=True):
            if count.pause:
                yield _pause(folder.inbox, PauseReason.PAUSED, paused_by(count.pause), 0.0)
    known = (
        {pause.inbox for pause in snapshot.pauses if pause.reason is PauseReason.INBOX_UNAVAILABLE}
        if snapshot
        else set()
    )
    for folder, count in zip(settings.folders, counts, strict=True):
        if count.away and folder.inbox not in known:
            yield _pause(folder.inbox, PauseReason.INBOX_UNAVAILABLE, count.away, 0.0)


def _ordered(settings: Settings, store: Queries | None) -> Iterator[Pause]:
    """The pauses of people and of the burst guard."""
    inboxes = {None, *(folder.inbox for folder in settings.folders)}
    for command in store.holds() if store else ():
        if command.kind in _ORDERED and command.inbox in inboxes and command.relative is None:
            reason, why = _ORDERED[command.kind]
            yield _pause(command.inbox, reason, why, command.at)


SOON = 10.0
"""Seconds within which a running daemon carries out a command."""


def _ordered_yet(store: Queries, *, running: bool, now: float) -> Iterator[Ordered]:
    for command in store.commands()[:MOST_LISTED]:
        if running and 0 <= now - command.at < SOON:
            continue
        job = store.job(command.job_id) if command.job_id else None
        relative = job.relative if job else command.relative
        about = relative or command.job_id or command.inbox or ""
        yield Ordered(verb=command.verb, about=printable(about), at=command.at)


def _pause(inbox: Path | None, reason: PauseReason, why: str, since: float, again_at: float | None = None) -> Pause:
    remedy = _remedy(inbox, reason, why)
    return Pause(inbox=inbox, reason=reason, why=why, since=since, remedy=remedy, again_at=again_at)


def _remedy(inbox: Path | None, reason: PauseReason, why: str) -> str:
    """The remedy for this pause; it names the command for a pause that people set."""
    if reason is not PauseReason.PAUSED:
        return reason.remedy
    if TAKE_AWAY in why:
        return TAKE_AWAY
    return f"`expandd resume {shlex.quote(printable(inbox))}` lifts it." if inbox else "`expandd resume` lifts it."


def sentence(pause: Pause, now: float) -> str:
    """All of it in words: what waits, since when, why, and its remedy."""
    where = "" if pause.inbox is None else printable(pause.inbox)
    if pause.relative is not None:
        what = f"{printable(pause.relative)} waits"
    elif pause.reason.blocks is Blocks.PAYING:
        what = f"Nothing new is begun in {where}" if where else "Nothing new is begun"
    else:
        what = f"{where} waits" if where else "Everything waits"
    since = f" since {clock(pause.since, now)}" if pause.since else ""
    again = ""
    if pause.again_at is not None and pause.again_at > now:
        again = f" Tried again within {span(pause.again_at - now)}."
    remedy = "" if pause.reason.says_remedy or pause.remedy in pause.why else f" {pause.remedy}"
    return f"{what}{since}: {ended(printable(pause.why))}{remedy}{again}"


def too_deep_words(files: int, subfolders: Sequence[str]) -> str:
    """What lies in subfolders of an inbox that is not recursive, and what to do."""
    what = "a folder with 1 file" if files == 1 else f"a folder with {files} files"
    where = printable(subfolders[0])
    if len(subfolders) > 1:
        what, where = f"{len(subfolders)} folders with {files} files", f"{where}, …"
    return f"{what} in the inbox ({where}), not scanned (set `recursive: true`, or move the files up)"


def ended(text: str) -> str:
    """The text as a sentence that ends."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def clock(at: float, now: float) -> str:
    """A time of day for people; with its date when it is not of the last 24 hours."""
    form = "%H:%M" if abs(now - at) < _DAY else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))


def iso(at: float | None) -> str | None:
    """An instant for machines, in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def as_number(value: Decimal | None) -> float | None:
    """The same for a number that is exact here."""
    return None if value is None else int(value) if value == value.to_integral_value() else float(value)


def span(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 3 min, 2 h 5 min, 4 days."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:  # noqa: PLR2004 - from here on a person counts in minutes
        return f"{whole} s"
    minutes, hours, days = round(seconds / 60), seconds / 3600, seconds / _DAY
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min"
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{round(days)} days"


def build_overview(settings: Settings, counting: FolderCounter, *, whole: bool = False) -> Overview:
    """How it goes now, with the daemon and without; `whole` lists all jobs. Blocks; call it off an event loop.

    `counting` is kept by the caller again. Raises DatabaseAway.
    """
    running, snapshot = live_snapshot(settings.state_dir)
    counts = counting.of(settings.folders)
    with reading(settings) as store:
        clock = SystemClock()
        return overview_of(
            settings,
            store,
            counts,
            running=running,
            snapshot=snapshot,
            today=clock.today(),
            now=clock.wall(),
            whole=whole,
        )


def overview_of(
    settings: Settings,
    store: Queries | None,
    counts: Sequence[FolderCount],
    *,
    running: str,
    snapshot: Snapshot | None,
    today: Today,
    now: float,
    whole: bool = False,
) -> Overview:
    """The overview of these facts; `snapshot` is that of the process that is `running`, if any."""
    listed, looked = (ALL_JOBS, ALL_JOBS) if whole else (MOST_LISTED, MOST_LOOKED)
    most = None if whole else MOST_LISTED
    facts = facts_of(store, today, now)
    folders = tuple(
        _folder(folder, count, facts, snapshot) for folder, count in zip(settings.folders, counts, strict=True)
    )
    pauses = tuple(current_pauses(settings, store, snapshot, counts))
    done = tuple(store.done(MOST_PACE)) if store else ()
    failed = tuple(store.failed(looked)) if store else ()
    money = _money(settings, facts, snapshot or last_snapshot(settings.state_dir))
    left = sum(folder.waiting + folder.in_progress for folder in folders)
    goes_on = _goes_on(folders, pauses, money, facts, snapshot) if running else 0
    return Overview(
        at=now,
        running=running,
        joined=settings.cluster.joined,
        told_at=snapshot.at if snapshot else None,
        failing=snapshot.failing if snapshot else (),
        account_shared_with=snapshot.account_shared_with if snapshot else "",
        lost_log_lines=snapshot.lost_log_lines if snapshot else 0,
        reading=snapshot.reading if snapshot else None,
        ordered=tuple(_ordered_yet(store, running=bool(running), now=now)) if store else (),
        folders=folders,
        pauses=pauses,
        money=money,
        pace=pace_of(done, facts.done_in_the_last_hour, left, goes_on, settings.workers),
        in_progress=tuple(store.open_jobs(listed)) if store else (),
        held=tuple(store.held(listed)) if store else (),
        done=done[:MOST_LISTED],
        failed=_in_error(failed)[:most],
        lost=tuple(job for job in (*done, *failed) if job.original_lost)[:most],
        differing=tuple(store.differing(listed)) if store else (),
    )


def _folder(folder: HotFolder, count: FolderCount, facts: Facts, snapshot: Snapshot | None) -> FolderOverview:
    mine = facts.of(folder.inbox)
    today, month = facts.paid(folder.inbox, facts.day), facts.paid(folder.inbox)
    live = snapshot.inbox(folder.inbox) if snapshot else None
    return FolderOverview(
        inbox=folder.inbox,
        outbox=folder.outbox,
        label=folder.label,
        directories=folder.directories,
        preset_name=folder.preset_name,
        waiting=live.waiting if count.away and live else count.waiting,
        oldest=None if count.oldest is None else max(0.0, facts.now - count.oldest),
        aged=count.aged,
        counted=not count.away,
        too_deep=count.too_deep,
        subfolders=count.subfolders,
        in_progress=sum(one.jobs for one in mine if not one.closed and not one.held),
        held=sum(one.jobs for one in mine if not one.closed and one.held),
        done=sum(one.jobs for one in mine if one.closed and one.state is JobState.DONE),
        failed=sum(one.jobs for one in mine if one.closed and one.state is JobState.FAILED),
        in_error=count.in_error,
        dismissed=facts.dismissed[folder.inbox],
        paid_today=today,
        day_left=_left(folder.budget.day, today),
        month_left=_left(folder.budget.month, month),
        duplicates=facts.duplicates[folder.inbox],
        missed=live.missed if live else 0,
        watched=live.watched if live else None,
    )


def _money(settings: Settings, facts: Facts, snapshot: Snapshot | None) -> Money:
    today, month, budget = facts.paid(day=facts.day), facts.paid(), settings.budget
    return Money(
        paid_today=today,
        paid_this_month=month,
        day_left=_left(budget.day, today),
        month_left=_left(budget.month, month),
        credits=snapshot.credits if snapshot else None,
        credits_at=snapshot.credits_at if snapshot else None,
        price=snapshot.price if snapshot else None,
        cost=settings.price,
    )


def _left(budget: int | None, paid: int) -> int | None:
    return None if budget is None else max(0, budget - paid)


def _goes_on(
    folders: Sequence[FolderOverview],
    pauses: Sequence[Pause],
    money: Money,
    facts: Facts,
    snapshot: Snapshot | None,
) -> int:
    """How many images will be done as things are: no pause, budget or unfinished copy holds them up."""
    new = paid = 0
    for folder in folders:
        reasons = [pause.reason for pause in pauses if pause.inbox in {None, folder.inbox} and pause.relative is None]
        if any(reason.blocks is not Blocks.PAYING for reason in reasons):
            continue
        paid += facts.open_in(MAYBE_PAID, folder.inbox)
        if not reasons:
            live = snapshot.inbox(folder.inbox) if snapshot else None
            whole = max(0, folder.waiting - (live.unfinished if live else 0))
            new += _bounded(whole + facts.open_in(UNPAID, folder.inbox), folder.day_left, folder.month_left)
    return paid + _bounded(new, money.day_left, money.month_left)


def _bounded(images: int, *lefts: int | None) -> int:
    return min([images, *(left for left in lefts if left is not None)])


def _in_error(failed: Sequence[Job]) -> tuple[Job, ...]:
    """Of these, youngest first, those whose file lies in the error folder, as far as can be told, each once.

    Without those that a person has dismissed.
    """
    youngest: dict[Path, Job] = {}
    there = lying(job.archived_to for job in failed if job.archived_to is not None)
    for job in failed:
        if job.archived_to is not None and job.archived_to in there:
            youngest.setdefault(job.archived_to, job)
    return tuple(job for job in youngest.values() if not job.dismissed)
