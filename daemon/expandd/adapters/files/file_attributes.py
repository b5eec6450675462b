"""Copies what a person's file is beside its bytes: its times and attributes, and as much of its mode as is harmless."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Original:
    """A person's file, open, which is to be copied."""

    file: IO[bytes]

    def copy_to(self, copy: IO[bytes]) -> None:
        """Write its bytes into an empty file. Its holes stay holes: a sparse file of 100 GB must not fill a disk."""
        source = self.file.fileno()
        for start, end in self._data():
            copy.seek(start)
            while (left := end - copy.tell()) > 0 and (chunk := os.pread(source, min(CHUNK, left), copy.tell())):
                copy.write(chunk)
        copy.truncate(os.fstat(source).st_size)

    def _data(self) -> Iterator[tuple[int, int]]:
        """From where to where there are bytes, from the beginning on; what lies between them are holes."""
        source, end = self.file.fileno(), 0
        size = os.fstat(source).st_size
        while end < size:
            try:
                start = os.lseek(source, end, os.SEEK_DATA)
                end = os.lseek(source, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                # The file system knows nothing of holes.
                start, end = end, size
            yield start, end

    def seal(self, copy: int) -> None:
        """Give the copy, which has no name yet, what it keeps of the original."""
        found = os.fstat(self.file.fileno())
        # Attributes and modes are refused by file systems that have none; the bytes are what matters.
        for name in self._attributes():
            with contextlib.suppress(OSError):
                os.setxattr(copy, name, os.getxattr(self.file.fileno(), name))
        with contextlib.suppress(OSError):
            os.fchmod(copy, sane_mode(found))
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _attributes(self) -> list[str]:
        """Those that people set. What the system reads, such as capabilities, stays behind."""
        try:
            return [name for name in os.listxattr(self.file.fileno()) if name.startswith("user.")]
        except OSError:
            return []


def sane_mode(found: os.stat_result) -> int:
    """The mode of a copy: the original's, without anything that runs; who copied it can always read and write it.

    Where the copy belongs to another user than the original did, the group may read it: it is the folder's people,
    and among them the one whose file it is.
    """
    theirs = 0o040 if found.st_uid != os.geteuid() else 0
    return found.st_mode & 0o666 | 0o600 | theirs
