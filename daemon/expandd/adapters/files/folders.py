"""Claims, delivers and moves files in hot folders, and never overwrites one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from expandd.adapters.bulkheads import Run, in_thread
from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folder_errors import folder_away, prove_room, translated
from expandd.adapters.files.inbox_locks import InboxLocks
from expandd.adapters.files.mount_guard import MountGuard
from expandd.adapters.files.recovery_record import read, record_beside, written
from expandd.adapters.files.roots import WORK
from expandd.adapters.files.scan import NOTHING, RECORD_NAME, Scanner, events_reach, first_in
from expandd.adapters.files.sidecars import is_sidecar, put_beside, sidecar, sidecar_path
from expandd.domain.errors import FolderAway, InstanceRunning, SpoolDamaged
from expandd.domain.job import FileIdentity, Job, Result
from expandd.domain.naming import numbered, printable
from expandd.domain.pauses import PauseReason
from expandd.domain.selection import LEFTOVERS
from expandd.domain.settle import FileStat, Found, InboxState


class Returns:
    """Returns files to their inbox. Blocking; raises OSError."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._scanner = Scanner(disk.roots)

    def file(self, held: Path, inbox: Path, relative: Path) -> Path | None:
        """Return a file to its path in the inbox, numbered if that is taken; None where the file is gone."""
        if self._scanner.identity_of(held) is None:
            return None
        directory = self._disk.make_directories(inbox, self._scanner.passable(inbox, relative.parent))
        for name in numbered(relative.name):
            try:
                self._disk.move(held, directory / name, _spare(held.parent.name))
            except FileExistsError:
                if not self._is_same(directory / name, held):
                    continue
                # An earlier try made this second name and died before it removed the first.
                self._disk.remove(held)
            return directory / name
        raise AssertionError("numbered() never ends")

    def _is_same(self, path: Path, held: Path) -> bool:
        """Whether `path` is another name of this file, or a copy of it from another disk."""
        there, here = self._scanner.identity_of(path), self._scanner.identity_of(held)
        if there is None or here is None or there.device == here.device:
            return there == here
        return there.size == here.size and self._disk.digest(path) == self._disk.digest(held)

    def irregular(self, held: Path, source: Path) -> None:
        """Return an entry that is not a regular file to the inbox, never over another entry."""
        for name in numbered(source.name):
            target = source.with_name(name)
            try:
                if self._is_directory(held):
                    # Never over a file, and over a directory only when that is empty.
                    self._disk.rename(held, target)
                else:
                    self._disk.move(held, target, _spare(held.parent.name))
            except OSError as error:
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                    raise
            else:
                return

    def _is_directory(self, held: Path) -> bool:
        with self._disk.roots.spot(held) as spot:
            return stat.S_ISDIR(spot.lstat().st_mode)


