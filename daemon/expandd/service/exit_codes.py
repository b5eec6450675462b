"""The exit codes of all commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """A contract: scripts and service managers act on these."""

    FINE = 0
    OUR_FAULT = 1
    USAGE = 2
    SOME_FAILED = 3
    SOME_WAIT = 4
    RUNNING_ALREADY = 75
    CONFIGURATION = 78
