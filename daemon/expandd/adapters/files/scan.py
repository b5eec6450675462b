"""Scans directories by lstat, in batches instead of whole listings, and counts files."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.bulkheads import begun
from expandd.adapters.files.mount_guard import MountGuard, file_system_type
from expandd.adapters.files.roots import WORK, Roots, Spot, user_name
from expandd.adapters.files.sidecars import ERROR_ENDING, is_sidecar
from expandd.domain.bounds import word
from expandd.domain.errors import FolderAway
from expandd.domain.job import FileIdentity
from expandd.domain.naming import numbered, printable
from expandd.domain.selection import LEFTOVERS, PAUSE_NAMES, ignored_because, path_ignored_because
from expandd.domain.settings import HotFolder
from expandd.domain.settle import LAST, FileStat, Found

RECORD_NAME = ".job.json"
"""The name of the record beside a file in work."""

BATCH = 256
"""Entries in each batch of a scan."""

REMOTE = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "virtiofs",
        "overlay",
        "ceph",
        "glusterfs",
        "lustre",
        "afs",
        "vboxsf",
    }
)
"""File systems whose changes by other machines, or by lower layers, cause no events here; besides fuse and fuse.*."""

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)

NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Errors that mean that there is no file for expandd."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A regular file in an inbox that may be picked up. `entry` gives its lstat while the directory is listed."""

    relative: Path
    entry: os.DirEntry[str]


