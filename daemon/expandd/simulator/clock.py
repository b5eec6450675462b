"""The practice server's clock: wall time plus an offset that a test can move."""

import threading
import time


class PracticeClock:
    """Seconds since the epoch, as the practice server believes them. Safe to use from any thread."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward by so many seconds; ValueError for a step backwards."""
        # Stored lifetimes are pruned in order of time, which a step back would break.
        if not seconds >= 0:
            raise ValueError(f"the practice clock only moves forward, not by {seconds} s")
        with self._lock:
            self._offset += seconds
