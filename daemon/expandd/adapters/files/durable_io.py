"""Durable file operations: each survives a power cut, and none overwrites a file.

Every path is walked (see `files.roots`), and the operation uses the descriptor of its last directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from expandd.adapters.files.roots import Roots, Spot, opened


@dataclass(frozen=True, slots=True)
class Original:
    """A person's open file, the source of a copy."""

    file: IO[bytes]

    def copy_to(self, copy: IO[bytes]) -> None:
        """Write its bytes into an empty file and keep its holes: a sparse file of 100 GB must not fill a disk."""
        source = self.file.fileno()
        for start, end in self._data():
            copy.seek(start)
            while (left := end - copy.tell()) > 0 and (chunk := os.pread(source, min(CHUNK, left), copy.tell())):
                copy.write(chunk)
        copy.truncate(os.fstat(source).st_size)

    def _data(self) -> Iterator[tuple[int, int]]:
        """The start and end of each range of bytes, in order; between them are holes."""
        source, end = self.file.fileno(), 0
        size = os.fstat(source).st_size
        while end < size:
            try:
                start = os.lseek(source, end, os.SEEK_DATA)
                end = os.lseek(source, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                # The file system does not support holes.
                start, end = end, size
            yield start, end

    def seal(self, copy: int) -> None:
        """Set the attributes of the copy before it has a name."""
        found = os.fstat(self.file.fileno())
        # File systems without attributes and modes refuse them; only the bytes matter.
        for name in self._attributes():
            with contextlib.suppress(OSError):
                os.setxattr(copy, name, os.getxattr(self.file.fileno(), name))
        with contextlib.suppress(OSError):
            os.fchmod(copy, sane_mode(found))
        os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _attributes(self) -> list[str]:
        """The attributes that people set, without those that the system reads, such as capabilities."""
        try:
            return [name for name in os.listxattr(self.file.fileno()) if name.startswith("user.")]
        except OSError:
            return []


def sane_mode(found: os.stat_result) -> int:
    """The mode of a copy: the original's without execute bits, and always readable and writable for its owner.

    Where the copy belongs to another user than the original, the group may read it: it is the folder's people,
    including the owner of the original.
    """
    theirs = 0o040 if found.st_uid != os.geteuid() else 0
    return found.st_mode & 0o666 | 0o600 | theirs


_NO_REPLACE = 1
_UNKNOWN = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def rename_to_free_name(source: Spot, target: Spot) -> None:
    """Rename without overwriting. Raises FileExistsError where the name is taken.

    On a file system without such a rename, this first checks whether the name is free.
    """
    try:
        _rename_no_replace(source, target)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        if target.there():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target.name) from error
        os.rename(source.name, target.name, src_dir_fd=source.directory, dst_dir_fd=target.directory)


def _rename_no_replace(source: Spot, target: Spot) -> None:
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    names = os.fsencode(source.name), os.fsencode(target.name)
    if rename(source.directory, names[0], target.directory, names[1], _NO_REPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source.name)


CHUNK = 1 << 20

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Content = Iterable[bytes] | Original
"""Writes the content of a new file."""

_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOSYS})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


