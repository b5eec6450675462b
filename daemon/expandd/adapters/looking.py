"""Owns how a directory is looked at: lstat, never stat; streaming, never a whole listing in memory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from expandd.adapters.mounts import file_system_type
from expandd.domain.bounds import word
from expandd.domain.job import FileIdentity
from expandd.domain.naming import numbered
from expandd.domain.selection import ignored_because
from expandd.domain.settle import Look

BATCH = 256
"""Entries of a scan handed over at once."""

REMOTE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "overlay",
        "ceph",
        "glusterfs",
        "lustre",
        "afs",
        "vboxsf",
    }
)
"""File systems whose changes by other machines, or by layers below, make no events here. With fuse and fuse.*."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def look_at(path: Path) -> Look | None:
    found = _lstat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    # A file can have any date, whatever the job database can keep.
    return Look(found.st_dev, found.st_ino, found.st_size, word(found.st_mtime_ns), word(found.st_ctime_ns))


def first_there(directory: Path, names: Sequence[str]) -> str:
    return next((name for name in names if _lstat(directory / name) is not None), "")


def identity_of(path: Path) -> FileIdentity | None:
    look = look_at(path)
    return None if look is None else FileIdentity(look.device, look.inode, look.size, look.mtime_ns)


def irregular(path: Path) -> str | None:
    found = _lstat(path)
    if found is None:
        return None
    return next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), None)


def events_reach(directory: Path) -> bool:
    kind = file_system_type(directory)
    return kind not in REMOTE and kind != "fuse" and not kind.startswith("fuse.")


def passable(root: Path, relative: Path) -> Path:
    """`relative` as a directory can lie below `root`: a part whose name a file has taken gets a number, as files do."""
    found = root
    for part in relative.parts:
        ways = (found / name for name in numbered(part))
        found = next(way for way in ways if way.is_dir() or not os.path.lexists(way))
    return found.relative_to(root)


def batches(root: Path, *, recursive: bool, leave_out: str) -> Generator[list[Path]]:
    """Relative paths of all that is no directory, in batches. Directories that are never picked up are not entered."""
    batch: list[Path] = []
    pending = [Path()]
    while pending:
        below = pending.pop()
        with listing(root / below, must_be=below == Path()) as entries:
            for entry in entries:
                if entry.name == leave_out and below == Path():
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    batch.append(below / entry.name)
                elif recursive and ignored_because(entry.name) is None:
                    pending.append(below / entry.name)
                if len(batch) >= BATCH:
                    yield batch
                    batch = []
    if batch:
        yield batch


def listing(directory: Path, *, must_be: bool) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """The entries of a directory; none where it is gone, unless it `must_be` there."""
    try:
        return os.scandir(directory)
    except FileNotFoundError:
        # A subfolder that was there a moment ago; the inbox itself may be unmounted.
        if must_be:
            raise
        return nullcontext(iter(()))


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return None
        raise
