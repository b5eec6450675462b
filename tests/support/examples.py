"""How many random examples are tried: a few every day, forty times as many with EXPANDD_STORM=1."""

from __future__ import annotations

import os

EVERY_DAY = 30
MORE = 90
"""Where the inputs are other people's files."""


def examples(every_day: int) -> int:
    return every_day * (40 if os.environ.get("EXPANDD_STORM") == "1" else 1)
