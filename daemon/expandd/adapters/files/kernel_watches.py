"""Owns what the kernel says of this process's inotify watches: the one witness a silent watcher cannot fool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.wants import raise_want

_DESCRIPTORS = Path("/proc/self/fd")
_FACTS = Path("/proc/self/fdinfo")


@dataclass(frozen=True, slots=True)
class KernelWatch:
    """One watched inode, as the kernel numbers it (on some file systems not as stat does)."""

    descriptor: str
    number: str
    inode: int
    device: int

    def is_of(self, device: int, inode: int) -> bool:
        """Whether it watches the inode that stat names so."""
        return self.inode == inode and self.device == (os.major(device) << 20 | os.minor(device))


def kernel_watches() -> frozenset[KernelWatch]:
    """All inotify watches of this process; empty where the system does not tell.

    Raises OSError when it cannot be told just now.
    """
    found: set[KernelWatch] = set()
    for name in _inotify_descriptors():
        try:
            lines = (_FACTS / name).read_text(encoding="ascii").splitlines()
        except OSError as error:
            raise_want(error)
            continue  # closed since it was listed
        found.update(_watch(name, line) for line in lines if line.startswith("inotify "))
    return frozenset(found)


def _inotify_descriptors() -> list[str]:
    found = []
    for name in os.listdir(_DESCRIPTORS):
        try:
            if "inotify" in str((_DESCRIPTORS / name).readlink()):
                found.append(name)
        except OSError as error:
            raise_want(error)
            continue  # closed since it was listed
    return found


def _watch(descriptor: str, line: str) -> KernelWatch:
    facts = dict(part.split(":", 1) for part in line.split() if ":" in part)
    return KernelWatch(descriptor, facts["wd"], int(facts["ino"], 16), int(facts["sdev"], 16))
