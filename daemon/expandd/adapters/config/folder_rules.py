"""Checks that each configured directory is usable, and that none is the same as, inside or around another."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from expandd.adapters.config.config_errors import ConfigError, KeyPath, dotted, listed
from expandd.adapters.files.mount_guard import Mounts
from expandd.adapters.responsiveness import silent
from expandd.domain.naming import printable

# pathlib's own functions raise for a name that is too long, or below a directory that may not be entered.


def is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - pathlib raises here


def is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - pathlib raises here


def is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114 - pathlib raises here


WORK = ".expandd"


class Role(Enum):
    """The purpose of a directory."""

    INBOX = "inbox"
    OUTBOX = "outbox"
    DONE = "done"
    ERROR = "error"
    STATE = "state_dir"
    SPOOL = "spool"

    @property
    def words(self) -> str:
        return f"{self.value} folder" if self in {Role.DONE, Role.ERROR} else self.value


@dataclass(frozen=True, slots=True)
class ConfiguredDirectory:
    """One configured directory: its key and its absolute path.

    `waits`: its disk is not mounted yet, so the directory at the path now is another one.
    """

    key: KeyPath
    role: Role
    directory: Path
    waits: bool = False
    hangs: bool = False
    """Its disk gives no answer: only its path is checked, and it waits."""


def folder_config_errors(
    entries: Sequence[ConfiguredDirectory], line: Callable[[KeyPath], int], *, access: bool = True
) -> Iterator[ConfigError]:
    """All errors of the directories. `line` returns the line of a key. Changes nothing on disk.

    Without `access`, the permissions of this process's user in the hot folders are not checked.
    """
    mounts = Mounts.read()
    hanging = silent(entry.directory for entry in entries if entry.role is not Role.STATE)
    entries = [replace(entry, waits=True, hangs=True) if entry.directory in hanging else entry for entry in entries]
    roots = {entry.key: [other for other in entries if other.key == entry.key] for entry in entries}
    for key, group in roots.items():
        missing = [entry for entry in group if not entry.waits and not os.path.lexists(entry.directory)]
        if key[-1] == "root" and missing:
            yield _missing(key, missing)
    for entry in entries:
        if entry.waits:
            continue
        yield from _state(entry) if entry.role is Role.STATE else _usable(entry, access=access)
        if entry.role is Role.INBOX:
            yield from _work(entry, mounts)
    yield from _overlaps(entries, mounts, line)


def _missing(key: KeyPath, entries: Sequence[ConfiguredDirectory]) -> ConfigError:
    """One error for all directories missing below a root, and one command that makes them."""
    root = printable(entries[0].directory.parent)
    names = [entry.directory.name for entry in entries]
    made = " ".join(shlex.quote(printable(entry.directory)) for entry in entries)
    expected = f"a directory with {listed(names)} in it"
    found = f"{root}, which has no {listed(names, 'or')}"
    return ConfigError(path=key, expected=expected, found=found, hint=f"Make what is missing: mkdir -p {made}")


def _usable(entry: ConfiguredDirectory, *, access: bool) -> Iterator[ConfigError]:
    if entry.key[-1] == "root" and not os.path.lexists(entry.directory):
        return
    flaw = _flaw(entry.directory, os.R_OK | os.W_OK | os.X_OK if access else os.F_OK)
    if flaw:
        expected = f"a directory for the {entry.role.words} that exists and can be read and written"
        found, hint = flaw
        yield ConfigError(path=entry.key, expected=expected, found=f"{printable(entry.directory)}, {found}", hint=hint)


def _state(entry: ConfiguredDirectory) -> Iterator[ConfigError]:
    directory = entry.directory
    missing = not os.path.lexists(directory)
    flaw = _flaw(directory.parent if missing else directory, os.W_OK | os.X_OK)
    if flaw:
        found, hint = flaw
        owner = _other_user(directory)
        if owner and not os.access(directory, os.R_OK, effective_ids=True):
            hint = f"It belongs to {owner}: do this as root, or as that user."
        if missing and directory.parent.is_dir() and hint.startswith("Give"):
            made = f"install -d -m 700 -o {_user()} {shlex.quote(printable(directory))}"
            hint = f"Make it for that user, as root: {made}. Or name a directory of your own."
        shown = (
            f"{printable(directory)}, whose parent is one {found}" if missing else f"{printable(directory)}, {found}"
        )
        expected = "a directory that can be written, or made"
        yield ConfigError(path=entry.key, expected=expected, found=shown, hint=hint)


def _flaw(directory: Path, access: int) -> tuple[str, str] | None:
    """The flaw of a directory (continuing "DIR, …") and its remedy; None when it can be used."""
    quoted = shlex.quote(printable(directory))
    try:
        if not directory.is_dir():
            directory.lstat()
            return "which is not a directory", "Name a directory, or move what is in its place."
        read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return "which does not exist", f"Make it: mkdir -p {quoted} (or mount the drive that it is on)."
    except OSError as error:
        return f"which cannot be reached: {os.strerror(error.errno or 0)}", "Check the path and who may enter it."
    if read_only:
        hint = "Mount the drive so that it can be written. To a systemd service `expandd unit` shows how to open it."
        return "which is on a read-only drive", hint
    if not os.access(directory, access, effective_ids=True):
        user = _user()
        hint = f"Give it to that user: chown {user} {quoted}."
        if os.geteuid() == 0:
            # On a disk of this machine, root may read and write everything.
            hint = "Its file server lets root do nothing (root_squash): run expandd as a user of its own."
        return f"which the user {user} may not read and write", hint
    return None


def _user() -> str:
    return _name(os.geteuid())


def _other_user(directory: Path) -> str | None:
    """The owner of an existing directory that is neither root nor this process's own user."""
    try:
        owner = directory.stat().st_uid
    except OSError:
        return None
    return None if owner in {0, os.geteuid()} else _name(owner)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _work(entry: ConfiguredDirectory, mounts: Mounts) -> Iterator[ConfigError]:
    work = entry.directory / WORK
    if is_link(work):
        # People who may drop files may have made it: its folder waits and reports it, and the others go on.
        return
    try:
        same = work.stat().st_dev == entry.directory.stat().st_dev and work.is_dir()
    except OSError:
        return
    # A rename between two mounts of one file system fails, as between two file systems.
    here, there = mounts.locate(entry.directory), mounts.locate(work)
    if not same or (here and there and here.mount != there.mount):
        expected = f"{WORK} in the inbox to be a directory on the inbox's own file system"
        hint = "Files are claimed by renaming them into it: remove that mount and let expandd make it."
        yield ConfigError(path=entry.key, expected=expected, found=f"{printable(work)} elsewhere", hint=hint)