class Disk:
    """The real disk, synchronous: callers keep it off the event loop. Raises OSError."""

    def __init__(self, roots: Roots | None = None) -> None:
        self.roots = roots or Roots()

    def sync_directory(self, directory: Path) -> None:
        with self.roots.directory(directory) as descriptor:
            Spot(descriptor, "").sync()

    def make_directories(self, root: Path, relative: Path) -> Path:
        """Make the missing parts of `root`/`relative`. `root` itself must exist: it may be a mount point."""
        self.roots.make_directories(root, relative)
        return root / relative

    def create(self, target: Path, content: Content, spare: str) -> None:
        """Create a file with these bytes, whole or not at all. Raises FileExistsError.

        Its bytes are first written to a file without a name where the file system supports that, else to the hidden
        name `spare` beside the target.
        """
        with self.roots.directory(target.parent) as directory:
            try:
                descriptor = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, _mode(content), dir_fd=directory)
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
                self._create_by_name(target, content, target.parent / spare)
                return
        with os.fdopen(descriptor, "wb") as file:
            self._fill(file, content)
            _seal(file, content)
            self._give_name(file.fileno(), target)
        self.sync_directory(target.parent)

    def move(self, source: Path, target: Path, spare: str) -> None:
        """Move a file, also to another file system, or leave it alone. Raises FileExistsError rather than overwrite."""
        with self.roots.spot(source) as held:
            before = held.lstat()
            try:
                self._second(held, source, target, spare)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(source, target, spare)
            self.sync_directory(target.parent)
            try:
                self._take_away(held, before)
            except OSError:
                # A file that cannot be removed stays in its one place. A share may refuse and still carry it out.
                if held.there():
                    self._unlink(target)
                raise
        self.sync_directory(source.parent)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; rename it where the file system has no links."""
        with self.roots.spot(source) as held, self.roots.spot(target) as free:
            try:
                os.link(
                    held.name,
                    free.name,
                    src_dir_fd=held.directory,
                    dst_dir_fd=free.directory,
                    follow_symlinks=False,
                )
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                rename_to_free_name(held, free)

    def replace(self, target: Path, content: bytes, spare: str, mode: int = 0o666) -> None:
        """Replace a small file of our own, whole. The umask applies to its mode."""
        with self.roots.spot(target) as spot:
            descriptor, temporary = _exclusive(spot.beside(spare), mode)
            with os.fdopen(descriptor, "wb") as file:
                self._fill(file, [content])
            os.rename(temporary.name, spot.name, src_dir_fd=spot.directory, dst_dir_fd=spot.directory)
        self.sync_directory(target.parent)

    def rename(self, source: Path, target: Path) -> None:
        """Rename durably within one file system."""
        with self.roots.spot(source) as held, self.roots.spot(target) as free:
            os.rename(held.name, free.name, src_dir_fd=held.directory, dst_dir_fd=free.directory)
        self.sync_directory(target.parent)
        self.sync_directory(source.parent)

    def remove(self, path: Path) -> None:
        self._unlink(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
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
        """Open a regular file. Raises FileNotFoundError for anything else: links are not followed."""
        with os.fdopen(self.roots.open_file(path), "rb") as file:
            yield file

    def _second(self, held: Spot, source: Path, target: Path, spare: str) -> None:
        """Make the file available at `target` too; as a copy where a link would keep unsafe mode bits."""
        if _keeps_trouble(held, source):
            self._copy(source, target, spare)
        else:
            self.link(source, target)

    def _take_away(self, held: Spot, before: os.stat_result) -> None:
        """Remove the first name of a file that has a second one now, unless another file has taken that name."""
        try:
            now = held.lstat()
            if (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino):
                held.unlink()
        except FileNotFoundError:
            return

    def _give_name(self, descriptor: int, target: Path) -> None:
        with self.roots.spot(target) as free:
            # Only with a directory given does Python follow the link in /proc to the file itself.
            os.link(f"/proc/self/fd/{descriptor}", free.name, dst_dir_fd=free.directory, follow_symlinks=True)

    def _create_by_name(self, target: Path, content: Content, temporary: Path) -> None:
        with self.roots.spot(temporary) as spot:
            descriptor, hidden = _exclusive(spot, _mode(content))
            try:
                with os.fdopen(descriptor, "wb") as file:
                    self._fill(file, content)
                    _seal(file, content)
                self.link(temporary.with_name(hidden.name), target)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    hidden.unlink()
        self.sync_directory(target.parent)

    def _copy(self, source: Path, target: Path, spare: str) -> None:
        with self.reading(source) as file:
            self.create(target, Original(file), spare)

    def _fill(self, file: IO[bytes], content: Content) -> None:
        if isinstance(content, Original):
            content.copy_to(file)
        else:
            for chunk in content:
                file.write(chunk)
        file.flush()
        os.fsync(file.fileno())

    def _unlink(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError), self.roots.spot(path) as spot:
            spot.unlink()


def _mode(content: Content) -> int:
    """The first mode of a new file. The umask applies to it, as to all that this user makes."""
    return 0o600 if isinstance(content, Original) else 0o666


def _seal(file: IO[bytes], content: Content) -> None:
    """Set the mode and the times before the file has its name."""
    if isinstance(content, Original):
        content.seal(file.fileno())
        os.fsync(file.fileno())


def _exclusive(spot: Spot, mode: int) -> tuple[int, Spot]:
    """Create a file of ours under this hidden name, or under a longer one where somebody keeps it taken."""
    for _ in range(2):
        try:
            return os.open(spot.name, _NEW, mode, dir_fd=spot.directory), spot
        except FileExistsError:
            # Left by an earlier try, or planted: only the name is removed, and a link's target stays.
            with contextlib.suppress(OSError):
                spot.unlink()
    spot = spot.beside(f"{spot.name.removesuffix('.part')}-{secrets.token_hex(4)}.part")
    return os.open(spot.name, _NEW, mode, dir_fd=spot.directory), spot


def _keeps_trouble(held: Spot, path: Path) -> bool:
    """Remove set-id and execute bits from a file; returns whether they remain, so that the file must be copied.

    Only its owner can change the bits of a file; a copy is ours.
    """
    mode = held.lstat().st_mode
    if not stat.S_ISREG(mode) or not mode & 0o7111:
        return False
    try:
        descriptor = opened(held, path)
    except OSError:
        # It can be neither read nor copied.
        return False
    try:
        os.fchmod(descriptor, mode & 0o666)
    except OSError:
        return bool(mode & (stat.S_ISUID | stat.S_ISGID))
    finally:
        os.close(descriptor)
    return False
