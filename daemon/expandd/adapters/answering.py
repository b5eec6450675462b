"""Finds out which directories answer at all, without ever waiting for one that does not: its disk may hang."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PATIENCE = 2.0
"""Seconds that all directories together are waited for."""


def silent(
    directories: Iterable[Path], patience: float = PATIENCE, ask: Callable[[Path], object] = os.statvfs
) -> set[Path]:
    """Those that give no answer in time, be it that they are not there."""
    wanted, answered = set(directories), set[Path]()

    def look(directory: Path) -> None:
        # An error is an answer as well.
        with contextlib.suppress(OSError, ValueError):
            ask(directory)
        answered.add(directory)

    deadline = time.monotonic() + patience
    # Daemons: one that the kernel holds must not hold up the end of the program.
    threads = [threading.Thread(target=look, args=(one,), daemon=True) for one in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return wanted - answered
