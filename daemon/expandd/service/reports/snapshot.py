"""The snapshot: what only the running daemon knows, written to the state directory for other processes."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from expandd.adapters.json_text import read_as, read_json, write_json, written
from expandd.adapters.locks import holder
from expandd.domain.pauses import PauseReason

FILE = "snapshot.json"
LOCK = "lock"
MOST_BYTES = 16 << 20
"""Of the file: it names every job in progress, and the files of each inbox that come next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePause:
    """A pause that is shut for one folder, or for all (`inbox` is None). Times are epoch seconds."""

    inbox: Path | None
    pause: str
    reason: PauseReason
    why: str
    since: float
    again_at: float | None
    """When it is tried again at the latest; None where nobody tries, because a person or the calendar opens it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxNow:
    """One inbox as its watch sees it. `waiting` are the files known, `more` whether others wait behind them.

    `unfinished` of them are not whole, paused by name, or kept from being taken by something else. `ready` are
    inspected and next in line, relative to the inbox. `missed` files had to be found by a scan.
    """

    inbox: Path
    waiting: int
    more: bool
    missed: int
    watched: bool
    ready: tuple[Path, ...] = ()
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """When a job in progress is looked at next, epoch seconds."""

    job_id: str
    at: float


@dataclass(frozen=True, slots=True)
class LoopFailing:
    """A part of the daemon that fails again and again: since when (epoch seconds), and what it met last."""

    name: str
    since: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of the last reading of the configuration: of the start, or of a reload.

    `at` is epoch seconds, `began` the machine's monotonic ones. Where there are `errors` it was refused, and all goes
    on as before. `needs_restart` are keys whose new values the running daemon could not take.
    """

    at: float
    began: float
    errors: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it, as it was `at` (epoch seconds) in `process`, the words of the lock's holder.

    `credits` are those that the API told last, at `credits_at`; `price` is what one image took of them lately.
    """

    at: float
    process: str
    stopping: bool = False
    pauses: tuple[ActivePause, ...] = ()
    inboxes: tuple[InboxNow, ...] = ()
    due: tuple[Due, ...] = ()
    credits: Decimal | None = None
    credits_at: float | None = None
    price: Decimal | None = None
    failing: tuple[LoopFailing, ...] = ()
    account_shared_with: str = ""
    """Who of this machine works with the same account, in words; "" for nobody."""
    lost_log_lines: int = 0
    """Lines of the log that could not be written since the start."""
    reading: Reading | None = None
    """None where the configuration is read once and for all, by `once`."""

    def inbox(self, path: Path) -> InboxNow | None:
        return next((one for one in self.inboxes if one.inbox == path), None)


def write_snapshot(state_dir: Path, snapshot: Snapshot) -> None:
    """Put the snapshot where readers find it. Raises OSError."""
    # After a power cut nobody holds the lock, and then nobody believes it.
    write_json(state_dir / FILE, written(snapshot))


def live_snapshot(state_dir: Path) -> tuple[str, Snapshot | None]:
    """Who holds the state directory, "" for nobody, and what that process has told; None where it has not yet."""
    running = holder(state_dir / LOCK)
    found = last_snapshot(state_dir) if running else None
    return running, found if found is not None and found.process == running else None


def last_snapshot(state_dir: Path) -> Snapshot | None:
    """The snapshot of whichever process left one last; None when there is none that can be read."""
    try:
        with (state_dir / FILE).open("rb") as file:
            return read_as(Snapshot, read_json(file, MOST_BYTES))
    except (OSError, ValueError):
        return None
