"""Owns whether hot folders stand on the disks they belong to: a bare mount point is never touched."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.files.mounts import Mounts, mount_id
from expandd.domain.errors import FolderAway
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import HotFolder


@dataclass(frozen=True, slots=True)
class _Seen:
    """The mount through which a directory was reached: its number, and where it is mounted."""

    mount: int
    point: Path


class Standing:
    """Knows the directories of `folders`, and through which mount each was reached first. For threads."""

    def __init__(self, folders: Iterable[HotFolder] = ()) -> None:
        self._required: dict[Path, Path | None] = {}
        self._seen: dict[Path, _Seen] = {}
        self.know(folders)

    def know(self, folders: Iterable[HotFolder]) -> None:
        """Judge the directories of these as they say; those known before are still known, for the jobs in hand."""
        told = {
            root: folder.require_mount
            for folder in folders
            for root in (folder.inbox, folder.outbox, folder.done, folder.error)
        }
        # Other threads are reading the old one.
        self._required = {**self._required, **told}

    def check(self, path: Path) -> None:
        """Raise FolderAway when `path` belongs to a hot folder whose disk is not mounted, OSError when none can tell.

        It is not when `require_mount` is no mount point, or when the mount through which the directory was reached
        before has gone and left the directory below it in view.
        """
        root = self._root_of(path)
        if root is None:
            return
        required = self._required[root]
        if required is not None and not is_mount_point(required):
            raise _not_mounted(root, required)
        self._compare(root)

    def _root_of(self, path: Path) -> Path | None:
        """The innermost known directory that has this path."""
        # Most often it is asked for one of them; all its parents are made only where it is not.
        if path in self._required:
            return path
        return next((root for root in path.parents if root in self._required), None)

    def _compare(self, root: Path) -> None:
        number, known = mount_id(root), self._seen.get(root)
        if number is None or (known is not None and known.mount == number):
            return
        point = Mounts.read().point(number)
        if point is None:
            return
        if known is not None and known.point != point and known.point.is_relative_to(point):
            raise _not_mounted(root, known.point)
        self._seen[root] = _Seen(number, point)


def is_mount_point(path: Path) -> bool:
    """Whether something is mounted at `path`, bind mounts too, which have the device of what is around them.

    Raises OSError when that cannot be told just now.
    """
    real = Path(os.path.realpath(path))
    here = mount_id(real)
    return here is not None and (real.parent == real or here != mount_id(real.parent))


def _not_mounted(root: Path, point: Path) -> FolderAway:
    return FolderAway(
        PauseReason.INBOX_UNAVAILABLE,
        f"Nothing is mounted at {printable(point)}, where {printable(root)} belongs. Mount it; "
        "expandd goes on by itself.",
    )