class Scanner:
    """Reads directories and file stats below the roots. Raises OSError."""

    def __init__(self, roots: Roots | None = None) -> None:
        self.roots = roots or Roots()

    def stat(self, path: Path) -> FileStat | None:
        found = self._lstat_below(path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        # A file can have any date, also one that the job database cannot store.
        return FileStat(found.st_dev, found.st_ino, found.st_size, word(found.st_mtime_ns), word(found.st_ctime_ns))

    def there(self, path: Path) -> bool:
        """Whether any entry has this path."""
        return self._lstat(path) is not None

    def first_there(self, directory: Path, names: Sequence[str]) -> str:
        with self.roots.directory(directory) as descriptor:
            return first_in(descriptor, names)

    def identity_of(self, path: Path) -> FileIdentity | None:
        found = self.stat(path)
        return None if found is None else FileIdentity(found.device, found.inode, found.size, found.mtime_ns)

    def irregular(self, path: Path) -> str | None:
        found = self._lstat_below(path)
        if found is None:
            return None
        kind = next((words for is_kind, words in _KINDS if is_kind(found.st_mode)), None)
        if kind == "a directory" and not self._may(path, os.R_OK | os.X_OK):
            return f"a directory that expandd may not enter (chmod g+rwx {_quoted(path)})"
        return kind

    def cannot_take_because(self, inbox: Path, relative: Path) -> str | None:
        """Why a file cannot be taken out of its subfolder, and the remedy; None where it can, or is in none.

        A moved job directory may have an image that is already paid for.
        """
        if relative.parent == Path():
            return None
        subfolder = inbox / relative.parent
        record = self._lstat(subfolder / RECORD_NAME)
        if record is not None and record.st_uid == os.geteuid():
            return (
                f"its directory {printable(subfolder)} is one of expandd's own that was moved out of the work folder, "
                f"and its image may be paid for. Move it back into {printable(inbox / WORK)}; as a new image it can be "
                "dropped again by itself"
            )
        with self.roots.directory(subfolder) as directory:
            found = os.fstat(directory)
            mine = os.geteuid() in {0, found.st_uid}
            file = self._lstat(inbox / relative)
            kept = found.st_mode & stat.S_ISVTX and not mine and file is not None and file.st_uid != os.geteuid()
            if os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True) and not kept:
                return None
        return (
            f"its subfolder {printable(subfolder)} was made by {user_name(found.st_uid)} so that expandd may not take "
            f"files out of it; its files wait. Open it to its group: chmod g+rwx,-t {_quoted(subfolder)}"
        )

    def passable(self, root: Path, relative: Path) -> Path:
        """`relative` as a usable directory below `root`: a part whose name is taken gets a number, as files do.

        A name is taken by a file, by a link, and by another user's directory that forbids others to work in it.
        """
        found = root
        for part in relative.parts:
            found = next(way for way in (found / name for name in numbered(part)) if self._passes(way))
        return found.relative_to(root)

    def batches(self, root: Path, *, recursive: bool, leave_out: str) -> Generator[list[Found]]:
        """All entries except directories, in batches. Directories that are never picked up are not entered.

        A directory that may not be entered is included like a file, so that it is reported.
        """
        batch: list[Found] = []
        pending = [Path()]
        while pending:
            below = pending.pop()
            prefix = "" if below == Path() else f"{below}/"
            try:
                with self.listing(root / below, must_be=below == Path()) as entries:
                    for entry in entries:
                        if entry.name == leave_out and below == Path():
                            continue
                        if not entry.is_dir(follow_symlinks=False):
                            batch.append(Found(_mtime(entry), prefix + entry.name))
                        elif recursive and ignored_because(entry.name) is None:
                            pending.append(below / entry.name)
                        if len(batch) >= BATCH:
                            yield batch
                            batch = []
            except PermissionError:
                if below == Path():
                    raise
                batch.append(Found(LAST, str(below)))
        if batch:
            yield batch

    def waiting_files(self, folder: HotFolder, *, subfolders: bool) -> Iterator[Waiting]:
        """All regular files in an inbox that may be picked up; those in its `subfolders` last."""
        pending = [Path()]
        while pending:
            below = pending.pop()
            try:
                with self.listing(folder.inbox / below, must_be=below == Path()) as entries:
                    for entry in entries:
                        # The listing itself has the kind; no call for each file.
                        if entry.is_file(follow_symlinks=False):
                            if path_ignored_because(below / entry.name, folder.ignore) is None:
                                yield Waiting(below / entry.name, entry)
                        elif subfolders and entry.is_dir(follow_symlinks=False) and ignored_because(entry.name) is None:
                            pending.append(below / entry.name)
            except PermissionError:
                # A subfolder that somebody has closed; the scan goes on with the others.
                if below == Path():
                    raise

    def emptied(self, directory: Path) -> tuple[int, int] | None:
        """When a subfolder with nothing but leftovers last changed; None for any other, or a missing one."""
        try:
            with self.roots.directory(directory) as descriptor:
                found = os.fstat(descriptor)
            with self.listing(directory, must_be=True) as entries:
                for entry in entries:
                    if entry.name.lower() not in LEFTOVERS or not entry.is_file(follow_symlinks=False):
                        return None
        except OSError as error:
            if error.errno in NOTHING or isinstance(error, PermissionError):
                return None
            raise
        return found.st_mtime_ns, found.st_ctime_ns

    def work_directories(self, inbox: Path) -> list[str]:
        """The names of the job directories in an inbox's work folder."""
        with self.listing(inbox / WORK, must_be=False) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def listing(self, directory: Path, *, must_be: bool) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """The entries of a directory; none where it has gone or is no directory, unless it `must_be` there."""
        with ExitStack() as stack:
            try:
                entries = stack.enter_context(self.roots.listing(directory))
            except OSError as error:
                # A subfolder may have gone a moment ago; a missing inbox may be unmounted.
                if must_be or error.errno not in NOTHING:
                    raise
                entries = iter(())
            return _Listed(entries, stack.pop_all())

    def _passes(self, way: Path) -> bool:
        found = self._lstat(way)
        return found is None or (stat.S_ISDIR(found.st_mode) and self._may(way, os.W_OK | os.X_OK))

    def _may(self, path: Path, access: int) -> bool:
        with self.roots.spot(path) as spot:
            return os.access(spot.name, access, dir_fd=spot.directory, effective_ids=True)

    def _lstat_below(self, path: Path) -> os.stat_result | None:
        """The lstat, and None also where a subfolder may not be entered, so that the others go on."""
        try:
            return self._lstat(path)
        except PermissionError:
            with self.roots.directory(self.roots.root_of(path)) as root:
                if not os.access(".", os.X_OK, dir_fd=root, effective_ids=True):
                    raise
            return None

    def _lstat(self, path: Path) -> os.stat_result | None:
        try:
            with self.roots.spot(path) as spot:
                return spot.lstat()
        except OSError as error:
            if error.errno in NOTHING:
                return None
            raise


