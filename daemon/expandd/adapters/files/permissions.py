"""Keeps the state directory private, and finds permissions that allow people who drop files to do harm."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from expandd.adapters.files.roots import WORK, NotOurs, Roots, user_name
from expandd.adapters.responsiveness import silent
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder

_SECRET = ("lock", "journal.sqlite", "tokens")
"""The prefixes of files with the jobs, the login, or a lock."""


def close_to_others(state_dir: Path) -> None:
    """Remove all permissions of other users in the state directory. Raises PermissionError where it is not ours.

    Root may read another user's.
    """
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            raise PermissionError(1, f"it belongs to {user_name(found.st_uid)}", printable(state_dir))
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.fchmod(descriptor, 0o700)
        for name in os.listdir(descriptor):
            if name.startswith(_SECRET):
                _close_file(descriptor, name)
    finally:
        os.close(descriptor)


def _close_file(directory: int, name: str) -> None:
    # A file that has gone meanwhile, or is a link, needs no change.
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


_OTHERS = 0o022


def looseness(folders: Sequence[HotFolder], state_dir: Path) -> Iterator[str]:
    """One sentence with its command for each loose permission. Unreadable directories are reported elsewhere."""
    yield from _of_state(state_dir)
    every = [root for one in folders for root in one.directories]
    hanging = silent([*every, *(root.parent for root in every)])
    folders = [one for one in folders if not hanging & {one.inbox, one.inbox.parent}]
    for folder in folders:
        yield from _of_inbox(folder.inbox)
        yield from _of_work(folder.inbox, state_dir)
    roots = [root for one in folders for root in one.directories]
    for parent in dict.fromkeys(root.parent for root in roots if root.parent not in hanging):
        yield from _of_parent(parent)


def _of_state(state_dir: Path) -> Iterator[str]:
    found = _stat(state_dir)
    if found is not None and found.st_mode & 0o077:
        where = printable(state_dir)
        yield f"Others may look into {where}, where the login and the jobs are: chmod 700 {_q(state_dir)}"


def _of_inbox(inbox: Path) -> Iterator[str]:
    if _swaps(_stat(inbox)):
        yield (
            f"People may rename expandd's work folder in {printable(inbox)}, and whatever others have dropped there: "
            f"chmod +t {_q(inbox)}"
        )


def _of_work(inbox: Path, state_dir: Path) -> Iterator[str]:
    state = _stat(state_dir)
    roots = Roots([inbox], owner=state.st_uid if state else None)
    try:
        with roots.directory(inbox / WORK) as descriptor:
            loose = os.fstat(descriptor).st_mode & 0o077
    except NotOurs as error:
        yield error.sentence
    except OSError:
        return
    else:
        if loose:
            yield f"Others may reach what is in work in {printable(inbox)}: chmod 700 {_q(inbox / WORK)}"


def _of_parent(parent: Path) -> Iterator[str]:
    found = _stat(parent)
    if found is not None and _swaps(found):
        yield (
            f"People may put something else in the place of hot folders, as {printable(parent)} (of "
            f"{user_name(found.st_uid)}) is theirs to write to: chmod go-w {_q(parent)}"
        )


def _swaps(found: os.stat_result | None) -> bool:
    """Whether people may rename other users' entries in a directory."""
    return found is not None and bool(found.st_mode & _OTHERS) and not found.st_mode & stat.S_ISVTX


def _stat(directory: Path) -> os.stat_result | None:
    try:
        return directory.stat()
    except OSError:
        return None


def _q(path: Path) -> str:
    return shlex.quote(printable(path))
