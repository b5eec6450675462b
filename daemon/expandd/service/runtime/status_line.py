"""Owns the one sentence that says how it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from expandd.domain.job import MAYBE_PAID, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.engine.control.pauses import Shut
from expandd.engine.engine import Engine

_DAY = 86400.0


def how_it_goes(engine: Engine, failed: int, now: float) -> str:
    """Counts, then what waits on what and since when: "3 folders, 12 waiting, 4 in flight, 0 in error; paused: …".

    `failed` is how many files went to the error folder since the start, `now` the wall clock.
    """
    waiting = sum(inbox.waiting for inbox in engine.inboxes)
    more = "+" if any(inbox.overfull for inbox in engine.inboxes) else ""
    folders = len(engine.inboxes)
    counts = (
        f"{folders} folder{'' if folders == 1 else 's'}, {waiting}{more} waiting, {_in_flight(engine)} in flight, "
        f"{failed} in error"
    )
    return "; ".join([counts, *_troubles(engine, now)])


def how_it_stops(engine: Engine, seconds: float) -> str:
    paid = sum(not job.held for job in engine.jobs.in_state(*MAYBE_PAID))
    if not paid:
        return "stopping"
    return f"stopping: {paid} paid for are fetched and saved first, for {seconds:.0f} s at most"


def _in_flight(engine: Engine) -> int:
    return sum(not job.held and job.state is not JobState.FAILED for job in engine.jobs)


def _troubles(engine: Engine, now: float) -> Iterator[str]:
    in_use = engine.in_use
    shut = [gate for gate in engine.gates.shut() if gate.inbox is None or gate.inbox in in_use]
    for gate in sorted(shut, key=lambda gate: str(gate.inbox or "")):
        if gate.shut is not None:
            yield _trouble(gate.inbox, gate.shut, now)
    held = sum(job.held for job in engine.jobs)
    if held:
        yield f"{held} need{'s' if held == 1 else ''} you: `expandd status`"


def _trouble(inbox: Path | None, shut: Shut, now: float) -> str:
    since = _since(shut, now)
    if inbox is not None:
        return f"{printable(inbox)}: {since}"
    return since if shut.reason is PauseReason.PAUSED else f"paused: {since}"


def _since(shut: Shut, now: float) -> str:
    when = "%H:%M" if abs(now - shut.since) < _DAY else "%Y-%m-%d %H:%M"
    return f"{shut.reason.title} since {time.strftime(when, time.localtime(shut.since))}"
