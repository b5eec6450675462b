"""What the templates show: an overview and its jobs as plain values."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.commands import Verb
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import PauseReason
from expandd.domain.selection import is_pause
from expandd.service.observability.redaction import safe_text
from expandd.service.page.drawings import Canvas, canvas_of
from expandd.service.page.text import (
    added,
    clock,
    counted,
    folder_name,
    lasting,
    machine_time,
    number,
    state_words,
)
from expandd.service.reports.overview import FolderOverview, Overview, Pause


@dataclass(frozen=True, slots=True)
class Button:
    """Something to command: the verb, about which job or folder (its key), and what stands on the button."""

    verb: str
    words: str
    about: str
    job: str = ""
    folder: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A time for people and for machines."""

    words: str
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One result beside its source."""

    job: str
    name: str
    folder: str
    preset: str
    at: Moment
    sizes: str
    added: str
    made: str
    canvas: Canvas | None
    source_alt: str
    result_alt: str
    differs: str
    free: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A file in progress, in need of a person, or in the error folder."""

    job: str
    name: str
    folder: str
    at: Moment
    words: str
    advice: str
    thumbnail: str
    buttons: tuple[Button, ...]


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
    in_flight: str
    done: str
    in_error: int
    paid: str
    left: str
    halted: str
    button: Button


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, and a remark."""

    name: str
    value: str
    remark: str = ""
    tone: str = ""


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
    more_failed: int
    folders: tuple[FolderView, ...]
    money: tuple[Figure, ...]
    at: Moment


_UNDONE = frozenset({JobState.CLAIMED, JobState.UPLOADED})


def image_view(job: Job, now: float) -> ImageView:
    assert job.target is not None, "delivered"
    name = printable(job.target.name)
    before, result = job.source.size, job.final
    after = result.size if result else None
    differs = ""
    if job.finish_failed:
        differs = f"This is the API's own image; it could not be finished: {safe_text(job.finish_failed)}"
    elif result is not None and result.differs:
        differs = f"The API made {result.size} px; the folder asks for {result.expected} px."
    return ImageView(
        job=job.id,
        name=name,
        folder=folder_name(job.place.inbox),
        preset=printable(job.place.preset_name),
        at=moment(ended(job), now),
        sizes=f"{before} → {after} px" if before and after else "",
        added=added(job.offsets),
        made=_made(job),
        canvas=canvas_of(job),
        source_alt=f"Original of {name}, {before} px, on the canvas of its result" if before else f"Original of {name}",
        result_alt=f"Result {name}, {after} px, {added(job.offsets)}" if after else f"Result {name}",
        differs=differs,
        free=bool(job.reused_from),
    )


def _made(job: Job) -> str:
    """What the API saw, and whether the original's pixels are back; nothing where it saw the file itself."""
    if job.prepared is None:
        return ""
    back = "; the original's own pixels are put back" if job.has_original_pixels else ""
    return f"The API saw {job.prepared.size} px{back}"


def in_progress_view(job: Job, now: float) -> JobView:
    buttons = []
    if job.note:
        buttons.append(Button(Verb.RETRY.value, "Try now", printable(job.relative.name), job=job.id))
    if job.state in _UNDONE:
        buttons.append(Button(Verb.CANCEL.value, "Cancel", printable(job.relative.name), job=job.id))
    return _job(job, now, words=state_words(job), advice=safe_text(job.note), buttons=tuple(buttons))


def held_view(job: Job, now: float) -> JobView:
    name = printable(job.relative.name)
    if job.lost_result:
        given_up = Button(Verb.PAID.value, "Give it up", f"{name} goes to the error folder", job=job.id)
        advice = "Ask the API for its result. Nothing more is paid for it."
        return _job(job, now, words=safe_text(job.note), advice=advice, buttons=(given_up,))
    return _job(
        job,
        now,
        words="Nobody can tell whether this image was paid for; nothing more is paid for it meanwhile.",
        advice="Look into your account at PiktID, then say here what you found.",
        buttons=(
            Button(Verb.PAID.value, "It was paid", f"{name} goes to the error folder", job=job.id),
            Button(Verb.NOT_PAID.value, "It was not paid", f"{name} is expanded, and paid for", job=job.id),
        ),
    )


def failed_view(job: Job, now: float) -> JobView:
    fault = job.fault
    return _job(
        job,
        now,
        words=safe_text(fault.message) if fault else "It went to the error folder.",
        advice=safe_text(fault.what_to_do) if fault else "",
        buttons=(Button(Verb.RETRY.value, "Try again", printable(job.relative.name), job=job.id),),
    )


def _job(job: Job, now: float, *, words: str, advice: str, buttons: tuple[Button, ...]) -> JobView:
    return JobView(
        job=job.id,
        name=printable(job.relative.name),
        folder=folder_name(job.place.inbox),
        at=moment(ended(job), now),
        words=words,
        advice=advice,
        thumbnail=f"{printable(job.relative.name)}, {job.source.size} px" if job.source.size else "",
        buttons=buttons,
    )


def ended(job: Job) -> float:
    """When it came to where it is."""
    return job.stamps[-1].at if job.stamps else 0.0


def moment(at: float, now: float) -> Moment:
    return Moment(clock(at, now), machine_time(at))


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


