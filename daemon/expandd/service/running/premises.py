"""Owns which hot folders are this process's: their disks known, their inboxes locked."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from expandd.adapters.files.roots import Roots
from expandd.adapters.inbox_locks import InboxLocks
from expandd.adapters.standing import Standing
from expandd.domain.errors import FolderAway, InstanceRunning
from expandd.domain.settings import HotFolder


class Premises:
    """Close it to let go of all."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.roots = Roots()
        self.locks = InboxLocks(self.roots)

    def admit(self, folders: Sequence[HotFolder]) -> None:
        """Take these too, all or none. Raises InstanceRunning.

        A folder that is away is taken when it is back.
        """
        held, standing = self.locks.held, Standing(folders)
        self.roots.know_folders(folders)
        try:
            for folder in folders:
                with contextlib.suppress(FolderAway, OSError):
                    standing.check(folder.inbox)
                    self.locks.take(folder.inbox)
        except InstanceRunning:
            self.locks.keep_only(held)
            raise
        self.standing.know(folders)

    def keep_only(self, inboxes: Collection[Path]) -> frozenset[Path]:
        """Let others have the rest, and tell what that is."""
        return self.locks.keep_only(inboxes)

    def close(self) -> None:
        self.locks.close()
