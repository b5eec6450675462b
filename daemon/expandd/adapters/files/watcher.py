"""Owns watchdog: inotify events as hints. It can go silent in many ways without a word; the kernel is asked instead."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch
from watchdog.observers.inotify import InotifyWatchGroup

from expandd.adapters.bulkheads import Run, in_thread
from expandd.adapters.files.kernel_watches import KernelWatch, kernel_watches
from expandd.adapters.threads import starting_threads
from expandd.domain.errors import FolderAway
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason

Hint = Callable[[Path], None]

# Modified and opened events would only fill the kernel's queue: a copy makes thousands of them.
_KINDS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]

_LOGGER = "watchdog"
"""It says, and nothing else does, that the kernel's queue has overflowed and events are lost.

What else it says, such as that it was stopped while it read, would stand in the middle of our log if nobody heard it.
"""


_LIMITS = {
    errno.ENOSPC: ": the system has no inotify watches left (raise fs.inotify.max_user_watches)",
    errno.EMFILE: ": the system has no inotify instances left (raise fs.inotify.max_user_instances), or expandd has "
    "too many files open (raise LimitNOFILE= of the service)",
}


_MOST_DIRECTORIES = 1_000_000
"""More than the kernel watches for one user."""

ASK_AGAIN = 5.0
"""Seconds after which the kernel is asked anew which directories it watches."""


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    kernel: frozenset[KernelWatch]
    hint: Hint


class InotifyWatcher:
    """One observer thread for all inboxes. Close it to end the thread."""

    def __init__(self, run: Run = in_thread) -> None:
        self._run = run
        self._observer: BaseObserver | None = None
        self._watched: dict[Path, _Watched] = {}
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self._kernel: frozenset[KernelWatch] = frozenset()
        self._asked_at = float("-inf")
        self._overflow = _Overflow(self._hint_all)
        logging.getLogger(_LOGGER).addHandler(self._overflow)

    async def watch(self, inbox: Path, *, recursive: bool, hint: Hint) -> None:
        """Call `hint` with each path that came in, or with the inbox itself when events were lost.

        Replaces any earlier watch of the inbox. Raises FolderAway when it cannot be watched.
        """
        try:
            await self._run(inbox, partial(self._watch, inbox, hint, recursive=recursive))
        except OSError as error:
            raise _refused(inbox, error) from error

    async def unwatch(self, inbox: Path) -> None:
        with suppress(OSError):
            # A watch on a disk that does not answer ends with that disk.
            await self._run(inbox, self._unwatch, inbox)

    async def alive(self, inbox: Path) -> bool:
        """Whether the kernel still watches what was watched, and both threads still listen."""
        if time.monotonic() > self._asked_at + ASK_AGAIN:
            await asyncio.to_thread(self._kernel_watches)
        return self._alive(inbox)

    def close(self) -> None:
        with self._lock:
            observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()
        logging.getLogger(_LOGGER).removeHandler(self._overflow)

    # --- in threads: a large tree takes seconds ---

    def _watch(self, inbox: Path, hint: Hint, *, recursive: bool) -> None:
        # A disk that does not answer holds up this thread here, and not all that wait for the lock.
        try:
            os.scandir(inbox).close()
        except OSError as error:
            raise _refused(inbox, error) from error
        # One at a time: what the kernel watches before and after tells whose watches the new ones are.
        with self._changing:
            self._replace(inbox, hint, recursive=recursive)

    def _replace(self, inbox: Path, hint: Hint, *, recursive: bool) -> None:
        self._end(inbox)
        before = kernel_watches()
        try:
            with starting_threads():
                observer = self._running()
                watch = observer.schedule(_Handler(hint), str(inbox), recursive=recursive, event_filter=_KINDS)
            found = inbox.stat()
        except OSError as error:
            raise _refused(inbox, error) from error
        after = kernel_watches()
        watched = _Watched(watch, _own(after, before, found.st_dev, found.st_ino), hint)
        if not watched.kernel or (recursive and len(after - before) < _directories(inbox)):
            # watchdog swallows such refusals and looks alive.
            _unschedule(observer, watch)
            raise _refused(inbox, OSError(errno.ENOSPC, ""))
        self._watched[inbox] = watched
        with self._lock:
            self._asked_at = float("-inf")

    def _unwatch(self, inbox: Path) -> None:
        with self._changing:
            self._end(inbox)

    def _end(self, inbox: Path) -> None:
        watched = self._watched.pop(inbox, None)
        # An observer that took the place of a dead one knows nothing of the dead one's watches.
        if watched is not None and self._observer is not None and self._emitters(self._observer, watched):
            _unschedule(self._observer, watched.watch)

    def _alive(self, inbox: Path) -> bool:
        watched = self._watched.get(inbox)
        if watched is None or self._observer is None or not _is_running(self._observer):
            return False
        listens = any(emitter.is_alive() for emitter in self._emitters(self._observer, watched))
        return listens and bool(watched.kernel & self._kernel_watches())

    def _kernel_watches(self) -> frozenset[KernelWatch]:
        """What the kernel said last, if that is not long ago: all inboxes ask at about the same time."""
        with self._lock:
            now = time.monotonic()
            if now > self._asked_at + ASK_AGAIN:
                self._asked_at = now
                # Where no descriptor is left nothing is known anew.
                with suppress(OSError):
                    self._kernel = kernel_watches()
            return self._kernel

    @staticmethod
    def _emitters(observer: BaseObserver, watched: _Watched) -> list[EventEmitter]:
        return [emitter for emitter in tuple(observer.emitters) if emitter.watch == watched.watch]

    def _running(self) -> BaseObserver:
        with self._lock:
            if self._observer is None or not _is_running(self._observer):
                if self._observer is not None:
                    # The dead one's helpers live on otherwise, each with its thread and its descriptors.
                    self._observer.stop()
                self._observer = None
                observer = Observer()
                observer.daemon = True
                observer.start()
                self._observer = observer
            return self._observer

    def _hint_all(self) -> None:
        for inbox, watched in tuple(self._watched.items()):
            watched.hint(inbox)


def _is_running(observer: BaseObserver) -> bool:
    """Whether both of its threads live: the one that hands events on, and the one that reads them for all inboxes."""
    # Its own since watchdog 7; nothing public tells that it has died.
    reader = getattr(observer, "_inotify_fd", None)
    return observer.is_alive() and (reader is None or reader.is_alive())


def _unschedule(observer: BaseObserver, watch: ObservedWatch) -> None:
    """End a watch, and its thread. watchdog stops half-way where directories have changed places."""
    emitters = [emitter for emitter in tuple(observer.emitters) if emitter.watch == watch]
    groups = [getattr(emitter, "_inotify", None) for emitter in emitters]
    try:
        observer.unschedule(watch)
    except KeyError:
        for emitter, group in zip(emitters, groups, strict=True):
            if group is not None:
                _deactivate(group)
            emitter.join()


def _deactivate(group: InotifyWatchGroup) -> None:
    """End what watches one tree: each try that fails has forgotten at least one of its directories."""
    for _ in range(_MOST_DIRECTORIES):
        with suppress(KeyError):
            group.deactivate()
            return


class _Handler(FileSystemEventHandler):
    """Hands paths on and does nothing else: a handler that raises would silence all folders for good."""

    def __init__(self, hint: Hint) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        # A file moved within the inbox matters under its new name; one moved in arrives as created.
        self._hint(Path(os.fsdecode(event.dest_path or event.src_path)))


class _Overflow(logging.Handler):
    """Hears watchdog say that events were lost."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._tell()


def _refused(inbox: Path, error: OSError) -> FolderAway:
    reason = _LIMITS.get(error.errno or 0) or f" ({error.strerror or error})"
    return FolderAway(PauseReason.INBOX_UNAVAILABLE, f"{printable(inbox)} cannot be watched{reason}.")


def _directories(inbox: Path) -> int:
    """Directories in a tree that can be watched. The work folder's come and go, and nobody needs their watches."""
    count = 0
    for below, names, _ in os.walk(inbox):
        if Path(below) == inbox:
            names[:] = [name for name in names if name != ".expandd"]
        names[:] = [name for name in names if os.access(Path(below, name), os.R_OK)]
        count += 1
    return count


def _own(
    after: frozenset[KernelWatch], before: frozenset[KernelWatch], device: int, inode: int
) -> frozenset[KernelWatch]:
    """The inbox's own watches: those of its inode, or, where the kernel numbers inodes otherwise, the new ones."""
    by_inode = frozenset(watch for watch in after if watch.is_of(device, inode))
    return by_inode or after - before
