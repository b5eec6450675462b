"""Owns what the templates are given: an overview said in words, ready to be shown."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from expandd.domain.commands import Verb
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.domain.selection import is_pause
from expandd.service.observability.redaction import safe_text
from expandd.service.page.job_view import ended, failed_view, held_view, in_hand_view, moment, picture_view
from expandd.service.page.text import (
    clock,
    counted,
    folder_name,
    lasting,
    number,
)
from expandd.service.page.values import (
    Button,
    Figure,
    FolderView,
    HaltView,
    PageView,
)
from expandd.service.reports.overview import FolderOverview, Overview, Pause

MOST_PICTURES = 13
ALL = "all"
"""In place of a folder's key: everything."""

_BURST = (
    "More files came at once than the folder's burst guard allows. Take out what was not meant; release the rest to "
    "have it expanded and paid for."
)


def folder_key(inbox: Path) -> str:
    """What a folder is called in a form: no path comes from a browser."""
    return hashlib.sha256(os.fsencode(inbox)).hexdigest()[:16]


def page_view(overview: Overview, most_pictures: int = MOST_PICTURES) -> PageView:
    now = overview.at
    pictures = [picture_view(job, now) for job in overview.done if job.target is not None][:most_pictures]
    in_flight = sum(folder.in_flight for folder in overview.folders)
    in_hand = [job for job in overview.in_hand if not job.held]
    in_error = sum(folder.in_error for folder in overview.folders)
    return PageView(
        headline=_headline(overview),
        remark=_remark(overview),
        tone=_tone(overview),
        button=_main_button(overview),
        halts=tuple(_halts(overview)),
        figures=tuple(_figures(overview)),
        newest=pictures[0] if pictures else None,
        pictures=tuple(pictures[1:]),
        in_hand=tuple(in_hand_view(job, now) for job in in_hand),
        more_in_hand=max(0, in_flight - len(in_hand)),
        held=tuple(held_view(job, now) for job in overview.held),
        failed=tuple(failed_view(job, now) for job in overview.failed),
        more_failed=max(0, in_error - len(overview.failed)),
        folders=tuple(_folder(folder, overview.pauses) for folder in overview.folders),
        money=tuple(_money(overview)),
        at=moment(now, now),
    )


# --- the head of the page ---


def _everything_halts(overview: Overview) -> Pause | None:
    """What holds up everything; a pause before all else, because it is a person who lifts it."""
    halts = [halt for halt in overview.pauses if halt.inbox is None]
    return min(halts, key=lambda halt: halt.reason is not PauseReason.PAUSED, default=None)


def _headline(overview: Overview) -> str:
    waiting, in_flight = _waiting(overview), sum(folder.in_flight for folder in overview.folders)
    halt = _everything_halts(overview)
    if not overview.running:
        return "expandd does not run"
    if halt is not None:
        return "Paused" if halt.reason is PauseReason.PAUSED else f"Everything waits: {halt.reason.title}"
    if in_flight:
        return f"Expanding {counted(in_flight, 'image')}"
    if waiting:
        return f"{counted(waiting, 'file')} waiting"
    return "All done" if overview.done else "Ready"


def _remark(overview: Overview) -> str:
    waiting, halt = _waiting(overview), _everything_halts(overview)
    if not overview.running:
        return f"Files wait in their inboxes: {number(waiting)}. Start it with: systemctl start expandd"
    if halt is not None:
        since = f" Since {clock(halt.since, overview.at)}." if halt.since else ""
        return f"{_why(halt)}{since}"
    words = [f"{number(waiting)} more waiting"] if waiting else []
    if overview.pace.seconds_left:
        words.append(f"all done in about {lasting(overview.pace.seconds_left)}")
    if not words:
        last = ended(overview.done[0]) if overview.done else None
        return f"The last image was done at {clock(last, overview.at)}." if last else "Drop a picture into an inbox."
    return _sentence(", ".join(words))


def _tone(overview: Overview) -> str:
    if not overview.running or _everything_halts(overview) is not None:
        return "halted"
    return "working" if any(folder.in_flight for folder in overview.folders) else "resting"


def _main_button(overview: Overview) -> Button:
    paused = any(halt.inbox is None and halt.reason is PauseReason.PAUSED for halt in overview.pauses)
    if paused:
        return Button(Verb.RESUME.value, "Resume", "everything", folder=ALL, strong=True)
    return Button(Verb.PAUSE.value, "Pause all", "(what is paid for is still fetched)", folder=ALL)