class Originals:
    """Archives and removes originals; a file that is not the claimed one returns to its inbox. Raises OSError."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._scanner = Scanner(disk.roots)
        self._returning = Returns(disk)

    def archive(self, job: Job, target: Path, spare: str) -> bool:
        """Move the original, never over another file. True when nothing is left to move."""
        source = job.work_file
        if self._is_gone_or_given_back(job):
            return True
        try:
            self._disk.move(source, target, spare)
        except NotADirectoryError:
            # A link, or a file, has taken the place of a subfolder: another name is chosen.
            return False
        except FileExistsError:
            same = self._scanner.identity_of(target) == self._scanner.identity_of(source)
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
        found = self._scanner.identity_of(job.work_file)
        if found is None:
            return True
        # Where only its date was set, or the file system renumbered its files, the bytes decide.
        known = job.source.sha256
        if found.is_same(job.source.identity) or (known and self.has_digest(job.work_file, known)):
            return False
        self._returning.file(job.work_file, job.folder.inbox, job.relative)
        return True


T = TypeVar("T")


class LocalFolders:
    """Hot folders of the local file system. Blocking calls run in threads, and only where the right disk is mounted."""

    def __init__(
        self,
        disk: Disk,
        standing: MountGuard | None = None,
        locks: InboxLocks | None = None,
        run: Run = in_thread,
        run_together: Run | None = None,
    ) -> None:
        self._run = run
        self._run_together = run_together or run
        self._disk = disk
        self._roots = disk.roots
        self._scanner = Scanner(disk.roots)
        self._claimed = Originals(disk)
        self._returning = Returns(disk)
        self._standing = standing or MountGuard()
        self._locks = locks

    async def stat(self, path: Path) -> FileStat | None:
        return await self._off_loop(path, self._scanner.stat, path)

    async def irregular(self, path: Path) -> str | None:
        return await self._off_loop(path, self._scanner.irregular, path)

    async def first_there(self, directory: Path, names: Sequence[str]) -> str:
        return await self._off_loop(directory, self._scanner.first_there, directory, names)

    async def events_reach(self, inbox: Path) -> bool:
        return await self._off_loop(inbox, events_reach, inbox)

    async def scan(self, inbox: Path, *, recursive: bool) -> AsyncIterator[Sequence[Found]]:
        # The scan and its first batch in one call into a thread: most inboxes are empty and need no second one.
        with translated(inbox):
            found, batch = await self._run_together(
                inbox, self._where_it_stands, inbox, self._begin_scan, inbox, recursive
            )
        try:
            while batch:
                yield batch
                batch = await self._off_loop(inbox, next, found, None)
        finally:
            # Cancelled while a thread runs it: the scan ends with that thread.
            with contextlib.suppress(ValueError):
                found.close()

    async def cannot_take_because(self, inbox: Path, relative: Path) -> str | None:
        return await self._off_loop(inbox, self._scanner.cannot_take_because, inbox, relative)

    async def emptied(self, subfolder: Path) -> tuple[int, int] | None:
        return await self._off_loop(subfolder, self._scanner.emptied, subfolder)

    async def remove_emptied(self, subfolder: Path, changed: tuple[int, int]) -> bool:
        return await self._off_loop(subfolder, self._remove_emptied, subfolder, changed)

    async def claim(self, job: Job) -> FileIdentity | None:
        return await self._off_loop(job.folder.inbox, self._claim, job)

    async def identity(self, path: Path) -> FileIdentity | None:
        return await self._off_loop(path, self._scanner.identity_of, path)

    async def digest(self, path: Path) -> str:
        try:
            return await self._run(path, self._where_it_stands, path, self._disk.digest, path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise folder_away(path.parent, error) from error

    async def give_back(self, job: Job) -> Path | None:
        return await self._off_loop(
            job.folder.inbox, self._returning.file, job.work_file, job.folder.inbox, job.relative
        )

    async def bring_back(self, job: Job) -> Path | None:
        return await self._off_loop(job.folder.inbox, self._bring_back, job)

    async def free_name(self, root: Path, relative: Path, taken: frozenset[Path]) -> Path:
        return await self._off_loop(root, self._free_name, root, relative, taken)

    async def prove(self, root: Path, room: int) -> None:
        await self._off_loop(root, prove_room, self._roots, root, room)

    async def make_directories(self, root: Path, relative: Path) -> bool:
        return await self._off_loop(root, self._make_directories, root, relative)

    async def publish(self, downloaded: Path, target: Path, sha256: str) -> bool:
        return await self._off_loop(target.parent, self._publish, downloaded, target, sha256)

    async def archive(self, job: Job, target: Path) -> bool:
        return await self._off_loop(target.parent, self._archive, job, target)

    async def discard(self, job: Job) -> None:
        await self._off_loop(job.folder.inbox, self._claimed.discard, job)

    async def tidy(self, job: Job) -> None:
        await self._off_loop(job.folder.inbox, self._tidy, job.work_dir)

    async def write_sidecar(self, job: Job, target: Path) -> None:
        path = sidecar_path(target)
        await self._off_loop(path.parent, self._disk.replace, path, sidecar(job, target), _spare(job.id))

    async def write_result_sidecar(self, job: Job, result: Result, target: Path) -> None:
        await self._off_loop(job.folder.outbox, put_beside, self._disk, job, result, target, _spare(job.id))

    async def write_record(self, job: Job) -> None:
        record = job.work_dir / RECORD_NAME
        await self._off_loop(job.folder.inbox, self._disk.replace, record, written(job), _spare(job.id), 0o600)

    async def read_record(self, inbox: Path, job_id: str) -> Job | None:
        return await self._off_loop(inbox, self._read_record, inbox / WORK / job_id)

    async def remove_older(self, directory: Path, before: float) -> None:
        await self._off_loop(directory, self._remove_older, directory, before)

    async def forget_sidecar(self, failed: Path) -> None:
        await self._off_loop(failed.parent, self._forget_sidecar, failed)

    async def strays(self, inbox: Path) -> Sequence[str]:
        return await self._off_loop(inbox, self._scanner.work_directories, inbox)

    async def return_stray(self, inbox: Path, job_id: str) -> int:
        return await self._off_loop(inbox, self._return_all, inbox, inbox / WORK / job_id)

    async def inbox_state(self, inbox: Path, markers: Sequence[str] = ()) -> InboxState:
        with translated(inbox):
            return await self._run_together(inbox, self._where_it_stands, inbox, self._inbox_state, inbox, markers)

    async def directory_identity(self, directory: Path) -> tuple[int, int] | None:
        found = await self._off_loop(directory, self._stat_if_there, directory)
        return None if found is None else (found.st_dev, found.st_ino)

    async def _off_loop(self, folder: Path, call: Callable[..., T], *arguments: object) -> T:
        with translated(folder):
            return await self._run(folder, self._where_it_stands, folder, call, *arguments)

    def _where_it_stands(self, folder: Path, call: Callable[..., T], *arguments: object) -> T:
        self._standing.check(folder)
        return call(*arguments)

    def _begin_scan(self, inbox: Path, recursive: bool) -> tuple[Generator[list[Found]], Sequence[Found] | None]:
        found = self._scanner.batches(inbox, recursive=recursive, leave_out=WORK)
        return found, next(found, None)

    def _inbox_state(self, inbox: Path, markers: Sequence[str]) -> InboxState:
        if self._locks is None:
            self._disk.make_directories(inbox, Path(WORK))
        else:
            try:
                self._locks.take(inbox)
            except InstanceRunning as error:
                raise FolderAway(PauseReason.INBOX_UNAVAILABLE, str(error)) from error
        with self._roots.directory(inbox) as directory:
            found, there = os.fstat(directory), first_in(directory, markers)
        work = self._stat(inbox / WORK)
        return InboxState((found.st_dev, found.st_ino), there, (work.st_dev, work.st_ino))

    def _stat(self, directory: Path) -> os.stat_result:
        with self._roots.directory(directory) as descriptor:
            return os.fstat(descriptor)

    def _stat_if_there(self, directory: Path) -> os.stat_result | None:
        try:
            return self._stat(directory)
        except OSError as error:
            if error.errno not in NOTHING:
                # An error on opening does not always mean that it has gone.
                raise
            return None

    def _make_directories(self, root: Path, relative: Path) -> bool:
        if self._scanner.passable(root, relative.parent) != relative.parent:
            return False
        self._disk.make_directories(root, relative.parent)
        return True

    def _claim(self, job: Job) -> FileIdentity | None:
        if self._scanner.there(job.work_file):
            return self._scanner.identity_of(job.work_file)
        source = job.folder.inbox / job.relative
        if self._scanner.identity_of(source) is None or self._scanner.cannot_take_because(
            job.folder.inbox, job.relative
        ):
            return None
        self._disk.make_directories(job.folder.inbox, job.work_dir.relative_to(job.folder.inbox))
        try:
            self._disk.rename(source, job.work_file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        identity = self._scanner.identity_of(job.work_file)
        if identity is None:
            # Something that is not a file replaced it between the check and the rename.
            self._returning.irregular(job.work_file, source)
        return identity

    def _bring_back(self, job: Job) -> Path | None:
        archived_to = job.archived_to
        assert archived_to is not None, "only a job with an archived original comes here"
        home = next((root for root in (job.folder.done, job.folder.error) if archived_to.is_relative_to(root)), None)
        if home is not None and self._scanner.identity_of(archived_to) is None:
            with translated(home):
                # A folder that is away may have one.
                self._standing.check(home)
                self._stat(home)
        return self._returning.file(archived_to, job.folder.inbox, job.relative)

    def _return_all(self, inbox: Path, work_dir: Path) -> int:
        with self._scanner.listing(work_dir, must_be=True) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
        returned = [self._returning.file(work_dir / name, inbox, Path(name)) for name in names]
        self._tidy(work_dir)
        return sum(path is not None for path in returned)

    def _free_name(self, root: Path, relative: Path, taken: frozenset[Path]) -> Path:
        directory = self._disk.make_directories(root, self._scanner.passable(root, relative.parent))
        # In a folder that is away every name seems free, also those of files that are back with the folder.
        self._stat(directory)
        paths = (directory / name for name in numbered(relative.name))
        return next(path for path in paths if path not in taken and not self._scanner.there(path))

    def _publish(self, downloaded: Path, target: Path, sha256: str) -> bool:
        try:
            self._disk.create(target, self._proven(downloaded, sha256), _spare(downloaded.name))
        except FileExistsError:
            return self._is_published(target, sha256)
        except SpoolDamaged:
            # Another host may have published it before it died, and this host does not have its spool.
            if not self._is_published(target, sha256):
                raise
        except NotADirectoryError:
            # A link, or a file, has taken the place of its subfolder: another name is chosen.
            return False
        return True

    def _is_published(self, target: Path, sha256: str) -> bool:
        """Whether an earlier try of this job published the result and ended before that was stored.

        The name was free when it was reserved for this job alone: the same bytes there are ours.
        """
        return self._claimed.has_digest(target, sha256) and self._has_name(target)

    def _has_name(self, target: Path) -> bool:
        """Whether the entry has exactly this name: where case is ignored, it may be another job's, and is kept."""
        with self._scanner.listing(target.parent, must_be=True) as entries:
            return any(entry.name == target.name for entry in entries)

    def _proven(self, downloaded: Path, sha256: str) -> Iterator[bytes]:
        """The bytes; raises SpoolDamaged at their end, before the file has a name, unless the digest matches."""
        digest = hashlib.sha256()
        try:
            for chunk in self._disk.chunks(downloaded):
                digest.update(chunk)
                yield chunk
        except FileNotFoundError as error:
            raise SpoolDamaged(f"the spool does not hold {printable(downloaded.name)} any more") from error
        if digest.hexdigest() != sha256:
            raise SpoolDamaged(f"the bytes of {printable(downloaded.name)} in the spool are not the downloaded ones")

    def _archive(self, job: Job, target: Path) -> bool:
        self._standing.check(job.work_file)
        return self._claimed.archive(job, target, _spare(job.id))

    def _read_record(self, work_dir: Path) -> Job | None:
        text = record_beside(self._roots, work_dir)
        return None if text is None else read(text, work_dir.name)

    def _forget_sidecar(self, failed: Path) -> None:
        path = sidecar_path(failed)
        if not self._scanner.there(failed) and is_sidecar(path, self._roots):
            self._disk.remove(path)

    def _remove_older(self, directory: Path, before: float) -> None:
        for batch in self._scanner.batches(directory, recursive=True, leave_out=WORK):
            for found in batch:
                path = directory / found.relative
                seen = self._scanner.stat(path)
                # The ctime is the time when it was put there; the mtime is as old as the image.
                if seen is not None and seen.ctime_ns < before * 1e9:
                    self._disk.remove(path)

    def _remove_emptied(self, subfolder: Path, changed: tuple[int, int]) -> bool:
        if self._scanner.emptied(subfolder) != changed:
            return False
        try:
            with self._scanner.listing(subfolder, must_be=True) as entries:
                leftovers = [entry.name for entry in entries if entry.name.lower() in LEFTOVERS]
            for name in leftovers:
                self._disk.remove(subfolder / name)
            with self._roots.spot(subfolder) as spot:
                # Never one that has got a new entry meanwhile.
                os.rmdir(spot.name, dir_fd=spot.directory)
        except PermissionError:
            return False
        except OSError as error:
            if error.errno in {*NOTHING, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY}:
                return False
            raise
        return True

    def _tidy(self, work_dir: Path) -> None:
        """Remove the hidden files in a job's directory, and the directory if it is then empty."""
        try:
            with self._scanner.listing(work_dir, must_be=True) as entries:
                kinds = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return
        ours = {name for name, is_file in kinds.items() if is_file and name.startswith(".")}
        for name in ours:
            self._disk.remove(work_dir / name)
        if len(ours) == len(kinds):
            with self._roots.spot(work_dir) as spot:
                os.rmdir(spot.name, dir_fd=spot.directory)


def _spare(job_id: str) -> str:
    return f".expandd-{job_id}.part"
