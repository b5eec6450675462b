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
    """A person's file, open, as the chunks of its copy."""

    file: IO[bytes]

    def __iter__(self) -> Iterator[bytes]:
        self.file.seek(0)
        while chunk := self.file.read(CHUNK):
            yield chunk

    def copy_to(self, copy: IO[bytes]) -> None:
        """Its bytes into an empty file. Where it has holes so has the copy: a hundred gigabytes of them cost nobody."""
        end = 0
        while (start := self._data_after(end)) is not None:
            end = os.lseek(self.file.fileno(), start, os.SEEK_HOLE)
            self._copy_part(copy, start, end)
        copy.truncate(max(end, os.fstat(self.file.fileno()).st_size))

    def _copy_part(self, copy: IO[bytes], start: int, end: int) -> None:
        self.file.seek(start)
        copy.seek(start)
        while start < end and (chunk := self.file.read(min(CHUNK, end - start))):
            copy.write(chunk)
            start += len(chunk)

    def _data_after(self, position: int) -> int | None:
        """Where the next bytes begin that are no hole."""
        try:
            return os.lseek(self.file.fileno(), position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return None

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
