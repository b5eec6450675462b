"""What the templates show of everything together: an overview as plain values."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expandd.adapters.store.sql.queries import LedgerLine
from expandd.domain.commands import Verb
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.domain.selection import is_pause
from expandd.service.page.job_view import (
    Button,
    ImageView,
    JobView,
    Moment,
    Names,
    ended,
    failed_view,
    held_view,
    image_view,
    in_progress_view,
    moment,
)
from expandd.service.page.text import clock, counted, lasting, month_name, month_of, number
from expandd.service.reports.overview import FolderOverview, Money, Overview, Pause
from expandd.service.reports.overview_text import OLD


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseView:
    """Something that waits, and why."""

    title: str
    why: str
    at: Moment | None
    button: Button | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """One row of the table of folders."""

    name: str
    path: str
    preset: str
    waiting: str
    oldest: str
    in_progress: str
    done: str
    in_error: int
    paid: str
    left: str
    pauses: tuple[PauseView, ...]
    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, and a remark."""

    name: str
    value: str
    remark: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What one month came to; `credits` is about how many the paid images took, as far as that is known.

    `cost` is what they cost, where the configuration says what one does.
    """

    name: str
    paid: str
    delivered: str
    failed: str
    saved: str
    credits: str
    cost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """Everything on the page but the plots."""

    headline: str
    remark: str
    tone: str
    button: Button
    pauses: tuple[PauseView, ...]
    figures: tuple[Figure, ...]
    newest: ImageView | None
    thumbnails: tuple[ImageView, ...]
    in_progress: tuple[JobView, ...]
    more_in_progress: int
    held: tuple[JobView, ...]
    failed: tuple[JobView, ...]
    in_error: int
    retry_all: Button
    dismissed: int
    folders: tuple[FolderView, ...]
    money: tuple[Figure, ...]
    months: tuple[Month, ...]
    at: Moment


MOST_IMAGES = 13
ALL = "all"
"""In place of a folder's key: everything."""

_BURST = (
    "More files came at once than the folder's burst guard allows. Take out what was not meant; release the rest to "
    "have it expanded and paid for."
)


def folder_key(inbox: Path) -> str:
    """What a folder is called in a form: no path comes from a browser."""
    return hashlib.sha256(os.fsencode(inbox)).hexdigest()[:16]


def page_view(overview: Overview, ledger: Sequence[LedgerLine] = ()) -> PageView:
    now, names = overview.at, Names.of(overview.folders)
    thumbnails = [image_view(job, now, names) for job in overview.done if job.target is not None][:MOST_IMAGES]
    in_progress = [job for job in overview.in_progress if not job.held]
    return PageView(
        headline=_headline(overview, names),
        remark=_remark(overview, names),
        tone=_tone(overview),
        button=_main_button(overview),
        pauses=(*_pauses(overview, names), *_troubles(overview, names)),
        figures=tuple(_figures(overview)),
        newest=thumbnails[0] if thumbnails else None,
        thumbnails=tuple(thumbnails[1:]),
        in_progress=tuple(in_progress_view(job, now, names) for job in in_progress),
        more_in_progress=max(0, _in_progress(overview) - len(in_progress)),
        held=tuple(held_view(job, now, names) for job in overview.held),
        failed=tuple(failed_view(job, now, names) for job in overview.failed),
        in_error=max(_in_error(overview), len(overview.failed)),
        retry_all=Button(Verb.RETRY.value, "Try all again", "whose files lie in the error folders", folder=ALL),
        dismissed=sum(folder.dismissed for folder in overview.folders),
        folders=tuple(_folder(folder, overview, names) for folder in overview.folders),
        money=tuple(_money(overview)),
        months=tuple(_months(ledger, overview)),
        at=moment(now, now),
    )


# --- the head of the page ---


def _everything_pauses(overview: Overview) -> Pause | None:
    """The pause of everything to show: one that a person has set before any other."""
    pauses = [pause for pause in overview.pauses if pause.inbox is None]
    return min(pauses, key=lambda pause: pause.reason is not PauseReason.PAUSED, default=None)


def _halted(overview: Overview) -> tuple[Pause, ...]:
    """What holds up one folder."""
    return tuple(pause for pause in overview.pauses if pause.inbox is not None and pause.relative is None)


def _headline(overview: Overview, names: Names) -> str:
    waiting, in_progress = _waiting(overview), _in_progress(overview)
    pause, halted = _everything_pauses(overview), _halted(overview)
    if not overview.running:
        return "expandd does not run"
    if pause is not None:
        return "Paused" if pause.reason is PauseReason.PAUSED else f"Everything waits: {_title(pause)}"
    if in_progress:
        return f"Expanding {counted(in_progress, 'image')}"
    if halted and waiting == _waiting(overview, halted):
        return _who_waits(halted, names)
    if waiting:
        return f"{counted(waiting, 'file')} waiting"
    if held := sum(folder.held for folder in overview.folders):
        return f"{counted(held, 'image')} {'needs' if held == 1 else 'need'} you"
    return "All done" if overview.done else "Ready"


