"""Owns the calendar that budgets go by: the local day and month that an instant is in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """The local day and month, and when they began and end; seconds since the epoch."""

    day: str
    """YYYY-MM-DD; its first seven characters are the month."""
    day_began: float
    month_began: float
    day_ends: float
    month_ends: float

    @property
    def month(self) -> str:
        return self.day[:7]


@dataclass(frozen=True, slots=True)
class Spent:
    """How many images of one inbox were paid for on one local day, YYYY-MM-DD."""

    inbox: Path
    day: str
    images: int
