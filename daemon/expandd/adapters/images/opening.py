"""Opens the files that a decoder gets as descriptors, and explains why a file cannot be opened."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from pathlib import Path

from expandd.adapters.files.roots import NotOurs, OpenFile, Roots, Spot
from expandd.domain.errors import Fault, FaultCode, FileFault, Later

_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def opened(path: Path, open_file: OpenFile) -> io.FileIO:
    """The regular file at `path`. Raises FileFault where its permissions forbid it, Later for any other error."""
    try:
        file = io.FileIO(open_file(path), "rb")
    except PermissionError as error:
        raise FileFault(_denied(path)) from error
    except OSError as error:
        link = error.errno == errno.ELOOP
        raise Later("It is a symbolic link." if link else f"It cannot be opened: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Later("It is not a regular file.")
    return file


def _denied(path: Path) -> Fault:
    try:
        with Roots().spot(path) as spot:
            found = spot.lstat()
    except OSError:
        whose = ""
    else:
        whose = f" (its mode is {stat.S_IMODE(found.st_mode):04o}, its owner's user id {found.st_uid})"
    message = f"The file cannot be read: permission denied for expandd, user id {os.geteuid()}{whose}."
    what = "Give the account that expandd runs under the right to read it, with chmod or chgrp, and drop it again."
    return Fault(FaultCode.UNREADABLE, message, what)


class NewFile:
    """A file that becomes `target`, whole, when it is kept, and otherwise leaves nothing.

    Its directory is opened again each time, and below a work folder it must be the daemon's own: see `Roots`.
    Raises Later where the file cannot be made or kept.
    """

    def __init__(self, target: Path) -> None:
        self._roots = Roots()
        self._target = target
        # Each process has its own name: a decoder whose daemon has died may still be writing.
        self._partial = f".{target.name}-{os.getpid()}"
        try:
            with self._roots.spot(target) as spot:
                partial = spot.beside(self._partial)
                _remove(partial)
                self.file = io.FileIO(os.open(partial.name, _WRITE, 0o600, dir_fd=partial.directory), "r+b")
        except OSError as error:
            raise _unwritable(error) from error

    def discard(self) -> None:
        """Close the file, and remove it unless it was kept."""
        self.file.close()
        # Where its directory has gone, or was moved, there is nothing of ours to remove.
        with (
            contextlib.suppress(FileNotFoundError, NotADirectoryError, NotOurs),
            self._roots.spot(self._target) as spot,
        ):
            _remove(spot.beside(self._partial))

    def keep(self) -> None:
        """Give the file its name after it is completely written and synced."""
        try:
            with self._roots.spot(self._target) as spot:
                os.replace(self._partial, spot.name, src_dir_fd=spot.directory, dst_dir_fd=spot.directory)
                spot.sync()
        except OSError as error:
            raise _unwritable(error) from error


def _remove(spot: Spot) -> None:
    with contextlib.suppress(FileNotFoundError):
        spot.unlink()


def _unwritable(error: OSError) -> Later:
    return Later(f"It cannot be written just now: {error.strerror}.")
