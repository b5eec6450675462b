"""Reaches what lies in hot folders for whoever looks on, and never asks a disk that gives no answer."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path

from expandd.adapters.files.roots import Roots
from expandd.domain.settings import HotFolder


class AnsweringRoots(Roots):
    """Raises TimeoutError for what lies below a directory that is known to be silent."""

    _silent: frozenset[Path] = frozenset()

    @classmethod
    def but(cls, silent: Iterable[Path], folders: Iterable[HotFolder], state_dir: Path | None = None) -> Roots:
        """Those of hot folders; of the `silent` directories nothing is asked."""
        roots = cls.of(folders, state_dir)
        assert isinstance(roots, AnsweringRoots), "it is made by its own class"
        roots.leave(silent)
        return roots

    def leave(self, silent: Iterable[Path]) -> None:
        """Ask nothing of these from now on."""
        self._silent = frozenset(silent)

    def _walked(self, path: Path) -> int:
        if any(path.is_relative_to(one) for one in self._silent):
            raise TimeoutError(errno.ETIMEDOUT, "its disk does not answer", str(path))
        return super()._walked(path)