def _waiting(overview: Overview) -> int:
    return sum(folder.waiting for folder in overview.folders)


def _figures(overview: Overview) -> Iterator[Figure]:
    folders = overview.folders
    oldest = max((folder.oldest for folder in folders if folder.oldest is not None), default=None)
    yield Figure("Waiting", number(_waiting(overview)), f"oldest {lasting(oldest)}" if oldest else "")
    yield Figure("In flight", number(sum(folder.in_flight for folder in folders)))
    pace = overview.pace
    yield Figure("Done today", number(sum(folder.done for folder in folders)), _per_hour(pace.per_hour))
    in_error, held = sum(folder.in_error for folder in folders), sum(folder.held for folder in folders)
    yield Figure("In error", number(in_error), f"{held} need you" if held else "", "bad" if in_error or held else "")


def _per_hour(images: float) -> str:
    return f"{number(round(images))} in the last hour" if images else ""


def _money(overview: Overview) -> Iterator[Figure]:
    money = overview.money
    yield Figure("Paid today", number(money.paid_today), _left(money.day_left))
    yield Figure("This month", number(money.paid_this_month), _left(money.month_left))
    if money.credits is not None:
        seen = f"at {clock(money.credits_at, overview.at)}" if money.credits_at else ""
        yield Figure("Credits", f"{money.credits.normalize():,f}".replace(",", "\u202f"), seen)


def _left(images: int | None) -> str:
    return "no limit" if images is None else f"{number(images)} left"


# --- what waits ---


def _halts(overview: Overview) -> Iterator[HaltView]:
    """All but the one that the head of the page tells of."""
    told = _everything_halts(overview) if overview.running else None
    yield from (_halt(halt, overview.at) for halt in overview.pauses if halt is not told)


def _halt(halt: Pause, now: float) -> HaltView:
    key, about = (ALL, "everything") if halt.inbox is None else (folder_key(halt.inbox), folder_name(halt.inbox))
    button = None
    if halt.reason is PauseReason.PAUSED and not _by_file(halt):
        button = Button(Verb.RESUME.value, "Resume", about, folder=key, strong=True)
    elif halt.reason is PauseReason.BURST:
        button = Button(Verb.RELEASE.value, "Release", about, folder=key, strong=True)
    return HaltView(
        title=f"{'Everything' if halt.inbox is None else about} waits: {halt.reason.title}",
        why=_why(halt),
        at=moment(halt.since, now) if halt.since else None,
        button=button,
    )


def _why(halt: Pause) -> str:
    if halt.reason is PauseReason.BURST:
        return _BURST
    why = _sentence(safe_text(halt.why))
    return (
        why
        if halt.reason.says_remedy or halt.reason is PauseReason.PAUSED or halt.lifts in why
        else f"{why} {halt.lifts}"
    )


def _by_file(halt: Pause) -> bool:
    """Whether a file in the inbox pauses it: only who takes that away goes on."""
    name, lies, _ = halt.why.partition(" lies ")
    return bool(lies) and is_pause(Path(name))


def _sentence(words: str) -> str:
    """With a capital letter and an end."""
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith((".", "!", "?")) else ".")


def _folder(folder: FolderOverview, halts: tuple[Pause, ...]) -> FolderView:
    name, key = folder_name(folder.inbox), folder_key(folder.inbox)
    mine = [halt for halt in halts if halt.inbox == folder.inbox]
    paused = any(halt.reason is PauseReason.PAUSED and not _by_file(halt) for halt in mine)
    left = [amount for amount in (folder.day_left, folder.month_left) if amount is not None]
    return FolderView(
        name=name,
        path=printable(folder.inbox),
        preset=printable(folder.preset_name),
        waiting=number(folder.waiting) if folder.counted else "?",
        oldest=lasting(folder.oldest) if folder.oldest else "",
        in_flight=number(folder.in_flight),
        done=number(folder.done),
        in_error=folder.in_error,
        paid=number(folder.paid_today),
        left=number(min(left)) if left else "",
        halted=mine[0].reason.title if mine else "",
        button=Button(
            *((Verb.RESUME.value, "Resume", name) if paused else (Verb.PAUSE.value, "Pause", name)), folder=key
        ),
    )