def _who_waits(halted: Sequence[Pause], names: Names) -> str:
    inboxes = dict.fromkeys(pause.inbox for pause in halted if pause.inbox)
    if len(inboxes) > 1:
        return f"{len(inboxes)} folders wait"
    return f"{names.folder(next(iter(inboxes)))} waits: {_title(halted[0])}"


def _remark(overview: Overview, names: Names) -> str:
    waiting, pause, halted = _waiting(overview), _everything_pauses(overview), _halted(overview)
    if not overview.running:
        return f"Files wait in their inboxes: {number(waiting)}. Start it with: systemctl start expandd"
    if pause is not None:
        since = f" Since {clock(pause.since, overview.at)}." if pause.since else ""
        return f"{_why(pause, names)}{since}"
    words, flows = [], _in_progress(overview) or waiting > _waiting(overview, halted)
    if waiting and (_in_progress(overview) or not flows):
        words.append(
            f"{number(waiting)} more waiting" if _in_progress(overview) else f"{counted(waiting, 'file')} waiting"
        )
    if flows and overview.pace.seconds_left:
        words.append(f"{'' if halted else 'all '}done in about {lasting(overview.pace.seconds_left)}")
    if flows and halted:
        words = [*([", ".join(words)] if words else []), _who_waits(halted, names)]
        return _sentence("; ".join(words))
    if not words:
        last = ended(overview.done[0]) if overview.done else None
        return f"The last image was done at {clock(last, overview.at)}." if last else "Drop an image into an inbox."
    return _sentence(", ".join(words))


def _tone(overview: Overview) -> str:
    if not overview.running or _everything_pauses(overview) is not None:
        return "halted"
    if _in_progress(overview):
        return "working"
    return "halted" if _halted(overview) or any(folder.held for folder in overview.folders) else "resting"


def _main_button(overview: Overview) -> Button:
    paused = any(pause.inbox is None and pause.reason is PauseReason.PAUSED for pause in overview.pauses)
    if paused:
        return Button(Verb.RESUME.value, "Resume", "everything", folder=ALL, strong=True)
    return Button(Verb.PAUSE.value, "Pause all", "(what is paid for is still fetched)", folder=ALL)


def _waiting(overview: Overview, halted: Sequence[Pause] | None = None) -> int:
    """The files that wait, or those of them in folders that are held up."""
    inboxes = None if halted is None else {pause.inbox for pause in halted}
    return sum(folder.waiting for folder in overview.folders if inboxes is None or folder.inbox in inboxes)


def _in_progress(overview: Overview) -> int:
    return sum(folder.in_progress for folder in overview.folders)


def _in_error(overview: Overview) -> int:
    """The errors that nobody has dismissed."""
    return sum(max(0, folder.in_error - folder.dismissed) for folder in overview.folders)


def _figures(overview: Overview) -> Iterator[Figure]:
    folders = overview.folders
    oldest = max((folder.oldest for folder in folders if folder.oldest is not None), default=None)
    yield Figure("Waiting", number(_waiting(overview)), f"oldest {lasting(oldest)}" if oldest else "")
    yield Figure("In progress", number(_in_progress(overview)))
    pace = overview.pace
    yield Figure("Done today", number(sum(folder.done for folder in folders)), _per_hour(pace.per_hour))
    in_error, held = _in_error(overview), sum(folder.held for folder in folders)
    yield Figure("In error", number(in_error), f"{held} need you" if held else "", "bad" if in_error or held else "")


def _per_hour(images: float) -> str:
    return f"{number(round(images))} in the last hour" if images else ""


_SHORT_OF_MONEY = frozenset({PauseReason.BUDGET_SPENT, PauseReason.CREDITS_RESERVED, PauseReason.NO_CREDITS})


def _money(overview: Overview) -> Iterator[Figure]:
    money = overview.money
    short = any(pause.reason in _SHORT_OF_MONEY for pause in overview.pauses)
    limited = short or any(_left(folder, money) is not None for folder in overview.folders)
    no_limit = "" if limited else "no limit"
    yield Figure(
        "Paid today", number(money.paid_today), _words_left(_least(money.day_left, money.month_left), no_limit)
    )
    yield Figure("This month", number(money.paid_this_month), _words_left(money.month_left, no_limit))
    if money.credits is not None:
        seen = f"at {clock(money.credits_at, overview.at)}" if money.credits_at else ""
        yield Figure("Credits", f"{money.credits.normalize():,f}".replace(",", "\u202f"), seen)


def _least(*amounts: int | None) -> int | None:
    return min((amount for amount in amounts if amount is not None), default=None)


def _left(folder: FolderOverview, money: Money) -> int | None:
    """How many more images the folder may have paid for now, by all budgets."""
    return _least(folder.day_left, folder.month_left, money.day_left, money.month_left)


def _words_left(images: int | None, no_limit: str) -> str:
    return no_limit if images is None else f"{number(images)} left"


