"""Owns the lock that keeps a second instance away from a state directory."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expandd.domain.errors import InstanceRunning

LOOKS = 20
PAUSE = 0.01
"""Tries, and seconds between them: `status` and others hold the lock for an instant while they look for its holder."""


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which names its holder for whoever comes second.

    Raises InstanceRunning, naming the first, when another process has it. The kernel lets go of it when a process
    dies, however it dies, so that a lock is never stale.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            _take(descriptor)
        except BlockingIOError as error:
            raise InstanceRunning(
                f"{what} is in use by {_name(descriptor)}. "
                "Stop that instance first, or give this one folders of its own.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{this_process()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    """Raises BlockingIOError when another process has it, and not only looks whether one has."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def this_process() -> str:
    """How this process is named to others."""
    return f"process {os.getpid()} on {socket.gethostname()}"


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
