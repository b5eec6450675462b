"""Owns what is done in hot folders: claims, deliveries, originals put to rest, and nothing ever overwritten."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from expandd.adapters.disk import Disk
from expandd.adapters.folder_faults import translated
from expandd.adapters.looking import batches, events_reach, identity_of, irregular, look_at
from expandd.adapters.sidecar import sidecar, sidecar_path
from expandd.domain.errors import FolderAway, GateReason
from expandd.domain.job import FileIdentity, Job
from expandd.domain.naming import numbered
from expandd.domain.settle import Look

T = TypeVar("T")

WORK = ".expandd"
FLOOR = 1 << 20
"""Bytes that stay free in a folder beside what is put there."""


class LocalFolders:
    """Hot folders of the local file system. Blocking calls run in threads."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    async def look(self, path: Path) -> Look | None:
        return await _off_loop(path, look_at, path)

    async def irregular(self, path: Path) -> str | None:
        return await _off_loop(path, irregular, path)

    async def events_reach(self, inbox: Path) -> bool:
        return await _off_loop(inbox, events_reach, inbox)

    async def scan(self, inbox: Path, *, recursive: bool) -> AsyncIterator[Sequence[Path]]:
        found = batches(inbox, recursive=recursive, leave_out=WORK)
        try:
            while batch := await _off_loop(inbox, next, found, None):
                yield batch
        finally:
            found.close()

    async def claim(self, job: Job) -> FileIdentity | None:
        return await _off_loop(job.place.inbox, self._claim, job)

    async def identity(self, path: Path) -> FileIdentity | None:
        return await _off_loop(path, identity_of, path)

    async def digest(self, path: Path) -> str:
        return await asyncio.to_thread(self._disk.digest, path)

    async def give_back(self, job: Job) -> Path | None:
        return await _off_loop(job.place.inbox, self._return, job.work_file, job.place.inbox, job.relative)

    async def free_name(self, root: Path, relative: Path, taken: frozenset[Path]) -> Path:
        return await _off_loop(root, self._free_name, root, relative, taken)

    async def prove(self, root: Path, room: int) -> None:
        await _off_loop(root, _prove, root, room)

    async def publish(self, vaulted: Path, target: Path, sha256: str) -> bool:
        return await _off_loop(target.parent, self._publish, vaulted, target, sha256)

    async def put_away(self, source: Path, target: Path) -> bool:
        return await _off_loop(target.parent, self._put_away, source, target)

    async def discard(self, job: Job) -> None:
        await _off_loop(job.place.inbox, self._disk.remove, job.work_file)

    async def tidy(self, job: Job) -> None:
        await _off_loop(job.place.inbox, _tidy, job.work_dir)

    async def write_sidecar(self, job: Job, target: Path) -> None:
        path = sidecar_path(target)
        await _off_loop(path.parent, self._disk.replace, path, sidecar(job, target), _spare(job.id))

    async def strays(self, inbox: Path) -> Sequence[str]:
        return await _off_loop(inbox, _work_directories, inbox / WORK)

    async def return_stray(self, inbox: Path, job_id: str) -> int:
        return await _off_loop(inbox, self._return_all, inbox, inbox / WORK / job_id)

    async def directory_identity(self, directory: Path) -> tuple[int, int] | None:
        try:
            found = await asyncio.to_thread(directory.stat)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _claim(self, job: Job) -> FileIdentity | None:
        if os.path.lexists(job.work_file):
            return identity_of(job.work_file)
        source = job.place.inbox / job.relative
        if identity_of(source) is None:
            return None
        self._disk.make_directories(job.place.inbox, job.work_dir.relative_to(job.place.inbox))
        try:
            self._disk.rename(source, job.work_file)
        except FileNotFoundError:
            return None
        identity = identity_of(job.work_file)
        if identity is None:
            # Swapped for something that is no file between the look and the rename: it goes back as it came.
            job.work_file.rename(source)
        return identity

    def _return(self, held: Path, inbox: Path, relative: Path) -> Path | None:
        if identity_of(held) is None:
            return None
        directory = self._disk.make_directories(inbox, relative.parent)
        for name in numbered(relative.name):
            try:
                self._disk.move(held, directory / name, _spare(held.parent.name))
            except FileExistsError:
                continue
            return directory / name
        raise AssertionError("numbered() never ends")

    def _return_all(self, inbox: Path, work_dir: Path) -> int:
        names = [entry.name for entry in os.scandir(work_dir) if not entry.name.startswith(".")]
        returned = [self._return(work_dir / name, inbox, Path(name)) for name in names]
        _tidy(work_dir)
        return sum(path is not None for path in returned)

    def _free_name(self, root: Path, relative: Path, taken: frozenset[Path]) -> Path:
        directory = self._disk.make_directories(root, relative.parent)
        paths = (directory / name for name in numbered(relative.name))
        return next(path for path in paths if path not in taken and not os.path.lexists(path))

    def _publish(self, vaulted: Path, target: Path, sha256: str) -> bool:
        try:
            self._disk.create(target, self._disk.chunks(vaulted), _spare(vaulted.name))
        except FileExistsError:
            # The name was free when it was written down for this job alone: the same bytes there are ours, put
            # there by a try that did not live to say so.
            return self._has_digest(target, sha256)
        return True

    def _put_away(self, source: Path, target: Path) -> bool:
        if identity_of(source) is None:
            return True
        try:
            self._disk.move(source, target, _spare(source.parent.name))
        except FileExistsError:
            if not (target.samefile(source) or self._has_digest(target, self._disk.digest(source))):
                return False
            self._disk.remove(source)
        return True

    def _has_digest(self, path: Path, sha256: str) -> bool:
        try:
            return self._disk.digest(path) == sha256
        except FileNotFoundError:
            return False


async def _off_loop(folder: Path, call: Callable[..., T], *arguments: object) -> T:
    with translated(folder):
        return await asyncio.to_thread(call, *arguments)


def _prove(root: Path, room: int) -> None:
    found = os.statvfs(root)
    if found.f_flag & os.ST_RDONLY or not os.access(root, os.W_OK | os.X_OK):
        raise FolderAway(GateReason.CANNOT_STORE, f"expandd may not write into {root}. Correct its permissions.")
    if found.f_bavail * found.f_frsize < room + FLOOR or (found.f_files and not found.f_favail):
        raise FolderAway(GateReason.CANNOT_STORE, f"The disk that holds {root} is full. Make room on it.")


def _tidy(work_dir: Path) -> None:
    if not work_dir.is_dir():
        return
    for entry in os.scandir(work_dir):
        if entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
            Path(entry.path).unlink(missing_ok=True)
    if not any(os.scandir(work_dir)):
        work_dir.rmdir()


def _work_directories(work: Path) -> list[str]:
    if not work.is_dir():
        return []
    return [entry.name for entry in os.scandir(work) if entry.is_dir(follow_symlinks=False)]


def _spare(job_id: str) -> str:
    return f".expandd-{job_id}.part"
