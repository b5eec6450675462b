"""Writes the log from a thread of its own: a full disk, a closed or a slow pipe loses lines, which are counted."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TextIO, TypeVar

L = TypeVar("L")

MOST_WAITING = 10_000
"""Lines that wait to be written; what comes after is lost."""

LAST = 2.0
"""Seconds that are left for what waits when the program ends."""


class Spout(Generic[L]):
    """Takes lines at once and never fails. `write` may block, or raise OSError or ValueError.

    Once a line can be written again, `confess` makes one that says how many could not.
    """

    def __init__(self, write: Callable[[L], None], confess: Callable[[int], L], most: int = MOST_WAITING) -> None:
        self._write = write
        self._confess = confess
        self._most = most
        self._waiting: deque[L] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._direct = False
        self._untold = 0
        self.lost = 0
        """Lines that could not be written, since the start."""
        self._thread = threading.Thread(target=self._serve, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The system has no thread left: lines are written by whoever has them, at worst at the pace of the disk.
            self._direct = True
        atexit.register(self.close)

    def put(self, line: L) -> None:
        if self._direct:
            self._one(line)
            return
        with self._changed:
            if len(self._waiting) < self._most:
                self._waiting.append(line)
                self._changed.notify_all()
            else:
                self._lose()

    def close(self, seconds: float = LAST) -> None:
        """Wait for what is left, but not for long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._writing, max(0.0, deadline - time.monotonic())
            )

    def _lose(self) -> None:
        self.lost += 1
        self._untold += 1

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                self._writing = True
                line = self._waiting.popleft()
            self._one(line)

    def _one(self, line: L) -> None:
        try:
            untold = self._untold
            if untold:
                self._write(self._confess(untold))
                with self._changed:
                    self._untold -= untold
            self._write(line)
        except (OSError, ValueError):
            with self._changed:
                self._lose()


def onto(stream: TextIO) -> Callable[[str], None]:
    """Writes whole lines to what is behind a stream, past its buffer: what cannot be written is not kept there."""

    def write(line: str) -> None:
        left = memoryview(f"{line}\n".encode("utf-8", "replace"))
        while left:
            left = left[os.write(stream.fileno(), left) :]

    return write
