"""Owns the locks that keep a second instance away from an inbox."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.kernel_lock import NameTakenError, hold
from expandd.domain.errors import InstanceRunning
from expandd.domain.naming import printable


@dataclass(frozen=True, slots=True)
class _Held:
    name: str
    lock: socket.socket


class InboxLocks:
    """The inboxes this process works on. Close it to let go of them."""

    def __init__(self) -> None:
        self._held: dict[Path, _Held] = {}

    def take(self, inbox: Path) -> None:
        """Make the inbox's work folder where it is missing, and lock it; nothing where that is still so.

        An inbox that was made anew, or mounted, is another one, with another lock. Raises InstanceRunning, OSError.
        """
        (inbox / ".expandd").mkdir(exist_ok=True)
        name, held = inbox_name(inbox), self._held.get(inbox)
        if held is not None and held.name == name:
            return
        try:
            lock = hold(name)
        except NameTakenError as error:
            raise InstanceRunning(
                f"The inbox {printable(inbox)} is in use by {error}. "
                "Stop that instance first, or give this one folders of its own.",
            ) from error
        self._let_go(inbox)
        self._held[inbox] = _Held(name, lock)

    @property
    def held(self) -> frozenset[Path]:
        return frozenset(self._held)

    def keep_only(self, inboxes: Collection[Path]) -> frozenset[Path]:
        """Let go of all others, and tell which."""
        others = self.held.difference(inboxes)
        for inbox in others:
            self._let_go(inbox)
        return others

    def close(self) -> None:
        self.keep_only(())

    def _let_go(self, inbox: Path) -> None:
        held = self._held.pop(inbox, None)
        if held is not None:
            held.lock.close()


def inbox_name(inbox: Path) -> str:
    """The kernel's name for the lock of the directory that is the inbox now. Raises OSError."""
    found = inbox.stat()
    return f"expandd-inbox-{found.st_dev}-{found.st_ino}"
