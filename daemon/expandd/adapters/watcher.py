"""Owns watchdog: inotify events as hints. It can go silent in many ways without a word; nothing relies on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
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
from watchdog.observers.api import BaseObserver, ObservedWatch

from expandd.domain.errors import FolderAway, GateReason

# Modified and opened events would only fill the kernel's queue: a copy makes thousands of them.
_KINDS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]


class _Handler(FileSystemEventHandler):
    """Hands paths on and does nothing else: a handler that raises would silence all folders for good."""

    def __init__(self, hint: Callable[[Path], None]) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        # A file moved within the inbox matters under its new name; one moved in arrives as created.
        self._hint(Path(os.fsdecode(event.dest_path or event.src_path)))


@dataclass(frozen=True, slots=True)
class _Watched:
    watch: ObservedWatch
    identity: tuple[int, int]


class InotifyWatcher:
    """One observer thread for all inboxes."""

    def __init__(self) -> None:
        self._observer: BaseObserver | None = None
        self._watched: dict[Path, _Watched] = {}
        self._lock = threading.Lock()

    def watch(self, inbox: Path, *, recursive: bool, hint: Callable[[Path], None]) -> None:
        """Replace any earlier watch of the inbox. Raises FolderAway when it cannot be watched."""
        self.unwatch(inbox)
        observer = self._running()
        try:
            found = inbox.stat()
            watch = observer.schedule(_Handler(hint), str(inbox), recursive=recursive, event_filter=_KINDS)
        except OSError as error:
            raise FolderAway(
                GateReason.FOLDER_AWAY,
                f"{inbox} cannot be watched for events ({error.strerror}).",
            ) from error
        self._watched[inbox] = _Watched(watch, (found.st_dev, found.st_ino))

    def unwatch(self, inbox: Path) -> None:
        watched = self._watched.pop(inbox, None)
        if watched is not None and self._observer is not None:
            self._observer.unschedule(watched.watch)

    def alive(self, inbox: Path) -> bool:
        watched = self._watched.get(inbox)
        if watched is None or self._observer is None or not self._observer.is_alive():
            return False
        return any(emitter.watch == watched.watch and emitter.is_alive() for emitter in self._observer.emitters)

    def close(self) -> None:
        with self._lock:
            observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def _running(self) -> BaseObserver:
        with self._lock:
            if self._observer is None or not self._observer.is_alive():
                self._observer = Observer()
                self._observer.daemon = True
                self._observer.start()
            return self._observer
