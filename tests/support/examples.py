"""How many random examples are tried: half of the usual number, all of it with EXPANDD_CI=1, more in a storm."""

from __future__ import annotations

import os

EVERY_DAY = 30
MORE = 90
"""Where the inputs are other people's files."""


def examples(usual: int) -> int:
    """So many random examples where all tests run, forty times as many in a storm, and half as many every day."""
    if os.environ.get("EXPANDD_STORM") == "1":
        return 40 * usual
    return usual if os.environ.get("EXPANDD_CI") else max(1, usual // 2)
