"""Owns the overview: everything that status, the page and the metrics tell of how it goes, as values."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from expandd.domain.errors import GateReason
from expandd.domain.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """Why everything (`inbox` is None) or one folder waits, since when (epoch seconds), and what lifts it."""

    inbox: Path | None
    reason: GateReason
    why: str
    since: float
    lifts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOverview:
    """One hot folder. `oldest` is how long the oldest waiting file has waited, in seconds; None when none waits.

    `done` and `failed` are those since midnight, `in_error` what lies in the error folder now, sidecars left out.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Paid images since midnight and since the first of the month; what the budgets leave; the credits as last seen."""

    paid_today: int
    paid_this_month: int
    day_left: int | None
    month_left: int | None
    credits: Decimal | None
    credits_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Images done in the last hour, and the seconds until the backlog is done at that rate; None when it is unknown."""

    per_hour: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All of it, as it was `at` (epoch seconds). `running` names the process that works, "" when none does."""

    at: float
    running: str
    folders: tuple[FolderOverview, ...]
    standstills: tuple[Standstill, ...]
    money: Money
    pace: Pace
    in_hand: tuple[Job, ...]
    done: tuple[Job, ...]
    failed: tuple[Job, ...]
    differing: tuple[Job, ...]
