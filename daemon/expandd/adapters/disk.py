"""Owns durable file operations: what they did is still so after a power cut, and none of them overwrites a file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHUNK = 1 << 20

_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS})
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class Disk:
    """The real disk, synchronous: callers keep it off the event loop. Raises OSError."""

    def sync_directory(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directories(self, root: Path, relative: Path) -> Path:
        """`root`/`relative`, its parts made where missing. `root` itself must exist: it may be a mount point."""
        directory = root
        for part in relative.parts:
            directory /= part
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            self.sync_directory(directory.parent)
        return directory

    def create(self, target: Path, chunks: Iterable[bytes], spare: str) -> None:
        """A new file with these bytes, whole or not at all. Raises FileExistsError.

        Its bytes are written to a file without a name where the file system has such, else to the hidden name
        `spare` beside the target.
        """
        try:
            descriptor = os.open(target.parent, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _NO_UNNAMED or not target.parent.is_dir():
                raise
            self._create_by_name(target, chunks, target.parent / spare)
            return
        with os.fdopen(descriptor, "wb") as file:
            self._fill(file, chunks)
            self._give_name(file.fileno(), target)
        self.sync_directory(target.parent)

    def move(self, source: Path, target: Path, spare: str) -> None:
        """Move a file, also to another file system, or leave it alone. Raises FileExistsError rather than overwrite."""
        try:
            self.link(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(source, target, spare)
        self.sync_directory(target.parent)
        try:
            source.unlink(missing_ok=True)
        except OSError:
            # What cannot be taken away stays where it is, and is nowhere else. A share may say no and yet do it.
            if os.path.lexists(source):
                target.unlink(missing_ok=True)
            raise
        self.sync_directory(source.parent)

    def link(self, source: Path, target: Path) -> None:
        """A second name for a file; a rename where the file system has no links."""
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
            source.rename(target)

    def replace(self, target: Path, content: bytes, spare: str) -> None:
        """A small file of our own, replaced whole."""
        temporary = target.parent / spare
        with temporary.open("wb") as file:
            self._fill(file, [content])
        temporary.rename(target)
        self.sync_directory(target.parent)

    def rename(self, source: Path, target: Path) -> None:
        """On one file system, durably."""
        source.rename(target)
        self.sync_directory(target.parent)
        self.sync_directory(source.parent)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            self.sync_directory(path.parent)

    def digest(self, path: Path) -> str:
        """The sha256 of a regular file's bytes. Never follows a symlink."""
        digest = hashlib.sha256()
        with self.reading(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def chunks(self, path: Path) -> Iterator[bytes]:
        with self.reading(path) as file:
            while chunk := file.read(CHUNK):
                yield chunk

    @contextmanager
    def reading(self, path: Path) -> Iterator[IO[bytes]]:
        """A regular file, open. Raises FileNotFoundError for anything else: a link's target is none of our business."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path)) from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))
        with os.fdopen(descriptor, "rb") as file:
            yield file

    def _give_name(self, descriptor: int, target: Path) -> None:
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # With a directory given, and only then, Python follows the link in /proc to the file itself.
            os.link(f"/proc/self/fd/{descriptor}", target.name, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            os.close(directory)

    def _create_by_name(self, target: Path, chunks: Iterable[bytes], temporary: Path) -> None:
        try:
            with temporary.open("wb") as file:
                self._fill(file, chunks)
            self.link(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        self.sync_directory(target.parent)

    def _copy(self, source: Path, target: Path, spare: str) -> None:
        self.create(target, self.chunks(source), spare)
        shutil.copystat(source, target, follow_symlinks=False)

    def _fill(self, file: IO[bytes], chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
