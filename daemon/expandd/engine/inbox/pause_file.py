"""Owns the pause that a person makes with a file manager: something named PAUSE in the inbox."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from expandd.domain.pauses import PauseReason
from expandd.domain.selection import PAUSE_NAMES
from expandd.engine.control.pauses import Barrier
from expandd.engine.ports import Folders

MOST = 16
"""Odd names of one inbox that are remembered; one is enough to pause it."""


class PauseFile:
    """Looked for now and then, and whenever the watcher speaks of it."""

    def __init__(self, inbox: Path, *, folders: Folders, barrier: Barrier) -> None:
        self._inbox = inbox
        self._folders = folders
        self._barrier = barrier
        self._seen: tuple[str, ...] = ()
        """Names that nobody asks for by themselves, as they were seen."""

    async def look(self, seen: Iterable[Path] = ()) -> None:
        """Shut or open the folder's barrier; `seen` are paths in the inbox that may do so. Raises FolderAway."""
        self._seen = tuple({*self._seen, *(str(path) for path in seen)} - set(PAUSE_NAMES))[:MOST]
        there = await self._folders.first_there(self._inbox, (*PAUSE_NAMES, *self._seen))
        if not there:
            self._seen = ()
        self._set(there)

    async def heed(self, name: str) -> None:
        """The same, where it is known already which of PAUSE_NAMES lies there, "" for none. Raises FolderAway."""
        if self._seen:
            await self.look()
        else:
            self._set(name)

    def _set(self, name: str) -> None:
        if name:
            why = f"{name} lies in the inbox and pauses this folder. Take it away and it goes on."
            self._barrier.close(PauseReason.PAUSED, why)
        else:
            self._barrier.open()
