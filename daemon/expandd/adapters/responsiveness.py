"""Finds out which directories answer, without waiting for one that does not."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from expandd.adapters.bulkheads import ask_each
from expandd.adapters.files.roots import Roots
from expandd.domain.settings import HotFolder

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds that all directories together are waited for."""

BRIEF = 1.0
"""Seconds that the caller about one path is waited for."""

LANES = 32
"""Threads that look at paths at once, each at those of some directories."""


def silent(directories: Iterable[Path], patience: float = PATIENCE) -> set[Path]:
    """Those that give no answer in time, be it that they are not there."""
    wanted, answered = set(directories), set[Path]()

    def look(directory: Path) -> None:
        # An error is an answer as well.
        with contextlib.suppress(OSError, ValueError):
            os.statvfs(directory)
        answered.add(directory)

    ask_each((partial(look, one) for one in wanted), patience)
    return wanted - answered


def silent_roots(folders: Iterable[HotFolder]) -> set[Path]:
    """The directories of hot folders that give no answer now, for readers."""
    return silent((root for one in folders for root in one.directories), BRIEF)


def answered(call: Callable[[], T], otherwise: T) -> T:
    """What `call` returns, or `otherwise` when it does not return in time."""
    found: list[T] = []
    ask_each([lambda: found.append(call())], BRIEF)
    return found[0] if found else otherwise


def lying(paths: Iterable[Path]) -> set[Path]:
    """Those at which anything lies, and those whose disk gives no answer in time: of these nobody knows better."""
    wanted = set(paths)
    by_directory: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in wanted:
        by_directory[path.parent].append(path)
    gone, roots = set[Path](), Roots()

    def look(directories: list[list[Path]]) -> None:
        for directory in directories:
            gone.update(path for path in directory if not _lies(roots, path))

    groups = list(by_directory.values())
    lanes = [groups[first::LANES] for first in range(min(LANES, len(groups)))]
    ask_each((partial(look, lane) for lane in lanes), BRIEF)
    return wanted - gone


def _lies(roots: Roots, path: Path) -> bool:
    """Whether anything has this path, on the way to which people have put no link."""
    try:
        with roots.spot(path) as spot:
            return spot.there()
    except (OSError, ValueError):
        return False


class AnsweringRoots(Roots):
    """Raises TimeoutError for what lies below a directory that is known to be silent."""

    _silent: frozenset[Path] = frozenset()

    @classmethod
    def but(cls, silent: Iterable[Path], folders: Iterable[HotFolder], state_dir: Path | None = None) -> Roots:
        """Those of hot folders; of the `silent` directories nothing is asked."""
        roots = cls.of(folders, state_dir)
        assert isinstance(roots, AnsweringRoots), "it is made by its own class"
        roots.leave_out(silent)
        return roots

    def leave_out(self, silent: Iterable[Path]) -> None:
        """Ask nothing of these from now on."""
        self._silent = frozenset(silent)

    def _walked(self, path: Path) -> int:
        if any(path.is_relative_to(one) for one in self._silent):
            raise TimeoutError(errno.ETIMEDOUT, "its disk does not answer", str(path))
        return super()._walked(path)
