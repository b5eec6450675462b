"""Owns what only a person can decide about a job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What a person says of a job whose payment nobody can prove."""

    PAID = "paid"
    NOT_PAID = "not-paid"


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's word about one job; `number` tells it from others."""

    number: int
    job_id: str
    verdict: Verdict
