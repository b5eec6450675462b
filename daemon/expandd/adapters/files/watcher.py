"""Receives inotify events as hints, through watchdog, and asks the kernel whether a watch is still alive."""

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

from expandd.adapters.bulkheads import Run, ask_each, in_thread, one_mount, starting_threads
from expandd.adapters.files.folder_errors import raise_want
from expandd.domain.errors import FolderAway
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason

_DESCRIPTORS = Path("/proc/self/fd")
_FACTS = Path("/proc/self/fdinfo")


@dataclass(frozen=True, slots=True)
class KernelWatch:
    """One watched inode, by the kernel's numbers, which on some file systems differ from those of stat."""

    descriptor: str
    number: str
    inode: int
    device: int

    def is_of(self, device: int, inode: int) -> bool:
        """Whether it watches the inode with these numbers of stat."""
        return self.inode == inode and self.device == (os.major(device) << 20 | os.minor(device))


def kernel_watches() -> frozenset[KernelWatch]:
    """All inotify watches of this process; empty where the system does not list them.

    Raises OSError when they cannot be read just now.
    """
    found: set[KernelWatch] = set()
    for name in _inotify_descriptors():
        try:
            lines = (_FACTS / name).read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise_want(error)
            continue  # closed since it was listed
        found.update(_watch(name, line) for line in lines if line.startswith("inotify "))
    return frozenset(found)


def _inotify_descriptors() -> list[str]:
    found = []
    for name in os.listdir(_DESCRIPTORS):
        try:
            if "inotify" in str((_DESCRIPTORS / name).readlink()):
                found.append(name)
        except OSError as error:
            raise_want(error)
            continue  # closed since it was listed
    return found


def _watch(descriptor: str, line: str) -> KernelWatch:
    facts = dict(part.split(":", 1) for part in line.split() if ":" in part)
    return KernelWatch(descriptor, facts["wd"], int(facts["ino"], 16), int(facts["sdev"], 16))


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
"""The logger that alone reports that the kernel's queue has overflowed and events are lost.

Without a handler, its other messages, such as that it was stopped while it read, would appear inside our log.
"""


_LIMITS = {
    errno.ENOSPC: ": the system has no inotify watches left (raise fs.inotify.max_user_watches)",
    errno.EMFILE: ": the system has no inotify instances left (raise fs.inotify.max_user_instances), or expandd has "
    "too many files open (raise LimitNOFILE= of the service)",
}


_MOST_DIRECTORIES = 1_000_000
"""Errors for more watches than the kernel allows one user."""

ASK_AGAIN = 5.0
"""Seconds after which the kernel's list of watches is read again."""

STOP = 5.0
"""Seconds for all observers to stop. One that waits for a disk stays until the end of the process."""


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    observer: BaseObserver
    emitters: tuple[EventEmitter, ...]
    kernel: frozenset[KernelWatch]
    hint: Hint