def page_view(overview: Overview, most_images: int = MOST_IMAGES) -> PageView:
    now = overview.at
    thumbnails = [image_view(job, now) for job in overview.done if job.target is not None][:most_images]
    in_flight = sum(folder.in_flight for folder in overview.folders)
    in_progress = [job for job in overview.in_progress if not job.held]
    in_error = sum(folder.in_error for folder in overview.folders)
    return PageView(
        headline=_headline(overview),
        remark=_remark(overview),
        tone=_tone(overview),
        button=_main_button(overview),
        pauses=tuple(_pauses(overview)),
        figures=tuple(_figures(overview)),
        newest=thumbnails[0] if thumbnails else None,
        thumbnails=tuple(thumbnails[1:]),
        in_progress=tuple(in_progress_view(job, now) for job in in_progress),
        more_in_progress=max(0, in_flight - len(in_progress)),
        held=tuple(held_view(job, now) for job in overview.held),
        failed=tuple(failed_view(job, now) for job in overview.failed),
        more_failed=max(0, in_error - len(overview.failed)),
        folders=tuple(_folder(folder, overview.pauses) for folder in overview.folders),
        money=tuple(_money(overview)),
        at=moment(now, now),
    )


# --- the head of the page ---


def _everything_pauses(overview: Overview) -> Pause | None:
    """What holds up everything; a pause before all else, because it is a person who lifts it."""
    pauses = [pause for pause in overview.pauses if pause.inbox is None]
    return min(pauses, key=lambda pause: pause.reason is not PauseReason.PAUSED, default=None)


def _headline(overview: Overview) -> str:
    waiting, in_flight = _waiting(overview), sum(folder.in_flight for folder in overview.folders)
    pause = _everything_pauses(overview)
    if not overview.running:
        return "expandd does not run"
    if pause is not None:
        return "Paused" if pause.reason is PauseReason.PAUSED else f"Everything waits: {pause.reason.title}"
    if in_flight:
        return f"Expanding {counted(in_flight, 'image')}"
    if waiting:
        return f"{counted(waiting, 'file')} waiting"
    return "All done" if overview.done else "Ready"


def _remark(overview: Overview) -> str:
    waiting, pause = _waiting(overview), _everything_pauses(overview)
    if not overview.running:
        return f"Files wait in their inboxes: {number(waiting)}. Start it with: systemctl start expandd"
    if pause is not None:
        since = f" Since {clock(pause.since, overview.at)}." if pause.since else ""
        return f"{_why(pause)}{since}"
    words = [f"{number(waiting)} more waiting"] if waiting else []
    if overview.pace.seconds_left:
        words.append(f"all done in about {lasting(overview.pace.seconds_left)}")
    if not words:
        last = ended(overview.done[0]) if overview.done else None
        return f"The last image was done at {clock(last, overview.at)}." if last else "Drop an image into an inbox."
    return _sentence(", ".join(words))


def _tone(overview: Overview) -> str:
    if not overview.running or _everything_pauses(overview) is not None:
        return "halted"
    return "working" if any(folder.in_flight for folder in overview.folders) else "resting"


def _main_button(overview: Overview) -> Button:
    paused = any(pause.inbox is None and pause.reason is PauseReason.PAUSED for pause in overview.pauses)
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


def _pauses(overview: Overview) -> Iterator[PauseView]:
    """All but the one that the head of the page tells of."""
    told = _everything_pauses(overview) if overview.running else None
    yield from (_pause(pause, overview.at) for pause in overview.pauses if pause is not told)


def _pause(pause: Pause, now: float) -> PauseView:
    key, about = (ALL, "everything") if pause.inbox is None else (folder_key(pause.inbox), folder_name(pause.inbox))
    button = None
    if pause.reason is PauseReason.PAUSED and not _by_file(pause):
        button = Button(Verb.RESUME.value, "Resume", about, folder=key, strong=True)
    elif pause.reason is PauseReason.BURST:
        button = Button(Verb.RELEASE.value, "Release", about, folder=key, strong=True)
    return PauseView(
        title=f"{'Everything' if pause.inbox is None else about} waits: {pause.reason.title}",
        why=_why(pause),
        at=moment(pause.since, now) if pause.since else None,
        button=button,
    )


def _why(pause: Pause) -> str:
    if pause.reason is PauseReason.BURST:
        return _BURST
    why = _sentence(safe_text(pause.why))
    return (
        why
        if pause.reason.says_remedy or pause.reason is PauseReason.PAUSED or pause.lifts in why
        else f"{why} {pause.lifts}"
    )


def _by_file(pause: Pause) -> bool:
    """Whether a file in the inbox pauses it: only who takes that away goes on."""
    name, lies, _ = pause.why.partition(" lies ")
    return bool(lies) and is_pause(Path(name))


def _sentence(words: str) -> str:
    """With a capital letter and an end."""
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith((".", "!", "?")) else ".")


def _folder(folder: FolderOverview, pauses: tuple[Pause, ...]) -> FolderView:
    name, key = folder_name(folder.inbox), folder_key(folder.inbox)
    mine = [pause for pause in pauses if pause.inbox == folder.inbox]
    paused = any(pause.reason is PauseReason.PAUSED and not _by_file(pause) for pause in mine)
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
