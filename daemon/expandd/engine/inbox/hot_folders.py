"""Starts, stops and replaces the inboxes that are served, one by one, while the rest goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from expandd.domain.settings import HotFolder
from expandd.engine.flow.heartbeat import Heartbeats
from expandd.engine.inbox.inbox import Inbox
from expandd.engine.inbox.intake import Intake
from expandd.engine.supervisor import Supervisor


class HotFolders:
    """The served inboxes by directory. Two of them never work on one directory at the same time."""

    def __init__(
        self,
        *,
        make: Callable[[HotFolder], Inbox],
        intake: Intake,
        heartbeats: Heartbeats,
        supervisor: Supervisor,
    ) -> None:
        self._make = make
        self._intake = intake
        self._heartbeats = heartbeats
        self._supervisor = supervisor
        self._inboxes: dict[Path, Inbox] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[Path, asyncio.Task[None]] = {}

    @property
    def inboxes(self) -> tuple[Inbox, ...]:
        return tuple(self._inboxes.values())

    @property
    def busy(self) -> frozenset[Path]:
        """The directories in use, including those of inboxes that are being stopped."""
        return frozenset(self._inboxes) | frozenset(self._running)

    def run_in(self, tasks: asyncio.TaskGroup) -> None:
        """Start all served inboxes; inboxes that are added later start at once."""
        self._tasks = tasks
        for inbox in self.inboxes:
            self._begin(inbox)

    def serve(self, folders: Sequence[HotFolder]) -> None:
        """Serve exactly these folders. An inbox whose settings are unchanged goes on undisturbed."""
        wanted = {folder.inbox: folder for folder in folders}
        for path, inbox in tuple(self._inboxes.items()):
            if wanted.get(path) != inbox.folder:
                self._intake.stop_serving(inbox)
                inbox.end()
                del self._inboxes[path]
        added = [self._add(folder) for path, folder in wanted.items() if path not in self._inboxes]
        self._inboxes = {path: self._inboxes[path] for path in wanted}
        if self._tasks is not None:
            for inbox in added:
                self._begin(inbox)

    def _add(self, folder: HotFolder) -> Inbox:
        inbox = self._inboxes[folder.inbox] = self._make(folder)
        self._intake.serve(inbox)
        return inbox

    def _begin(self, inbox: Inbox) -> None:
        assert self._tasks is not None
        path = inbox.folder.inbox
        task = self._tasks.create_task(self._live(inbox, self._running.get(path)))
        self._running[path] = task
        task.add_done_callback(lambda done: self._ended(path, done))

    async def _live(self, inbox: Inbox, before: asyncio.Task[None] | None) -> None:
        """Run an inbox to its end; it starts once the inbox that it replaces has ended."""
        if before is not None:
            await asyncio.wait({before})
        name = f"inbox {inbox.folder.inbox}"
        self._heartbeats.follow(name, inbox.heartbeat)
        try:
            await self._supervisor.keep(name, inbox.run, inbox.heartbeat)
        finally:
            self._heartbeats.forget(name, inbox.heartbeat)

    def _ended(self, path: Path, task: asyncio.Task[None]) -> None:
        if self._running.get(path) is task:
            del self._running[path]
