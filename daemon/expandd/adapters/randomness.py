"""Owns real randomness: jitter and job ids."""

from __future__ import annotations

import os
import random
import time


class SystemChance:
    """The machine's randomness."""

    def fraction(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret

    def job_id(self) -> str:
        """Twelve hex digits of milliseconds, so that ids sort by time, and 40 random bits."""
        return f"{int(time.time() * 1000):012x}{os.urandom(5).hex()}"
