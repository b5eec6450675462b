"""Logs what asyncio reports by itself: a failed accept, a callback that raised. The same thing at most once a minute.

Without it asyncio writes traces to stderr: with no descriptor left up to a hundred a second, one for each connection
that waits to be accepted.
"""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.typing import FilteringBoundLogger

AGAIN = 60.0
"""Seconds in which the same thing is told once."""

MOST = 100
"""Different things that are remembered."""


class LoopErrors:
    """An exception handler for `loop.set_exception_handler`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._told: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = f"{context['message']}: {type(error).__name__}"
        now = loop.time()
        if now < self._told.get(what, float("-inf")) + AGAIN:
            return
        if len(self._told) >= MOST:
            self._told.clear()
        self._told[what] = now
        if isinstance(error, OSError):
            # The system's want, which passes; asyncio tries again by itself.
            self._log.warning("loop.error", where=context["message"], why=error.strerror or str(error))
        else:
            self._log.error("bug.found", where=context["message"], exc_info=error)
