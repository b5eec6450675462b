"""Keeps the state directory to this user: its mode, and that of what others could read or lock in it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from expandd.adapters.files.roots import user_name
from expandd.domain.naming import printable

_SECRET = ("lock", "journal.sqlite", "tokens")
"""How the names of files begin that hold the jobs, the login, or a lock."""


def close_to_others(state_dir: Path) -> None:
    """Take from everybody else what they may do in the state directory. Raises PermissionError where that is not ours.

    Root may look on in another user's.
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
    # One that goes meanwhile, or is a link, is none of those meant.
    with contextlib.suppress(OSError):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
