"""Owns how files go back into an inbox, never over another one and never twice."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.scan import Looking
from expandd.domain.naming import numbered


class Returning:
    """Blocking; raises OSError."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._looking = Looking(disk.roots)

    def file(self, held: Path, inbox: Path, relative: Path) -> Path | None:
        """Back to its place below the inbox, or beside it under a number; None where it is not there any more."""
        if self._looking.identity_of(held) is None:
            return None
        directory = self._disk.make_directories(inbox, self._looking.passable(inbox, relative.parent))
        for name in numbered(relative.name):
            try:
                self._disk.move(held, directory / name, _spare(held))
            except FileExistsError:
                if not self._is_same(directory / name, held):
                    continue
                # An earlier try got as far as this second place and did not live to take it away from the first.
                self._disk.remove(held)
            return directory / name
        raise AssertionError("numbered() never ends")

    def _is_same(self, path: Path, held: Path) -> bool:
        """Whether `path` is another name of this file, or a copy of it that came from another disk."""
        there, here = self._looking.identity_of(path), self._looking.identity_of(held)
        if there is None or here is None or there.device == here.device:
            return there == here
        return there.size == here.size and self._disk.digest(path) == self._disk.digest(held)

    def irregular(self, held: Path, source: Path) -> None:
        """Put something that is no file back as it came, not over what may have come in its place meanwhile."""
        for name in numbered(source.name):
            target = source.with_name(name)
            try:
                if self._is_directory(held):
                    # Never over a file, and over a directory only when that is empty.
                    self._disk.rename(held, target)
                else:
                    self._disk.move(held, target, _spare(held))
            except OSError as error:
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                    raise
            else:
                return

    def _is_directory(self, held: Path) -> bool:
        with self._disk.roots.spot(held) as spot:
            return stat.S_ISDIR(spot.lstat().st_mode)


def _spare(held: Path) -> str:
    return f".expandd-{held.parent.name}.part"
