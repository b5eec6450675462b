"""The wait before the next try: capped, exponential, with full jitter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait after the n-th failure in a row: random between half and all of base × 2ⁿ⁻¹, capped."""

    base: float
    cap: float

    def wait(self, failures: int, randomness: float) -> float:
        """`failures` ≥ 1; `randomness` is a random number in [0, 1), passed in."""
        ceiling = min(self.cap, self.base * 2.0 ** min(failures - 1, 30))
        return ceiling * (0.5 + randomness / 2)


JOB = Backoff(base=1.0, cap=60.0)
ACCOUNT = Backoff(base=1.0, cap=60.0)
FOLDER = Backoff(base=1.0, cap=30.0)
QUIET_HISTORY = Backoff(base=1.0, cap=32.0)
"""In multiples of the first wait: how a result that no notification announced is asked for."""