def _overlaps(
    entries: Sequence[ConfiguredDirectory],
    mounts: Mounts,
    line: Callable[[KeyPath], int],
) -> Iterator[ConfigError]:
    """One error for each directory that is the same as another one, or inside another one."""
    chains = [_named_chain(entry.directory) if entry.hangs else _chain(entry.directory, mounts) for entry in entries]
    owners: dict[Hashable, ConfiguredDirectory] = {}
    for entry, chain in zip(entries, chains, strict=True):
        other = next((owners[key] for key in chain.itself if key in owners), None)
        if other:
            yield _overlap(entry, other, "is the same directory as", line)
        for key in chain.itself:
            owners.setdefault(key, entry)
    for entry, chain in zip(entries, chains, strict=True):
        if any(owners[key] is not entry for key in chain.itself):
            continue
        other = next((owners[key] for key in chain.above if key in owners), None)
        if other:
            yield _overlap(entry, other, "lies inside", line)


@dataclass(frozen=True, slots=True)
class _Chain:
    """The identities of a directory and those above it: real path, inode, place in the file system."""

    itself: tuple[Hashable, ...]
    above: tuple[Hashable, ...]


def _named_chain(directory: Path) -> _Chain:
    return _Chain((("path", directory),), tuple(("path", parent) for parent in directory.parents))


def _chain(directory: Path, mounts: Mounts) -> _Chain:
    real = Path(os.path.realpath(directory))
    itself, above = [("path", real)], [("path", parent) for parent in real.parents]
    return _Chain(
        (*itself, *_inode(real), *_inside(real, mounts)[:1]),
        (*above, *(key for parent in real.parents for key in _inode(parent)), *_inside(real, mounts)[1:]),
    )


def _inode(path: Path) -> list[Hashable]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [("inode", status.st_dev, status.st_ino)]


def _inside(real: Path, mounts: Mounts) -> list[Hashable]:
    """The place in the file system and the places above it; for a missing directory, its future place."""
    existing = next((path for path in (real, *real.parents) if is_directory(path)), None)
    location = mounts.locate(existing) if existing else None
    if not existing or not location:
        return []
    inside = location.inside / real.relative_to(existing)
    return [("place", location.device, place) for place in (inside, *inside.parents)]


def _overlap(
    entry: ConfiguredDirectory, other: ConfiguredDirectory, how: str, line: Callable[[KeyPath], int]
) -> ConfigError:
    owner = f"{_named(other)} on line {line(other.key)}"
    found = f"{printable(entry.directory)}, which {how} {printable(other.directory)} ({owner})"
    hint = "Give each a directory of its own, side by side."
    if Role.INBOX in {entry.role, other.role}:
        hint += " Otherwise results could be picked up as new images, and paid for again."
    expected = f"a directory for the {entry.role.words} that is not, and is not inside, another folder of expandd"
    return ConfigError(path=entry.key, expected=expected, found=found, hint=hint)


def _named(entry: ConfiguredDirectory) -> str:
    named = dotted(entry.key)
    return named if entry.key[-1] == entry.role.value else f"the {entry.role.words} of {named}"
