"""Puts a claimed original to its rest, or away for good, if it still is the file that was claimed."""

from __future__ import annotations

from pathlib import Path

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.returns import Returning
from expandd.adapters.files.scan import Looking
from expandd.domain.job import Job


class Claimed:
    """What is not the claimed file any more, unchanged, goes back into its inbox as a new one. Raises OSError."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._looking = Looking(disk.roots)
        self._returning = Returning(disk)

    def put_away(self, job: Job, target: Path, spare: str) -> bool:
        """Move it, never over another file. True when nothing is left to be moved."""
        source = job.work_file
        if self._is_gone_or_given_back(job):
            return True
        try:
            self._disk.move(source, target, spare)
        except NotADirectoryError:
            # A link, or a file, has come in the place of a subfolder: another name is chosen.
            return False
        except FileExistsError:
            same = self._looking.identity_of(target) == self._looking.identity_of(source)
            if not (same or self.has_digest(target, self._disk.digest(source))):
                return False
            self._disk.remove(source)
        return True

    def discard(self, job: Job) -> None:
        if not self._is_gone_or_given_back(job):
            self._disk.remove(job.work_file)

    def has_digest(self, path: Path, sha256: str) -> bool:
        try:
            return self._disk.digest(path) == sha256
        except FileNotFoundError:
            return False

    def _is_gone_or_given_back(self, job: Job) -> bool:
        found = self._looking.identity_of(job.work_file)
        if found is None:
            return True
        # Where somebody has only set its date, or the file system numbers files anew, its bytes tell.
        known = job.source.sha256
        if found.is_same(job.source.identity) or (known and self.has_digest(job.work_file, known)):
            return False
        self._returning.file(job.work_file, job.place.inbox, job.relative)
        return True
