"""The commands that people give: their verbs, what each is about, and holds, which last."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Verb(Enum):
    """The verb of a command."""

    PAID = "paid"
    """The unknown job was paid for: give it up, pay nothing more."""
    NOT_PAID = "not-paid"
    """The unknown job was not paid for: go on as if it were new."""
    CANCEL = "cancel"
    """Send the file to the error folder, unless it may be paid for already."""
    RETRY = "retry"
    """Try at once what is retrying, and once more what went to the error folder."""
    REDO = "redo"
    """Expand once more what is done, and pay for it once more."""
    PAUSE = "pause"
    """Begin nothing new: no claim, no upload, no paid call."""
    RESUME = "resume"
    DISMISS = "dismiss"
    """Show an error no more; its file stays where it lies."""
    RELEASE = "release"
    """Let go of the files that a burst guard holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A person's command, given `at` (epoch seconds); `number` tells it from others and is 0 until it is written down.

    It is about the job `job_id`, or about the file `relative` of `inbox`, or about all files of `inbox`, or of all.
    """

    verb: Verb
    at: float
    job_id: str = ""
    inbox: Path | None = None
    relative: Path | None = None
    number: int = 0


class HoldKind(Enum):
    """The kinds of holds. Each stays in force over restarts."""

    PAUSED = "paused"
    """By a person, until a person resumes it."""
    HELD = "held"
    """By the burst guard, until a person releases it."""
    RELEASED = "released"
    """Files that arrived up to then count for no burst any more."""
    CANCELLED = "cancelled"
    """Files that arrived up to then go to the error folder."""
    AGAIN = "again"
    """These bytes are expanded once more, even if they were paid for before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A command that stays in force since `at` (epoch seconds): for everything, an inbox, a file in it, or bytes."""

    kind: HoldKind
    at: float
    inbox: Path | None = None
    relative: Path | None = None
    sha256: str = ""

    @property
    def key(self) -> tuple[HoldKind, Path | None, Path | None, str]:
        """There is at most one hold of each kind for the same target."""
        return self.kind, self.inbox, self.relative, self.sha256
