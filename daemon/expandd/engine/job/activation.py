"""Owns how one activation of a job ends."""

from __future__ import annotations

Turn = float | None
"""Seconds until the next activation, or None when the job is over."""

NOW: Turn = 0.0
OVER: Turn = None
FAILING_WAIT: Turn = 10.0
"""One that fails alone has the others go first: few of its kind have a slot at once."""
SLOT_WAIT: Turn = 1.0
"""A job without a slot looks again soon; a freed slot is kept for it before new files are claimed."""
