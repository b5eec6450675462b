"""Owns how often the service has crashed in a row, and how long it therefore waits before it starts again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

FIRST = 5.0
"""Seconds before the third start in a row; systemd's own pause comes on top, and is all there is before the second."""

LONGEST = 300.0

HEALTHY = 600.0
"""Seconds of work after which earlier crashes are forgotten."""


class Crashes:
    """Kept in $RUNTIME_DIRECTORY, which systemd keeps over restarts and removes at a stop; without it nothing counts.

    systemd itself learns to wait longer each time only in version 254.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._file = Path(directory) / "crashes" if directory else None

    def begin(self) -> int:
        """A run begins; how many before it in a row have not ended well."""
        before = self._read()
        self._write(before + 1)
        return before

    def healthy(self) -> None:
        """This run has lasted."""
        self._write(1)

    def ended_well(self) -> None:
        self._write(0)

    def _read(self) -> int:
        if self._file is None:
            return 0
        try:
            return int(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _write(self, number: int) -> None:
        # Counting must never be what keeps the service from working.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.write_text(str(number), encoding="ascii")


def delay(crashes: int) -> float:
    """Seconds to wait after so many crashes in a row."""
    return min(LONGEST, FIRST * 2.0 ** min(crashes - 2, 10)) if crashes > 1 else 0.0