class InotifyWatcher:
    """Watches inboxes, with one observer for each mount. Close it to end the observers' threads.

    `mount_of` names the mount of a path, `observer` makes the observer of one. The kernel's list of watches is cached
    for `fresh` seconds.
    """

    def __init__(
        self,
        run: Run = in_thread,
        mount_of: Callable[[Path], str] = one_mount,
        observer: Callable[[], BaseObserver] = Observer,
        fresh: float = ASK_AGAIN,
    ) -> None:
        self._run = run
        self._mount_of = mount_of
        self._observer = observer
        self._fresh = fresh
        self._mounts: dict[str, _OfMount] = {}
        self._of: dict[Path, _OfMount] = {}
        self._reconciler = asyncio.Lock()
        self._kernel: frozenset[KernelWatch] = frozenset()
        self._asked_at = float("-inf")
        self._overflow = _Overflow(self._hint_all)
        logging.getLogger(_LOGGER).addHandler(self._overflow)

    async def watch(self, inbox: Path, *, recursive: bool, hint: Hint) -> None:
        """Call `hint` with each path that arrived, or with the inbox itself when events were lost.

        Replaces any earlier watch of the inbox. Raises FolderAway when it cannot be watched.
        """
        mount = self._mount_of(inbox)
        there = self._mounts.setdefault(mount, _OfMount(self._observer))
        if self._of.get(inbox, there) is not there:
            await self.unwatch(inbox)
        self._of[inbox] = there
        try:
            watched = await self._run(inbox, partial(there.watch, inbox, hint, recursive=recursive))
        except OSError as error:
            raise _refused(inbox, error) from error
        self._kernel |= watched.kernel
        self._asked_at = float("-inf")

    async def unwatch(self, inbox: Path) -> None:
        there = self._of.pop(inbox, None)
        if there is not None:
            with suppress(OSError):
                # A watch on a disk that does not answer cannot be ended.
                await self._run(inbox, there.unwatch, inbox)

    async def alive(self, inbox: Path) -> bool:
        """Whether the kernel still watches all directories of the inbox, and both threads still run."""
        there = self._of.get(inbox)
        return there is not None and there.is_alive(inbox, await self._kernel_watches())

    def close(self) -> None:
        ask_each((one.stop for one in self._mounts.values()), STOP)
        logging.getLogger(_LOGGER).removeHandler(self._overflow)

    async def _kernel_watches(self) -> frozenset[KernelWatch]:
        """The kernel's watches, cached for a moment: all inboxes ask at about the same time."""
        async with self._reconciler:
            if time.monotonic() > self._asked_at + self._fresh:
                self._asked_at = time.monotonic()
                # Where no descriptor is left nothing is known anew.
                with suppress(OSError):
                    self._kernel = await asyncio.to_thread(kernel_watches)
            return self._kernel

    def _hint_all(self) -> None:
        for mount in tuple(self._mounts.values()):
            mount.hint_all()


class _OfMount:
    """The watches of one mount's inboxes. For threads: a large tree takes seconds, and a disk may never answer."""

    def __init__(self, make: Callable[[], BaseObserver]) -> None:
        self._make = make
        self._observer: BaseObserver | None = None
        self._watched: dict[Path, _Watched] = {}
        self._changing = threading.Lock()

    def watch(self, inbox: Path, hint: Hint, *, recursive: bool) -> _Watched:
        """Watch the inbox in place of any earlier watch. Raises FolderAway, OSError."""
        # A disk that does not answer holds up this thread here, and not all that wait for the lock.
        try:
            os.scandir(inbox).close()
        except OSError as error:
            raise _refused(inbox, error) from error
        # One at a time: what the kernel watches before and after tells whose watches the new ones are.
        with self._changing:
            return self._replace(inbox, hint, recursive=recursive)

    def unwatch(self, inbox: Path) -> None:
        with self._changing:
            self._end(inbox)

    def is_alive(self, inbox: Path, kernel: frozenset[KernelWatch]) -> bool:
        """Whether what was watched is among the kernel's watches, and all that listens to it lives."""
        watched, observer = self._watched.get(inbox), self._observer
        if watched is None or watched.observer is not observer or not _is_running(observer):
            return False
        # Not asked for by the observer's list: each inbox of many would go through those of all.
        listens = any(emitter.is_alive() for emitter in watched.emitters)
        return listens and bool(watched.kernel & kernel)

    def hint_all(self) -> None:
        for inbox, watched in tuple(self._watched.items()):
            watched.hint(inbox)

    def stop(self) -> None:
        observer = self._observer
        if observer is not None:
            observer.stop()
            observer.join()

    def _replace(self, inbox: Path, hint: Hint, *, recursive: bool) -> _Watched:
        self._end(inbox)
        try:
            with starting_threads():
                observer = self._running()
                before = _kernel_watches_of(observer)
                watch = observer.schedule(_Handler(hint), str(inbox), recursive=recursive, event_filter=_KINDS)
            found = inbox.stat()
            after = _kernel_watches_of(observer)
        except OSError as error:
            raise _refused(inbox, error) from error
        kernel = _own(after, before, found.st_dev, found.st_ino)
        watched = _Watched(watch, observer, tuple(_emitters(observer, watch)), kernel, hint)
        if not watched.kernel or (recursive and len(after - before) < _directories(inbox)):
            # watchdog ignores such refusals and looks alive.
            _unschedule(observer, watch)
            raise _refused(inbox, OSError(errno.ENOSPC, ""))
        self._watched[inbox] = watched
        return watched

    def _end(self, inbox: Path) -> None:
        watched = self._watched.pop(inbox, None)
        # An observer that replaced a dead one does not know the dead one's watches.
        if watched is not None and self._observer is not None and _emitters(self._observer, watched.watch):
            _unschedule(self._observer, watched.watch)

    def _running(self) -> BaseObserver:
        if self._observer is None or not _is_running(self._observer):
            if self._observer is not None:
                # Otherwise the dead one's emitters live on, each with its thread and its descriptors.
                self._observer.stop()
            self._observer = None
            observer = self._make()
            observer.daemon = True
            observer.start()
            self._observer = observer
        return self._observer


