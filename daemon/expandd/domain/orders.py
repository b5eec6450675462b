"""Owns what a person can order while the work goes on: the verbs, and what each is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Verb(Enum):
    """What is ordered. The first four are about one job, the others about one folder or all."""

    PAID = "paid"
    """The unknown job was paid for: give it up, pay nothing more."""
    NOT_PAID = "not-paid"
    """The unknown job was not paid for: go on as if it were new."""
    CANCEL = "cancel"
    """Send the file to the error folder, unless it may be paid for already."""
    RETRY = "retry"
    """Try at once what is put off."""
    PAUSE = "pause"
    """Begin nothing new: no claim, no upload, no paid call."""
    RESUME = "resume"
    RELEASE = "release"
    """Let go of files that a burst guard holds."""
    REDO = "redo"
    """Pay once more for these bytes, whatever is known of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A person's order; `number` tells it from others and is 0 until it is written down.

    `job_id` names a job, `inbox` a folder (None: all), `relative` a file in it that no job has yet, `sha256` bytes.
    """

    verb: Verb
    job_id: str = ""
    inbox: Path | None = None
    relative: Path | None = None
    sha256: str = ""
    number: int = 0
