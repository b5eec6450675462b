"""Owns how one activation of a job ends."""

from __future__ import annotations

Turn = float | None
"""Seconds until the next activation, or None when the job is over."""

NOW: Turn = 0.0
OVER: Turn = None
SLOT_WAIT: Turn = 1.0
"""A job without a slot looks again soon; a freed slot is kept for it before new files are claimed."""
