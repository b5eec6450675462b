"""Finds the mount of a directory, and detects hot folders whose mount has gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from expandd.adapters.files.folder_errors import raise_want
from expandd.domain.errors import FolderAway
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import HotFolder


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a directory: its mount, its device, and its path inside that file system."""

    mount: int
    device: str
    inside: PurePosixPath


@dataclass(frozen=True, slots=True)
class _Mount:
    device: str
    root: str
    point: str
    kind: str
    options: frozenset[str]
    """The options of the file system itself."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """The mounts of this process at one moment; empty where the system does not list them."""

    table: Mapping[int, _Mount]

    @classmethod
    def read(cls, file: Path = Path("/proc/self/mountinfo")) -> Mounts:
        """The present mounts. Raises OSError when they cannot be read for lack of a descriptor."""
        try:
            lines = file.read_bytes().decode("utf-8", "surrogateescape").splitlines()
        except OSError as error:
            raise_want(error)
            return cls({})
        return cls(dict(_parsed(line) for line in lines))

    def point(self, number: int) -> Path | None:
        """The mount point of the mount with this number."""
        mount = self.table.get(number)
        return Path(mount.point) if mount is not None else None

    def is_soft(self, directory: Path) -> bool:
        """Whether it lies on a soft NFS mount, which reports calls as failed that a slow server may carry out later."""
        number = mount_id(directory)
        mount = self.table.get(number) if number is not None else None
        return mount is not None and mount.kind.startswith("nfs") and bool({"soft", "softerr"} & mount.options)

    def locate(self, directory: Path) -> Location | None:
        """The location of an existing directory, or None when it is unknown."""
        number = mount_id(directory)
        mount = self.table.get(number) if number is not None else None
        if number is None or mount is None:
            return None
        relative = os.path.relpath(os.path.realpath(directory), mount.point)
        if relative.startswith(".."):
            return None
        return Location(number, mount.device, PurePosixPath(mount.root) / relative)


def mount_points() -> Sequence[str]:
    """All mount points, from the kernel's table without touching a file system. Empty where it cannot be read.

    Raises OSError when it cannot be told just now.
    """
    return tuple(mount.point for mount in Mounts.read().table.values())


def _parsed(line: str) -> tuple[int, _Mount]:
    number, _, device, root, point, *_ = line.split(" ")
    kind, _, options = (*line.partition(" - ")[2].split(" ", 2), "", "")[:3]
    return int(number), _Mount(device, _unescaped(root), _unescaped(point), kind, frozenset(options.split(",")))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def mount_id(directory: Path) -> int | None:
    """The number of a directory's mount; None when the directory cannot be reached.

    Raises OSError when the number cannot be read just now, which does not mean that the mount is absent.
    """
    try:
        handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise_want(error)
        return None
    try:
        # This runs before each access to a folder: a file object would take longer than all the rest.
        told = os.open(f"/proc/self/fdinfo/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            words = os.read(told, 4096).split()
        finally:
            os.close(told)
        return int(words[words.index(b"mnt_id:") + 1])
    except OSError as error:
        raise_want(error)
        return None
    except ValueError:
        return None
    finally:
        os.close(handle)


def file_system_type(directory: Path) -> str:
    """The type of the file system of `directory` ("ext4", "nfs4", "fuse.sshfs"), or "" when unknown.

    Raises as `mount_id`.
    """
    number = mount_id(directory)
    mount = Mounts.read().table.get(number) if number is not None else None
    return mount.kind if mount is not None else ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """The mount of a directory: its number and its mount point."""

    mount: int
    point: Path


class MountGuard:
    """Remembers the first mount of each directory of `folders`, and of others. Safe for threads."""

    def __init__(self, folders: Iterable[HotFolder] = (), *, others: Iterable[Path] = ()) -> None:
        self._required: dict[Path, Path | None] = dict.fromkeys(others)
        self._known: dict[str, Path] = {}
        self._seen: dict[Path, _Seen] = {}
        self.know(folders)

    def know(self, folders: Iterable[HotFolder]) -> None:
        """Add the directories of these folders; earlier ones stay known, for the jobs in progress."""
        told = {root: folder.require_mount for folder in folders for root in folder.directories}
        # Other threads read the old mapping.
        self._required = {**self._required, **told}
        self._known = {os.fspath(root): root for root in self._required}

    def check(self, path: Path) -> None:
        """Raise FolderAway when the disk of `path` is not mounted, OSError when that cannot be checked just now.

        `path` must lie in a known directory. Its disk is not mounted when `require_mount` is no mount point, or when
        the directory's earlier mount has gone and the directory below the mount point is in view.
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
        # By text: making paths of all its parents takes longer than the access itself.
        text = os.fspath(path)
        while text:
            if (root := self._known.get(text)) is not None:
                return root
            text = text.rpartition("/")[0]
        return self._known.get("/")

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
    """Whether something is mounted at `path`, including bind mounts, which have the device of their surroundings.

    Raises OSError when that cannot be checked just now.
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