def _mtime(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns if entry.is_file(follow_symlinks=False) else LAST
    except OSError:
        return LAST


class _Listed:
    """Entries of a directory, which is closed once they have been read."""

    def __init__(self, entries: Iterator[os.DirEntry[str]], held: ExitStack) -> None:
        self._entries = entries
        self._held = held

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return self._entries

    def __exit__(self, *_: object) -> None:
        self._held.close()


def first_in(directory: int, names: Sequence[str]) -> str:
    """The first of these names in an open directory; "" where it has none. Raises OSError."""
    for name in names:
        # os.access answers without an exception for missing names: there are two dozen, and mostly none exists.
        if os.access(name, os.F_OK, dir_fd=directory, effective_ids=True, follow_symlinks=False):
            return name
    # It also answers no where the directory cannot be read, which must not count as an answer.
    return names[-1] if names and Spot(directory, names[-1]).there() else ""


def events_reach(directory: Path) -> bool:
    kind = file_system_type(directory)
    return kind not in REMOTE and kind != "fuse" and not kind.startswith("fuse.")


def _quoted(path: Path) -> str:
    return shlex.quote(printable(path))


MOST_AGES = 5000
"""Files of an inbox whose age is read. Counting needs a listing only; an age needs a call for each file."""

PATIENCE = 2.0
"""Seconds to wait for all folders together."""

REST = 10
"""A slow count stays valid for this many times its duration, at most `LONGEST_REST` seconds."""

LONGEST_REST = 30.0

_CUT_SIDECAR = re.compile(r".*~[0-9a-f]{8}\.error\.json", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderCount:
    """The counts of one hot folder. `oldest` is the oldest arrival, in epoch seconds, among the first `aged` files.

    `pause` is the name of the entry in the inbox that pauses it. `away` says why it cannot be counted, "" when it can.
    `too_deep` are files in `subfolders` that are not scanned.
    """

    waiting: int = 0
    oldest: float | None = None
    aged: int = 0
    in_error: int = 0
    too_deep: int = 0
    subfolders: tuple[str, ...] = ()
    pause: str = ""
    away: str = ""


class _Count:
    """One count, running or over."""

    def __init__(self, folder: HotFolder) -> None:
        self.folder = folder
        self.found: FolderCount | None = None
        self.stale_at = float("inf")
        self._thread: threading.Thread | None = None
        try:
            self._thread = begun(self._run)
        except OSError:
            # The system has no thread left: the next request tries again.
            self.stale_at = float("-inf")

    def wait(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        started = time.monotonic()
        found = counted(self.folder)
        now = time.monotonic()
        self.stale_at = now + min(LONGEST_REST, REST * (now - started))
        self.found = found


class FolderCounter:
    """Counts repeatedly, for callers that refresh; a hanging folder has at most one running call."""

    def __init__(self) -> None:
        self._counts: dict[Path, _Count] = {}

    def of(self, folders: Sequence[HotFolder]) -> Sequence[FolderCount]:
        """The counts of `folders`, in their order. A folder without an answer in time is away."""
        deadline = time.monotonic() + PATIENCE
        counts = [self._begun(folder) for folder in folders]
        for count in counts:
            count.wait(max(0.0, deadline - time.monotonic()))
        return [count.found or _no_answer(count.folder) for count in counts]

    def _begun(self, folder: HotFolder) -> _Count:
        count = self._counts.get(folder.inbox)
        if count is None or count.folder != folder or count.stale_at <= time.monotonic():
            count = self._counts[folder.inbox] = _Count(folder)
        return count


def counted(folder: HotFolder) -> FolderCount:
    """Count the files that wait in the inbox and those in the error folder."""
    try:
        MountGuard([folder]).check(folder.inbox)
        scanner = Scanner(Roots.of([folder]))
        waiting, too_deep, ages = 0, 0, _Ages()
        subfolders: set[str] = set()
        for found in scanner.waiting_files(folder, subfolders=True):
            if len(found.relative.parts) > 1 and not folder.recursive:
                too_deep += 1
                subfolders.add(found.relative.parts[0])
                continue
            waiting += 1
            ages.look(found.entry)
        in_error = sum(1 for _ in _failed_files(folder, scanner))
        pause = scanner.first_there(folder.inbox, PAUSE_NAMES)
    except FolderAway as error:
        return FolderCount(away=str(error))
    except OSError as error:
        what = printable(error.filename or folder.inbox)
        return FolderCount(
            away=f"{what} cannot be read ({error.strerror}). Mount it or make it again; expandd goes on by itself."
        )
    return FolderCount(
        waiting=waiting,
        oldest=ages.oldest,
        aged=ages.looked,
        in_error=in_error,
        too_deep=too_deep,
        subfolders=tuple(sorted(subfolders)),
        pause=pause,
    )


class _Ages:
    def __init__(self) -> None:
        self.oldest: float | None = None
        self.looked = 0

    def look(self, entry: os.DirEntry[str]) -> None:
        if self.looked >= MOST_AGES:
            return
        try:
            # A rename into the inbox sets the ctime, while a camera's mtime may be years ago.
            came = entry.stat(follow_symlinks=False).st_ctime
        except OSError:
            return
        self.looked += 1
        self.oldest = came if self.oldest is None else min(self.oldest, came)


def _failed_files(folder: HotFolder, scanner: Scanner) -> Iterator[str]:
    pending = [folder.error]
    while pending:
        directory = pending.pop()
        with scanner.listing(directory, must_be=directory == folder.error) as entries:
            files = []
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(directory / entry.name)
        known = frozenset(files)
        yield from (name for name in files if not _explains(directory / name, known, scanner))


def _explains(path: Path, known: frozenset[str], scanner: Scanner) -> bool:
    """Whether a file is the sidecar of another; it is read where its name does not decide."""
    name = path.name
    if not name.endswith(ERROR_ENDING):
        return False
    return name[: -len(ERROR_ENDING)] in known or bool(_CUT_SIDECAR.fullmatch(name)) or is_sidecar(path, scanner.roots)


def _no_answer(folder: HotFolder) -> FolderCount:
    disk = f"The disk of {printable(folder.inbox)}"
    return FolderCount(away=f"{disk} gives no answer. Check the share's server; expandd goes on by itself.")