def _months(ledger: Sequence[LedgerLine], overview: Overview) -> Iterator[Month]:
    """The months of the ledger, the newest first; what was paid in this one the overview knows better."""
    lines: defaultdict[str, list[LedgerLine]] = defaultdict(list)
    for line in ledger:
        lines[line.day[:7]].append(line)
    this, money = month_of(overview.at), overview.money
    for month in sorted({*lines, this}, reverse=True):
        paid = money.paid_this_month if month == this else sum(line.paid for line in lines[month])
        yield Month(
            name=month_name(month),
            paid=number(paid),
            delivered=number(sum(line.delivered for line in lines[month])),
            failed=number(sum(line.failed for line in lines[month])),
            saved=number(sum(line.saved for line in lines[month])),
            credits="" if money.price is None else number(round(paid * money.price)),
            cost="" if money.cost is None else money.cost.words(paid),
        )


# --- what waits ---


def _pauses(overview: Overview, names: Names) -> Iterator[PauseView]:
    """All but the one that the head of the page tells of."""
    headline = _everything_pauses(overview) if overview.running else None
    yield from (_pause(pause, overview.at, names) for pause in overview.pauses if pause is not headline)


def _troubles(overview: Overview, names: Names) -> Iterator[PauseView]:
    """What is wrong with the daemon itself."""
    for loop in overview.failing:
        why = f"{_sentence(names.text(loop.why))} The rest goes on, and it is tried again: see the log."
        yield _trouble(f"Something in expandd itself fails: {printable(loop.name)}", why, loop.since, overview.at)
    if overview.told_at is not None and overview.at - overview.told_at > OLD:
        yield _trouble(
            "expandd gives no sign of life",
            "What waits on what may be out of date: see its log.",
            overview.told_at,
            overview.at,
        )
    if overview.lost_log_lines:
        lost = counted(overview.lost_log_lines, "line was", "lines were")
        yield _trouble(
            "Lines of the log are lost", f"Since it started {lost} lost: check the disk or the program that reads them."
        )
    if overview.account_shared_with:
        who = names.text(overview.account_shared_with)
        yield _trouble("The account is shared", f"{who} works with it too; each may have to wait for the other.")


def _trouble(title: str, why: str, since: float = 0.0, now: float = 0.0) -> PauseView:
    return PauseView(title=title, why=why, at=moment(since, now) if since else None, button=None)


def _pause(pause: Pause, now: float, names: Names) -> PauseView:
    called = "Everything" if pause.inbox is None else names.folder(pause.inbox)
    return PauseView(
        title=f"{called} waits: {_title(pause)}",
        why=_why(pause, names),
        at=moment(pause.since, now) if pause.since else None,
        button=_lifting(pause, names),
    )


def _lifting(pause: Pause, names: Names) -> Button | None:
    key, about = (ALL, "everything") if pause.inbox is None else (folder_key(pause.inbox), names.folder(pause.inbox))
    if pause.reason is PauseReason.PAUSED and not _by_file(pause):
        return Button(Verb.RESUME.value, "Resume", about, folder=key, strong=True)
    if pause.reason is PauseReason.BURST:
        return Button(Verb.RELEASE.value, "Release", about, folder=key, strong=True)
    return None


def _title(pause: Pause) -> str:
    """In a few words; here a button does what a command does elsewhere."""
    return pause.reason.title.partition(" and wait for `")[0]


def _why(pause: Pause, names: Names) -> str:
    if pause.reason is PauseReason.BURST:
        return _BURST
    why = _sentence(names.text(pause.why))
    remedy = names.text(pause.remedy)
    said = pause.reason.says_remedy or pause.reason is PauseReason.PAUSED or remedy in why
    return why if said else f"{why} {remedy}"


def _by_file(pause: Pause) -> bool:
    """Whether a file in the inbox pauses the folder, which only its removal ends."""
    name, lies, _ = pause.why.partition(" lies ")
    return bool(lies) and is_pause(Path(name))


def _sentence(words: str) -> str:
    """The text with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith((".", "!", "?")) else ".")


def _folder(folder: FolderOverview, overview: Overview, names: Names) -> FolderView:
    name, key = names.folder(folder.inbox), folder_key(folder.inbox)
    mine = [pause for pause in overview.pauses if pause.inbox == folder.inbox]
    lifting = [replace(button, strong=False) for pause in mine if (button := _lifting(pause, names))]
    if not any(button.verb == Verb.RESUME.value for button in lifting):
        lifting.insert(0, Button(Verb.PAUSE.value, "Pause", name, folder=key))
    left = _left(folder, overview.money)
    return FolderView(
        name=name,
        path="" if folder.label else printable(folder.inbox),
        preset=printable(folder.preset_name),
        waiting=number(folder.waiting) if folder.counted else "?",
        oldest=lasting(folder.oldest) if folder.oldest else "",
        in_progress=number(folder.in_progress),
        done=number(folder.done),
        in_error=max(0, folder.in_error - folder.dismissed),
        paid=number(folder.paid_today),
        left="no limit" if left is None else number(left),
        pauses=tuple(replace(_pause(pause, overview.at, names), title=_title(pause)) for pause in mine),
        buttons=tuple(lifting),
    )
