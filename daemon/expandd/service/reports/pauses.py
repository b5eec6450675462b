"""Owns the pauses: each reason for which images wait, as a sentence with what lifts it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from expandd.adapters.files.folder_counts import FolderCount
from expandd.adapters.store.sqlite.reader import JournalReader
from expandd.domain.commands import Lasting
from expandd.domain.naming import printable
from expandd.domain.pauses import Blocks, PauseReason
from expandd.domain.settings import Settings
from expandd.service.reports.overview import Pause
from expandd.service.reports.snapshot import ShutGate, Snapshot

_ORDERED = {
    Lasting.PAUSED: (PauseReason.PAUSED, "A person has paused this."),
    Lasting.HELD: (
        PauseReason.BURST,
        f"More files came at once than the folder's burst guard allows. {PauseReason.BURST.remedy}",
    ),
}

_DAY = 86400.0


def current_pauses(
    settings: Settings, journal: JournalReader | None, snapshot: Snapshot | None, counts: Sequence[FolderCount]
) -> Iterator[Pause]:
    """What holds things up: as the running daemon tells it, else as the journal and the folders show it."""
    if snapshot is not None:
        yield from (_of_gate(gate) for gate in snapshot.gates)
    else:
        yield from _ordered(settings, journal)
        for folder, count in zip(settings.folders, counts, strict=True):
            if count.pause:
                why = f"{count.pause} lies in the inbox and pauses this folder."
                yield _halt(folder.inbox, PauseReason.PAUSED, why, 0.0)
    known = (
        {gate.inbox for gate in snapshot.gates if gate.reason is PauseReason.INBOX_UNAVAILABLE} if snapshot else set()
    )
    for folder, count in zip(settings.folders, counts, strict=True):
        if count.away and folder.inbox not in known:
            yield _halt(folder.inbox, PauseReason.INBOX_UNAVAILABLE, count.away, 0.0)


def _ordered(settings: Settings, journal: JournalReader | None) -> Iterator[Pause]:
    """What people have paused, and what a burst guard holds."""
    inboxes = {None, *(folder.inbox for folder in settings.folders)}
    for order in journal.standing_orders() if journal else ():
        if order.lasting in _ORDERED and order.inbox in inboxes and order.relative is None:
            reason, why = _ORDERED[order.lasting]
            yield _halt(order.inbox, reason, why, order.at)


def _halt(inbox: Path | None, reason: PauseReason, why: str, since: float) -> Pause:
    return Pause(inbox=inbox, reason=reason, why=why, since=since, lifts=reason.remedy)


def _of_gate(gate: ShutGate) -> Pause:
    return Pause(
        inbox=gate.inbox,
        reason=gate.reason,
        why=gate.why,
        since=gate.since,
        lifts=gate.reason.remedy,
        again_at=gate.again_at,
    )


def sentence(pause: Pause, now: float) -> str:
    """All of it in words: what waits, since when, why, and what lifts it."""
    where = "" if pause.inbox is None else printable(pause.inbox)
    if pause.relative is not None:
        what = f"{printable(pause.relative)} waits"
    elif pause.reason.blocks is Blocks.PAYING:
        what = f"Nothing new is begun in {where}" if where else "Nothing new is begun"
    else:
        what = f"{where} waits" if where else "Everything waits"
    since = f" since {clock(pause.since, now)}" if pause.since else ""
    again = ""
    if pause.again_at is not None and pause.again_at > now:
        again = f" Tried again within {span(pause.again_at - now)}."
    lifts = "" if pause.reason.says_remedy else f" {pause.lifts}"
    return f"{what}{since}: {ended(printable(pause.why))}{lifts}{again}"


def ended(text: str) -> str:
    """The text as a sentence that ends."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def clock(at: float, now: float) -> str:
    """A time of day for people; with its date when it is not of the last 24 hours."""
    form = "%H:%M" if abs(now - at) < _DAY else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))


def span(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 3 min, 2 h 5 min, 4 days."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:  # noqa: PLR2004 - from here on a person counts in minutes
        return f"{whole} s"
    minutes, hours, days = round(seconds / 60), seconds / 3600, seconds / _DAY
    if minutes < 60:  # noqa: PLR2004 - an hour
        return f"{minutes} min"
    if hours < 48:  # noqa: PLR2004 - two days
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{round(days)} days"
