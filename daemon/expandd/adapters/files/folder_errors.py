"""Translates an OSError in a hot folder to FolderAway, with the remedy."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expandd.adapters.files.roots import NotOurs, Roots
from expandd.domain.errors import FolderAway
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason

FLOOR = 1 << 20
"""Bytes that must stay free in a folder after a file is put there."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TOO_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})
_WANTS = _TOO_MANY_OPEN | {errno.ENOMEM}
"""Errors that are not about the path: the call lacked a descriptor or memory."""

_OF_FILE = {
    errno.EACCES: "permission denied",
    errno.EPERM: "it is not permitted, as for a file that is immutable or another user's in a sticky directory",
    errno.EXDEV: "it lies on another disk than the work folder; drop it into the inbox itself",
    errno.ENAMETOOLONG: "its name or path is too long; give it a shorter one",
    errno.EBUSY: "something is mounted there, or uses it",
    errno.ENOTEMPTY: "a directory is not empty",
    errno.EISDIR: "a directory lies in its place",
    errno.ENOTDIR: "a file lies where a directory should",
    errno.ELOOP: "a symbolic link lies in its way",
    errno.EEXIST: "something else lies in its place",
    errno.EMLINK: "it has too many names",
    errno.ETXTBSY: "it is being run",
    errno.EINVAL: "the file system does not take its name",
    errno.EILSEQ: "the file system does not take its name",
    errno.ENOENT: "a directory on its way is gone",
}
"""Errors that one file or subfolder may cause as well as the whole folder."""

_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def raise_want(error: OSError) -> None:
    """Raise the error again if it is a lack of resources: then it is unknown whether the path exists."""
    if error.errno in _WANTS:
        raise error


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Translate any OSError of the block to FolderAway with a sentence."""
    try:
        yield
    except OSError as error:
        raise folder_away(folder, error) from error


def folder_away(folder: Path, error: OSError) -> FolderAway:
    """The FolderAway for this error, taken as one of the folder."""
    if isinstance(error, NotOurs):
        return FolderAway(PauseReason.INBOX_UNAVAILABLE, error.sentence)
    of_file = _OF_FILE.get(error.errno or 0, "")
    away = _of_folder(folder, error)
    return FolderAway(
        away.reason, str(away), may_be_file=bool(of_file), detail=of_file, is_want=error.errno in _TOO_MANY_OPEN
    )


def _of_folder(folder: Path, error: OSError) -> FolderAway:
    reason, where = error.strerror or str(error), printable(folder)
    if error.errno == errno.ETIMEDOUT:
        return FolderAway(
            PauseReason.INBOX_UNAVAILABLE,
            f"The disk of {where} does not answer. Check the share's server; expandd goes on by itself.",
        )
    if error.errno in _FULL:
        return FolderAway(
            PauseReason.STORAGE_UNAVAILABLE, f"There is no room in {where} ({reason}). Make room on its disk."
        )
    if error.errno in _TOO_MANY_OPEN:
        return FolderAway(
            PauseReason.STORAGE_UNAVAILABLE,
            f"No file can be opened in {where} just now ({reason}): {remedy(error)}. expandd goes on by itself.",
        )
    if error.errno in _FORBIDDEN:
        return FolderAway(
            PauseReason.STORAGE_UNAVAILABLE,
            f"expandd is not allowed to do its work in {where} ({reason}). Correct its permissions or mount options.",
        )
    return FolderAway(
        PauseReason.INBOX_UNAVAILABLE,
        f"{where} cannot be used ({reason}). Mount it or make it again; expandd goes on by itself.",
    )


def remedy(error: OSError) -> str:
    """The remedy where a file cannot be written or opened: about the disk, or the limit of open files."""
    if error.errno in _TOO_MANY_OPEN:
        return "raise the limit of open files (LimitNOFILE= of the service)"
    return "check its disk, and make room there"


def prove_room(roots: Roots, root: Path, room: int) -> None:
    """Raise FolderAway unless the directory `root` can take a file of `room` bytes now."""
    with roots.directory(root) as directory:
        found = os.statvfs(directory)
        may = os.access(".", os.W_OK | os.X_OK, dir_fd=directory)
    if found.f_flag & os.ST_RDONLY or not may:
        raise FolderAway(
            PauseReason.STORAGE_UNAVAILABLE,
            f"expandd may not write into {printable(root)}. Correct its permissions.",
        )
    if found.f_bavail * found.f_frsize < room + FLOOR or (found.f_files and not found.f_favail):
        raise FolderAway(
            PauseReason.STORAGE_UNAVAILABLE, f"The disk that holds {printable(root)} is full. Make room on it."
        )
