"""Locks each inbox against a second instance.

The lock is a name in the kernel (an abstract socket), so that no file stays open and the disk can be unmounted. An
attribute of the inbox's work folder holds the name, or a file in it where the file system has no attributes; nobody
else can read either. The name is random, and is replaced when another user has seen it in the kernel's list and taken
it. Beside it is the process that took it last, for when the kernel does not say who has it now. While the entry is read
and the lock taken, the work folder itself is locked for an instant.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folder_errors import raise_want
from expandd.adapters.files.roots import WORK, Roots
from expandd.adapters.locks import NameTakenError, hold
from expandd.domain.errors import InstanceRunning
from expandd.domain.naming import printable

NAME = ".lock"
"""The file in the work folder with the lock's name and the process that took it last."""

ATTRIBUTE = "user.expandd.lock"
"""The attribute of the work folder with the same content."""

MOST = 100
"""Bytes of the file that are read."""

_SPARE = ".lock.part"
_NO_ATTRIBUTE = frozenset({errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.E2BIG})
_NAME = re.compile("expandd-inbox-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class _LockEntry:
    """The entry in the work folder: the lock's name and its last owner; empty where there is none yet."""

    name: str = ""
    process: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    inbox: tuple[int, int]
    name: str
    lock: socket.socket


class InboxLocks:
    """The locks of the inboxes that this process works on. Close it to release them."""

    def __init__(self, roots: Roots | None = None, *, shared: bool = False) -> None:
        self.shared = shared
        """Whether other hosts work on them too: then the cluster's database decides which host picks files up."""
        self._disk = Disk(roots)
        self._held: dict[Path, _Held] = {}

    def take(self, inbox: Path) -> None:
        """Make the inbox's work folder where it is missing, and lock it unless it is still locked.

        A newly made or mounted inbox is another one, with another lock. Raises InstanceRunning, OSError.
        """
        self._disk.make_directories(inbox, Path(WORK))
        if self.shared:
            return
        identity, held = self._identity(inbox), self._held.get(inbox)
        if held is not None and held.inbox == identity and self._entry(inbox).name == held.name:
            return
        with self._alone(inbox):
            name, lock = self._hold(inbox)
        self._let_go(inbox)
        self._held[inbox] = _Held(identity, name, lock)

    @property
    def held(self) -> frozenset[Path]:
        return frozenset(self._held)

    def keep_only(self, inboxes: Collection[Path]) -> frozenset[Path]:
        """Release all other inboxes, and return them."""
        others = self.held.difference(inboxes)
        for inbox in others:
            self._let_go(inbox)
        return others

    def close(self) -> None:
        self.keep_only(())

    def _hold(self, inbox: Path) -> tuple[str, socket.socket]:
        entry = self._entry(inbox)
        name, lock = entry.name, None
        try:
            lock = hold(name) if name else None
        except NameTakenError as error:
            if error.trusted or (error.trusted is None and lives(entry.process)):
                raise InstanceRunning(
                    f"The inbox {printable(inbox)} is in use by {error}. "
                    "Stop that instance first, or give this one folders of its own.",
                ) from error
        if lock is None:
            name = f"expandd-inbox-{secrets.token_hex(16)}"
            lock = hold(name)
        try:
            self._write(inbox, f"{name}\n{_process(os.getpid())}\n".encode())
        except OSError:
            lock.close()
            raise
        return name, lock

    def _entry(self, inbox: Path) -> _LockEntry:
        lines = self._read(inbox).decode("ascii", "replace").splitlines()
        # An entry that is not ours, or is incomplete, is ignored.
        return (
            _LockEntry(*lines) if len(lines) == len(("name", "process")) and _NAME.fullmatch(lines[0]) else _LockEntry()
        )

    def _read(self, inbox: Path) -> bytes:
        try:
            with self._opened(inbox) as work:
                return os.getxattr(work, ATTRIBUTE)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise
        try:
            with self._disk.reading(inbox / WORK / NAME) as file:
                return file.read(MOST)
        except FileNotFoundError:
            return b""

    def _write(self, inbox: Path, entry: bytes) -> None:
        try:
            with self._opened(inbox) as work:
                os.setxattr(work, ATTRIBUTE, entry)
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:
                raise
            self._disk.replace(inbox / WORK / NAME, entry, _SPARE)

    @contextmanager
    def _opened(self, inbox: Path) -> Iterator[int]:
        with self._disk.roots.directory(inbox / WORK) as walked:
            descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=walked)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _alone(self, inbox: Path) -> Iterator[None]:
        """Lock the work folder against all other processes during the block."""
        with self._opened(inbox) as work:
            fcntl.flock(work, fcntl.LOCK_EX)
            yield

    def _identity(self, inbox: Path) -> tuple[int, int]:
        with self._disk.roots.directory(inbox) as directory:
            found = os.fstat(directory)
        return found.st_dev, found.st_ino

    def _let_go(self, inbox: Path) -> None:
        held = self._held.pop(inbox, None)
        if held is not None:
            held.lock.close()


def _process(number: int) -> str:
    """A process and its start time, which distinguishes it from a later one of the same number; "" when there is none.

    Raises OSError when that cannot be told just now.
    """
    try:
        began = Path(f"/proc/{number}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except OSError as error:
        raise_want(error)
        return ""
    return f"{number} {began}"


def lives(process: str) -> bool:
    """Whether this process is still there. Raises OSError when that cannot be told just now."""
    number = process.partition(" ")[0]
    return number.isdigit() and _process(int(number)) == process
