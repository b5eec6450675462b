"""Owns the overview: everything that status, the page and the metrics tell of how it goes, as values."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from expandd.domain.job import Job
from expandd.domain.pauses import PauseReason
from expandd.service.reports.snapshot import LoopFailing

MOST_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why everything (`inbox` is None) or one folder waits, since when (epoch seconds), and what lifts it.

    `since` is 0 where nobody knows, because expandd does not run. `again_at` is when it is tried again at the latest.
    """

    inbox: Path | None
    reason: PauseReason
    why: str
    since: float
    lifts: str
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
    in_flight: int
    done: int
    failed: int
    in_error: int
    paid_today: int
    day_left: int | None
    month_left: int | None
    held: int = 0
    """Images that need a person, not counted in `in_flight`."""
    duplicates: int = 0
    """Images since midnight that were paid for though their folder had paid for the same bytes before."""
    missed: int = 0
    """Files that no event announced since expandd started."""
    watched: bool | None = None
    """Whether file events are used; False when the inbox is scanned instead, None when expandd does not run."""
    aged: int = 0
    counted: bool = True


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Images done in the last hour, and the seconds until the backlog is done at the pace of those done last.

    None when nothing was done yet, or nothing goes on.
    """

    per_hour: float
    seconds_left: float | None
    seconds_each: float | None = None
    """How long an image was in flight of late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it, as it was `at` (epoch seconds). `running` names the process that works, "" when none does.

    Of each kind of job at most MOST_LISTED are listed: the oldest in hand and held, the youngest of the others.
    """

    at: float
    running: str
    folders: tuple[FolderOverview, ...]
    pauses: tuple[Pause, ...]
    money: Money
    pace: Pace
    in_hand: tuple[Job, ...]
    done: tuple[Job, ...]
    failed: tuple[Job, ...]
    differing: tuple[Job, ...]
    held: tuple[Job, ...] = ()
    """Those that need a person."""
    lost: tuple[Job, ...] = ()
    """Those that are over without their originals, which somebody removed while they were in work."""
    failing: tuple[LoopFailing, ...] = ()
    """Parts of the daemon that fail again and again."""
    told_at: float | None = None
    """When the running daemon last told of itself; None when it does not run, or has not yet."""
