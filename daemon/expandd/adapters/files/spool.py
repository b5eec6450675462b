"""Keeps paid results on the local disk until their job is over (the spool)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from expandd.adapters.bulkheads import Run, in_thread
from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folder_errors import remedy
from expandd.adapters.files.mount_guard import MountGuard
from expandd.domain.errors import AccountAway, FolderAway
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason

FLOOR = 16 << 20
"""Bytes that must stay free after a result is stored: the job database shares the disk."""


_UNREADABLE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.EBADMSG, errno.EUCLEAN}
)
"""Errors that mean that stored bytes are gone or damaged."""


T = TypeVar("T")


class FileSpool:
    """One file for each job in `directory`, and reusable results by digest in `kept` below it.

    Where the disk of `directory` is unmounted, an empty directory is in view: the results are away then, not lost.
    """

    def __init__(self, directory: Path, disk: Disk, run: Run = in_thread) -> None:
        self._run = run
        self._directory = directory
        self._kept = directory / "kept"
        self._disk = disk
        self._mount_guard = MountGuard(others=(directory,))

    def incoming(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.part"

    def path(self, job_id: str) -> Path:
        return self._directory / job_id

    def finished(self, job_id: str) -> Path:
        return self._directory / f"{job_id}.finished"

    async def admit(self, job_id: str) -> None:
        await self._off_loop(self._disk.rename, self.incoming(job_id), self.path(job_id))

    async def recall(self, job_id: str) -> None:
        await self._off_loop(self._disk.rename, self.path(job_id), self.incoming(job_id))

    async def prove(self, room: int) -> None:
        found = await self._off_loop(os.statvfs, self._directory)
        if found.f_bavail * found.f_frsize < room + FLOOR:
            raise AccountAway(
                PauseReason.STORAGE_UNAVAILABLE,
                f"The disk of {printable(self._directory)} is full: results could not be kept safe there. "
                "Make room; expandd goes on by itself.",
            )

    async def drop(self, job_id: str) -> None:
        def all_of_it() -> None:
            # A daemon that was killed while it finished an image leaves a part, under a name with its process id.
            parts = self._directory.glob(f".{self.finished(job_id).name}-*")
            for path in (self.incoming(job_id), self.finished(job_id), *parts, self.path(job_id)):
                path.unlink(missing_ok=True)

        await self._off_loop(all_of_it)

    async def keep(self, job_id: str, sha256: str) -> None:
        await self._off_loop(self._keep, self.path(job_id), self._kept / sha256)

    async def reuse(self, sha256: str, job_id: str) -> bool:
        if not await self._off_loop(self._holds, sha256):
            return False
        await self._off_loop(self._link, self._kept / sha256, self.path(job_id))
        return True

    async def forget_older(self, before: float) -> None:
        def forget() -> None:
            if not self._kept.is_dir():
                return
            for path in self._kept.iterdir():
                # By ctime: each reuse makes a link, which keeps a used file young.
                if path.stat().st_ctime < before:
                    path.unlink(missing_ok=True)

        await self._off_loop(forget)

    def _holds(self, sha256: str) -> bool:
        """Whether the kept bytes exist and match their digest."""
        try:
            return self._disk.digest(self._kept / sha256) == sha256
        except OSError as error:
            if error.errno not in _UNREADABLE:
                # They may well match: nothing is paid again only because no file can be opened just now.
                raise
            return False

    def _keep(self, downloaded: Path, kept: Path) -> None:
        self._kept.mkdir(mode=0o700, exist_ok=True)
        if downloaded.exists() and not self._holds(kept.name):
            # The existing file is damaged: it would block every good one.
            kept.unlink(missing_ok=True)
            self._link(downloaded, kept)

    def _link(self, source: Path, target: Path) -> None:
        """Give the file a second name: unlike a copy, a link is never incomplete."""
        with contextlib.suppress(FileExistsError):
            os.link(source, target)
        self._disk.sync_directory(target.parent)

    async def _off_loop(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._run(self._directory, self._where_it_stands, call, *arguments)
        except FolderAway as error:
            raise AccountAway(PauseReason.STORAGE_UNAVAILABLE, str(error)) from error
        except OSError as error:
            raise self._unusable(error) from error

    def _where_it_stands(self, call: Callable[..., T], *arguments: object) -> T:
        self._mount_guard.check(self._directory)
        return call(*arguments)

    def _unusable(self, error: OSError) -> AccountAway:
        return AccountAway(
            PauseReason.STORAGE_UNAVAILABLE,
            f"The directory {printable(self._directory)} cannot be used ({error.strerror or error}). "
            f"Results cannot be kept safe there: {remedy(error)}; expandd goes on by itself.",
        )
