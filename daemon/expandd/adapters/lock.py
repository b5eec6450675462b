"""Owns the locks that keep a second instance away from a state directory or an inbox."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from expandd.domain.errors import InstanceRunning


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which names its holder for whoever comes second.

    Raises InstanceRunning, naming the first, when another process has it. The kernel lets go of it when a process
    dies, however it dies, so that a lock is never stale.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InstanceRunning(
                f"{what} is in use by {_name(descriptor)}. "
                "Stop that instance first, or give this one folders of its own.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class InboxLocks:
    """The inboxes this process works on. Close it to let go of them."""

    def __init__(self) -> None:
        self._held: dict[Path, tuple[ExitStack, tuple[int, int]]] = {}

    def take(self, inbox: Path) -> None:
        """Make the inbox's work folder where it is missing, and lock it; nothing where that is still so.

        An inbox that was made anew, or mounted, is another one, with another lock. Raises InstanceRunning, OSError.
        """
        path = inbox / ".expandd" / "lock"
        held = self._held.get(inbox)
        if held is not None and held[1] == _identity(path):
            return
        path.parent.mkdir(exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(locked(path, f"The inbox {inbox}"))
            kept = stack.pop_all(), _identity(path) or (0, 0)
        self._let_go(inbox)
        self._held[inbox] = kept

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
            held[0].close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def holder(path: Path) -> str:
    """Who holds the lock at `path`, in words, or "" when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _name(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _name(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "an unknown process"