def _emitters(observer: BaseObserver, watch: ObservedWatch) -> list[EventEmitter]:
    return [emitter for emitter in tuple(observer.emitters) if emitter.watch == watch]


def _kernel_watches_of(observer: BaseObserver) -> frozenset[KernelWatch]:
    """The kernel's watches of this observer only: those of other mounts change meanwhile. Raises OSError."""
    descriptor = getattr(getattr(observer, "_inotify_fd", None), "_inotify_fd", None)
    return frozenset(one for one in kernel_watches() if descriptor is None or one.descriptor == str(descriptor))


def _is_running(observer: BaseObserver) -> bool:
    """Whether both of its threads run: the one that dispatches events, and the one that reads them for all inboxes."""
    # A private thread since watchdog 7; no public call says that it has died.
    reader = getattr(observer, "_inotify_fd", None)
    return observer.is_alive() and (reader is None or reader.is_alive())


def _unschedule(observer: BaseObserver, watch: ObservedWatch) -> None:
    """End a watch, and its thread. watchdog stops half-way where directories have changed places."""
    emitters = _emitters(observer, watch)
    groups = [getattr(emitter, "_inotify", None) for emitter in emitters]
    try:
        observer.unschedule(watch)
    except KeyError:
        for emitter, group in zip(emitters, groups, strict=True):
            if group is not None:
                _deactivate(group)
            emitter.join()


def _deactivate(group: InotifyWatchGroup) -> None:
    """End the watch of one tree: each failed try has dropped at least one of its directories."""
    for _ in range(_MOST_DIRECTORIES):
        with suppress(KeyError):
            group.deactivate()
            return


class _Handler(FileSystemEventHandler):
    """Passes paths on and does nothing else: a handler that raises would silence all folders permanently."""

    def __init__(self, hint: Hint) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        # A file moved within the inbox matters under its new name; one moved in arrives as created.
        self._hint(Path(os.fsdecode(event.dest_path or event.src_path)))


class _Overflow(logging.Handler):
    """Receives watchdog's report that events were lost."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._tell()


def _refused(inbox: Path, error: OSError) -> FolderAway:
    reason = _LIMITS.get(error.errno or 0) or f" ({error.strerror or error})"
    return FolderAway(
        PauseReason.INBOX_UNAVAILABLE, f"{printable(inbox)} cannot be watched{reason}; it is tried again by itself."
    )


def _directories(inbox: Path) -> int:
    """The number of watchable directories in a tree. Those of the work folder come and go, and need no watch."""
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
    """The inbox's own watches: those of its inode, or the new ones where the kernel numbers inodes differently."""
    by_inode = frozenset(watch for watch in after if watch.is_of(device, inode))
    return by_inode or after - before
