"""Owns which hot folders are this process's: their disks known, their inboxes locked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from expandd.adapters.bulkheads import Bulkheads
from expandd.adapters.files.inbox_locks import InboxLocks
from expandd.adapters.files.mount_guard import Standing
from expandd.adapters.files.roots import Roots
from expandd.domain.errors import FolderAway, InstanceRunning
from expandd.domain.settings import HotFolder


class Premises:
    """Close it to let go of all."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.roots = Roots()
        self.locks = InboxLocks(self.roots)
        self.bulkheads = Bulkheads()

    async def admit(self, folders: Sequence[HotFolder], bulkheads: Bulkheads | None = None) -> None:
        """Take these too, all or none. Raises InstanceRunning.

        A folder that is away, or whose disk does not answer, is taken when it is back. `bulkheads` are what runs the
        calls from now on.
        """
        self.bulkheads = bulkheads or self.bulkheads
        roots = [root for one in folders for root in (one.inbox, one.outbox, one.done, one.error)]
        await asyncio.to_thread(self.bulkheads.know, roots)
        held, standing = self.locks.held, Standing(folders)
        self.roots.know_folders(folders)
        try:
            await asyncio.gather(*(self._admit(folder.inbox, standing) for folder in folders))
        except InstanceRunning:
            self.locks.keep_only(held)
            raise
        self.standing.know(folders)

    async def _admit(self, inbox: Path, standing: Standing) -> None:
        def take() -> None:
            standing.check(inbox)
            self.locks.take(inbox)

        with contextlib.suppress(FolderAway, OSError):
            await self.bulkheads.run(inbox, take)

    def keep_only(self, inboxes: Collection[Path]) -> frozenset[Path]:
        """Let others have the rest, and tell what that is."""
        return self.locks.keep_only(inboxes)

    def close(self) -> None:
        self.locks.close()
