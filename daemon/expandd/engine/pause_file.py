"""Owns the pause that a person makes with a file manager: something named PAUSE in the inbox."""

from __future__ import annotations

from pathlib import Path

from expandd.domain.errors import GateReason
from expandd.domain.selection import PAUSE_NAMES
from expandd.engine.barriers import Barrier
from expandd.engine.ports import Folders


class PauseFile:
    """Looked for now and then, and whenever the watcher speaks of it."""

    def __init__(self, inbox: Path, *, folders: Folders, barrier: Barrier) -> None:
        self._inbox = inbox
        self._folders = folders
        self._barrier = barrier

    async def look(self) -> None:
        """Shut or open the folder's barrier. Raises FolderAway."""
        self.heed(await self._folders.first_there(self._inbox, PAUSE_NAMES))

    def heed(self, name: str) -> None:
        """Shut the folder's barrier for what lies there under this name, or open it where nothing does: ""."""
        if name:
            why = f"{name} lies in the inbox and pauses this folder. Take it away and it goes on."
            self._barrier.close(GateReason.PAUSED, why)
        else:
            self._barrier.open()
