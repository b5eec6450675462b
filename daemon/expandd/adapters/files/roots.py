"""Opens files below folders that people can write to: walks each path by descriptors and follows no link.

A root (an inbox, an outbox, ...) is opened for each call, because an open descriptor would prevent unmounting its disk.
The path to a root is the administrator's: links of root or of this user are followed on it. Below a root no link is
followed, and a work folder with all its content must be this user's own.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import pwd
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder

_OPENAT2 = 437
_NO_SYMLINKS = 0x04
_CWD = -100
_UNKNOWN = frozenset({errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL, errno.ELOOP, errno.EAGAIN, errno.ENOTDIR})


def open_plainly(path: Path) -> int:
    """A descriptor of the file at `path`. Raises OSError, also for a link."""
    return os.open(path, _READ)


class _How(ctypes.Structure):
    """The kernel's struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def opened_without_links(path: str, flags: int) -> int | None:
    """A descriptor; None where the path contains a link, or the kernel lacks the call: then the caller walks."""
    how = _How(flags, 0, _NO_SYMLINKS)
    found: int = _syscall()(_OPENAT2, _CWD, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if found >= 0:
        return found
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return None
    raise OSError(number, os.strerror(number), path)


@functools.cache
def _syscall() -> Any:
    return ctypes.CDLL(None, use_errno=True).syscall


WORK = ".expandd"
"""The name of a work folder."""

PRIVATE = 0o700

_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OpenFile = Callable[[Path], int]
"""Opens a regular file for reading and follows no link; raises OSError."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
_MOST_LINKS = 40


class NotOurs(OSError):
    """A part of the path was made by a user who may not decide where it leads."""

    def __init__(self, sentence: str, path: Path) -> None:
        super().__init__(errno.EPERM, sentence, str(path))
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Spot:
    """A name in a directory that is held open."""

    directory: int
    name: str

    def lstat(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)

    def there(self) -> bool:
        """Whether any entry has the name."""
        try:
            self.lstat()
        except FileNotFoundError:
            return False
        return True

    def beside(self, name: str) -> Spot:
        return Spot(self.directory, name)

    def unlink(self) -> None:
        os.unlink(self.name, dir_fd=self.directory)

    def sync(self) -> None:
        """Sync the directory, so that its changes survive a power cut."""
        descriptor = os.open(".", _LIST, dir_fd=self.directory)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def writable(self) -> bool:
        """Whether entries of the directory may be created and removed."""
        return os.access(".", os.W_OK | os.X_OK, dir_fd=self.directory, effective_ids=True)


class Roots:
    """The directories below which people may write, and the owner of their work folders. Safe for threads.

    Raises OSError.
    """

    def __init__(self, directories: Iterable[Path] = (), owner: int | None = None) -> None:
        self._known = {os.fspath(directory): directory for directory in directories}
        self._owner = os.geteuid() if owner is None else owner

    @classmethod
    def of(cls, folders: Iterable[HotFolder], state_dir: Path | None = None) -> Roots:
        """The roots of hot folders, for readers; the daemon's user is the owner of `state_dir`."""
        roots = cls(owner=_owner_of(state_dir))
        roots.know_folders(folders)
        return roots

    def know_folders(self, folders: Iterable[HotFolder]) -> None:
        self.know(root for folder in folders for root in folder.directories)

    def know(self, directories: Iterable[Path]) -> None:
        """Add these roots."""
        new = {os.fspath(directory): directory for directory in directories}
        if not new.keys() <= self._known.keys():
            # Other threads read the old set.
            self._known = self._known | new

    def open_file(self, path: Path) -> int:
        """Open a regular file for reading; the caller closes it. Raises FileNotFoundError for anything else."""
        with self.spot(path) as spot:
            return opened(spot, path)

    def open_own_file(self, path: Path) -> int:
        """Open a regular file of this user's own; another user's counts as missing.

        Raises NotOurs for one that others may write to: people can move files that this user made for them.
        """
        with self.spot(path) as spot:
            descriptor = opened(spot, path)
            found = os.fstat(descriptor)
            # The walk has closed its directory to others, unless the file system has no modes.
            open_to_others = found.st_mode & 0o022 and not os.fstat(spot.directory).st_mode & 0o077
        if found.st_uid == self._owner and not open_to_others:
            return descriptor
        os.close(descriptor)
        if found.st_uid != self._owner:
            raise FileNotFoundError(errno.ENOENT, "not of this user's making", str(path))
        raise NotOurs(
            f"{printable(path)} tells whether an image was paid for, and others may have written it (its mode is "
            f"{stat.S_IMODE(found.st_mode):04o}). If only expandd did, close it: "
            f"chmod 600 {shlex.quote(printable(path))}. Else move its directory away. expandd goes on by itself.",
            path,
        )

    @contextmanager
    def spot(self, path: Path) -> Iterator[Spot]:
        """The directory entry of this path; its directory must exist."""
        with self.directory(path.parent) as directory:
            yield Spot(directory, path.name)

    @contextmanager
    def directory(self, path: Path) -> Iterator[int]:
        """A directory, open with O_PATH for work in it, not for listing."""
        descriptor = self._walked(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def listing(self, path: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        """The entries of a directory. Callers may use their lstat, and nothing that follows a link."""
        with self.directory(path) as walked:
            descriptor = os.open(".", _LIST, dir_fd=walked)
            try:
                with os.scandir(descriptor) as entries:
                    yield entries
            finally:
                os.close(descriptor)

    def make_directories(self, root: Path, relative: Path) -> None:
        """Make the missing parts of `root`/`relative`, durably. `root` must exist: it may be a mount point."""
        path = root
        with contextlib.suppress(FileNotFoundError), self.directory(root / relative):
            return
        for part in relative.parts:
            path /= part
            with self.spot(path) as spot:
                try:
                    os.mkdir(part, PRIVATE if WORK in path.parts else 0o777, dir_fd=spot.directory)
                except FileExistsError:
                    continue
                spot.sync()
        with self.directory(path):
            # An existing entry may be a link, or another user's.
            return

    def _walked(self, path: Path) -> int:
        # By text: splitting paths takes longer than the calls themselves.
        text = os.fspath(path)
        each_part = f"/{WORK}/" in f"{text}/" or "/../" in f"{text}/"
        if not each_part and (whole := opened_without_links(text, _WALK)) is not None:
            return whole
        root = self.root_of(path)
        descriptor = opened_without_links(os.fspath(root), _WALK) if each_part else None
        if descriptor is None:
            descriptor = _opened_root(root, self._owner)
        here, ours = os.fspath(root), None
        for part in text.removeprefix(here).split("/"):
            if part:
                here = f"{here}/{part}"
                ours = self._owner if part == WORK else ours
                descriptor = _step(descriptor, part, here, ours)
        return descriptor

    def root_of(self, path: Path) -> Path:
        """The outermost root of this path: everything in a root is people's, even where it is a root itself."""
        # By text: making paths of all its parents takes longer than the access itself.
        text = os.fspath(path) + "/"
        end = text.find("/", 1)
        while end > 0:
            if (root := self._known.get(text[:end])) is not None:
                return root
            end = text.find("/", end + 1)
        return self._unknown(path)

    @staticmethod
    def _unknown(path: Path) -> Path:
        """The root of a path outside all known roots: the directory above its work folder, if it has one."""
        if WORK not in path.parts:
            return path
        return Path(*path.parts[: path.parts.index(WORK)])


def opened(spot: Spot, path: Path) -> int:
    """Open the regular file at `spot` for reading. Raises FileNotFoundError, naming `path`, for anything else."""
    try:
        descriptor = os.open(spot.name, _READ, dir_fd=spot.directory)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))
    return descriptor


def user_name(number: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _step(directory: int, part: str, path: str, owner: int | None) -> int:
    """Open the directory `part` of `directory`, which is `path`, and close `directory`. It must belong to `owner`."""
    try:
        if part == "..":
            raise NotADirectoryError(errno.ENOTDIR, "not a name", path)
        try:
            descriptor = os.open(part, _WALK, dir_fd=directory)
        except NotADirectoryError as error:
            if owner is not None:
                raise _not_our_own(Path(path), Spot(directory, part).lstat(), owner) from error
            raise
    finally:
        os.close(directory)
    if owner is not None:
        _prove_own(descriptor, path, owner)
    return descriptor


def _prove_own(descriptor: int, path: str, owner: int) -> None:
    """Remove others' permissions on it; where it is not the owner's, close it and raise NotOurs."""
    found = os.fstat(descriptor)
    if found.st_uid != owner:
        os.close(descriptor)
        raise _not_our_own(Path(path), found, owner)
    if found.st_mode & 0o077 and owner == os.geteuid():
        # By /proc, as an O_PATH descriptor cannot change modes. A file system without modes ignores it.
        Path(f"/proc/self/fd/{descriptor}").chmod(PRIVATE)


def _not_our_own(path: Path, found: os.stat_result, owner: int) -> NotOurs:
    is_link = "is a symbolic link and " if stat.S_ISLNK(found.st_mode) else ""
    return NotOurs(
        f"{printable(path)} {is_link}belongs to {user_name(found.st_uid)}, and expandd runs as "
        f"{user_name(owner)}: what is in work may lie in a directory of its own only. Look at what it is and "
        "move it away; expandd makes its own and goes on by itself.",
        path,
    )


def _opened_root(root: Path, owner: int) -> int:
    """Open the root by a path whose links all belong to root or the owner."""
    descriptor = os.open("/", _WALK)
    pending, links = list(reversed(root.parts[1:])), 0
    while pending:
        part = pending.pop()
        try:
            following = os.open(part, _WALK, dir_fd=descriptor)
        except NotADirectoryError:
            links += 1
            try:
                target = _trusted_link(descriptor, part, root, owner) if links <= _MOST_LINKS else _endless(root)
                following = os.open("/" if target.is_absolute() else ".", _WALK, dir_fd=descriptor)
            except OSError:
                os.close(descriptor)
                raise
            pending.extend(reversed([one for one in target.parts if one != "/"]))
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        descriptor = following
    return descriptor


def _trusted_link(directory: int, part: str, root: Path, owner: int) -> Path:
    """The target of the link, if its owner may decide where a root is."""
    handle = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = os.fstat(handle)
        if not stat.S_ISLNK(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root))
        if found.st_uid not in {0, owner}:
            raise NotOurs(
                f"On the way to {printable(root)} lies a link named {printable(part)} that {user_name(found.st_uid)} "
                "has made. Only root and expandd's own user may decide where a folder is. Remove it; expandd goes on "
                "by itself.",
                root,
            )
        return Path(os.readlink("", dir_fd=handle))
    finally:
        os.close(handle)


def _endless(root: Path) -> Path:
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(root))


def _owner_of(directory: Path | None) -> int | None:
    try:
        return None if directory is None else directory.stat().st_uid
    except OSError:
        return None
