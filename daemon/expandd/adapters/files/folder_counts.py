"""Owns counting what lies in hot folders: quick for a hundred thousand files, never held up by a hanging share."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.files.error_report import ENDING, is_sidecar
from expandd.adapters.files.mount_guard import Standing
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import Looking
from expandd.adapters.threads import begun
from expandd.domain.errors import FolderAway
from expandd.domain.naming import printable
from expandd.domain.selection import PAUSE_NAMES
from expandd.domain.settings import HotFolder

MOST_AGES = 5000
"""Files of an inbox whose age is asked for. Counting needs a listing only; an age needs a call for each file."""

PATIENCE = 2.0
"""Seconds that all folders together are waited for."""

REST = 10
"""A count that took long is taken for true for this many times its length, in seconds at most `LONGEST_REST`."""

LONGEST_REST = 30.0

_CUT_SIDECAR = re.compile(r".*~[0-9a-f]{8}\.error\.json", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCount:
    """What lies in one hot folder. `oldest` is when the oldest waiting file came, epoch seconds, of `aged` looked at.

    `pause` is the name of what lies in the inbox and pauses it. `away` says why it cannot be counted, "" when it can.
    """

    waiting: int = 0
    oldest: float | None = None
    aged: int = 0
    in_error: int = 0
    pause: str = ""
    away: str = ""


class _Count:
    """One count under way, or over."""

    def __init__(self, folder: HotFolder) -> None:
        self.folder = folder
        self.found: FolderCount | None = None
        self.stale_at = float("inf")
        self._thread: threading.Thread | None = None
        try:
            self._thread = begun(self._run)
        except OSError:
            # The system has no thread left: it is tried again when it is asked for again.
            self.stale_at = float("-inf")

    def wait(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        started = time.monotonic()
        found = counted(self.folder)
        now = time.monotonic()
        self.stale_at = now + min(LONGEST_REST, REST * (now - started))
        self.found = found


class Counting:
    """Counts again and again, for whoever refreshes; a folder that hangs is asked once and then waited for."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._counts: dict[Path, _Count] = {}

    def of(self, folders: Sequence[HotFolder]) -> Sequence[FolderCount]:
        """The counts of `folders`, in their order. One that gives no answer in time is away."""
        deadline = time.monotonic() + self._patience
        counts = [self._begun(folder) for folder in folders]
        for count in counts:
            count.wait(max(0.0, deadline - time.monotonic()))
        return [count.found or _no_answer(count.folder) for count in counts]

    def _begun(self, folder: HotFolder) -> _Count:
        count = self._counts.get(folder.inbox)
        if count is None or count.folder != folder or count.stale_at <= time.monotonic():
            count = self._counts[folder.inbox] = _Count(folder)
        return count


def counted(folder: HotFolder) -> FolderCount:
    """Count what waits in the inbox and what lies in the error folder."""
    try:
        Standing([folder]).check(folder.inbox)
        looking = Looking(Roots.of([folder]))
        waiting, ages = 0, _Ages()
        for found in looking.waiting_files(folder.inbox, recursive=folder.recursive):
            waiting += 1
            ages.look(found.entry)
        in_error = sum(1 for _ in _failed_files(folder, looking))
        pause = looking.first_there(folder.inbox, PAUSE_NAMES)
    except FolderAway as error:
        return FolderCount(away=str(error))
    except OSError as error:
        what = printable(error.filename or folder.inbox)
        return FolderCount(away=f"{what} cannot be read ({error.strerror}). Is its disk mounted?")
    return FolderCount(waiting=waiting, oldest=ages.oldest, aged=ages.looked, in_error=in_error, pause=pause)


class _Ages:
    def __init__(self) -> None:
        self.oldest: float | None = None
        self.looked = 0

    def look(self, entry: os.DirEntry[str]) -> None:
        if self.looked >= MOST_AGES:
            return
        try:
            # A rename into the inbox changes the ctime, and a camera's mtime may be years ago.
            came = entry.stat(follow_symlinks=False).st_ctime
        except OSError:
            return
        self.looked += 1
        self.oldest = came if self.oldest is None else min(self.oldest, came)


def _failed_files(folder: HotFolder, looking: Looking) -> Iterator[str]:
    pending = [folder.error]
    while pending:
        directory = pending.pop()
        with looking.listing(directory, must_be=directory == folder.error) as entries:
            files = []
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(directory / entry.name)
        known = frozenset(files)
        yield from (name for name in files if not _explains(directory / name, known, looking))


def _explains(path: Path, known: frozenset[str], looking: Looking) -> bool:
    """Whether a file is the sidecar of another. What its name does not tell is read."""
    name = path.name
    if not name.endswith(ENDING):
        return False
    return name[: -len(ENDING)] in known or bool(_CUT_SIDECAR.fullmatch(name)) or is_sidecar(path, looking.roots)


def _no_answer(folder: HotFolder) -> FolderCount:
    return FolderCount(away=f"The disk of {printable(folder.inbox)} gives no answer. Is the share's server there?")
