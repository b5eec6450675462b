"""Owns the standstills: each reason for which images wait, as a sentence with what lifts it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from expandd.adapters.files.folder_counts import FolderCount
from expandd.adapters.store.sqlite.reader import JournalReader
from expandd.domain.commands import Lasting
from expandd.domain.errors import GateReason
from expandd.domain.naming import printable
from expandd.domain.settings import Settings
from expandd.service.reports.overview import Standstill
from expandd.service.reports.snapshot import ShutGate, Snapshot

LIFTS = {
    GateReason.UNREACHABLE: "It is tried again by itself; if it lasts, run `expandd check` on this machine.",
    GateReason.CREDENTIALS: "Put a login that works where `expandd check` says it was found; no restart is needed.",
    GateReason.CREDITS: "Top up the account; expandd notices by itself.",
    GateReason.SLOWED: "It goes on by itself.",
    GateReason.WRONG_PATH: "Correct api.generate_path or api.base_url in the configuration and restart expandd.",
    GateReason.REQUEST_REFUSED: "Correct api.generate_extra in the configuration and restart expandd.",
    GateReason.FOLDER_AWAY: "Mount the folder or make it again; it goes on by itself.",
    GateReason.CANNOT_STORE: "Make room or correct the permissions; what is paid for is kept; it goes on by itself.",
    GateReason.PAUSED: "`expandd resume` lifts a pause by order; a file named PAUSE pauses as long as it lies there.",
    GateReason.BURST: "`expandd release` lets them go on, `expandd cancel` sends them to the error folder.",
    GateReason.BUDGET: "It goes on when the next day or month begins, or when the budget is raised.",
    GateReason.LOW_CREDITS: "Top up the account, or lower keep_credits in the configuration.",
    GateReason.DECODER_UNAVAILABLE: "It goes on by itself once it starts; after an upgrade of Python, restart expandd.",
}

_ORDERED = {
    Lasting.PAUSED: (GateReason.PAUSED, "A person has paused this."),
    Lasting.HELD: (
        GateReason.BURST,
        f"More files came at once than the folder's burst guard allows. {LIFTS[GateReason.BURST]}",
    ),
}

_NOTHING_NEW = frozenset(
    {
        GateReason.CREDITS,
        GateReason.REQUEST_REFUSED,
        GateReason.PAUSED,
        GateReason.BURST,
        GateReason.BUDGET,
        GateReason.LOW_CREDITS,
    }
)
"""Reasons that hold up what is not paid for yet; what is paid for is fetched and delivered all the same."""

_TELLING = frozenset({GateReason.BURST, GateReason.BUDGET, GateReason.LOW_CREDITS})
"""Reasons whose `why` says itself what lifts them."""

_DAY = 86400.0


def standstills(
    settings: Settings, journal: JournalReader | None, snapshot: Snapshot | None, counts: Sequence[FolderCount]
) -> Iterator[Standstill]:
    """What holds things up: as the running daemon tells it, else as the journal and the folders show it."""
    if snapshot is not None:
        yield from (_of_gate(gate) for gate in snapshot.gates)
    else:
        yield from _ordered(settings, journal)
        for folder, count in zip(settings.folders, counts, strict=True):
            if count.pause:
                why = f"{count.pause} lies in the inbox and pauses this folder."
                yield _halt(folder.inbox, GateReason.PAUSED, why, 0.0)
    known = {gate.inbox for gate in snapshot.gates if gate.reason is GateReason.FOLDER_AWAY} if snapshot else set()
    for folder, count in zip(settings.folders, counts, strict=True):
        if count.away and folder.inbox not in known:
            yield _halt(folder.inbox, GateReason.FOLDER_AWAY, count.away, 0.0)


def _ordered(settings: Settings, journal: JournalReader | None) -> Iterator[Standstill]:
    """What people have paused, and what a burst guard holds."""
    inboxes = {None, *(folder.inbox for folder in settings.folders)}
    for order in journal.standing_orders() if journal else ():
        if order.lasting in _ORDERED and order.inbox in inboxes and order.relative is None:
            reason, why = _ORDERED[order.lasting]
            yield _halt(order.inbox, reason, why, order.at)


def _halt(inbox: Path | None, reason: GateReason, why: str, since: float) -> Standstill:
    return Standstill(inbox=inbox, reason=reason, why=why, since=since, lifts=LIFTS[reason])


def _of_gate(gate: ShutGate) -> Standstill:
    return Standstill(
        inbox=gate.inbox,
        reason=gate.reason,
        why=gate.why,
        since=gate.since,
        lifts=LIFTS[gate.reason],
        again_at=gate.again_at,
    )


def sentence(standstill: Standstill, now: float) -> str:
    """All of it in words: what waits, since when, why, and what lifts it."""
    where = "" if standstill.inbox is None else printable(standstill.inbox)
    if standstill.relative is not None:
        what = f"{printable(standstill.relative)} waits"
    elif standstill.reason in _NOTHING_NEW:
        what = f"Nothing new is begun in {where}" if where else "Nothing new is begun"
    else:
        what = f"{where} waits" if where else "Everything waits"
    since = f" since {clock(standstill.since, now)}" if standstill.since else ""
    again = ""
    if standstill.again_at is not None and standstill.again_at > now:
        again = f" Tried again within {span(standstill.again_at - now)}."
    lifts = "" if standstill.reason in _TELLING else f" {standstill.lifts}"
    return f"{what}{since}: {ended(printable(standstill.why))}{lifts}{again}"


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
