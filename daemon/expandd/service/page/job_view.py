"""What the templates show of jobs: a result, a file in progress, one in error, one that needs a person.

Also lists of all results and of all errors, page by page, and those of them that have a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from expandd.domain.commands import Verb
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.service.observability.redaction import safe_text
from expandd.service.page.drawings import Canvas, canvas_of
from expandd.service.page.text import added, clock, machine_time, state_words
from expandd.service.reports.overview import FolderOverview, labels_of, short_name


@dataclass(frozen=True, slots=True)
class Names:
    """What people call the hot folders, and what they call their directories in sentences."""

    folders: Mapping[Path, str]
    directories: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, folders: Iterable[FolderOverview]) -> Self:
        folders = tuple(folders)
        known = {
            printable(directory): _below(folder.label, printable(directory.name))
            for folder in folders
            if folder.label
            for directory in folder.directories
        }
        # The longest first: one may begin as another is called.
        return cls(labels_of(folders), tuple(sorted(known.items(), key=lambda pair: -len(pair[0]))))

    def folder(self, inbox: Path) -> str:
        return self.folders.get(inbox) or short_name(inbox)

    def text(self, text: str) -> str:
        """A sentence for people: without secrets, and with the share's name in place of this machine's paths."""
        text = safe_text(text)
        for path, called in self.directories:
            text = text.replace(path, called)
        return text


def _below(label: str, name: str) -> str:
    r"""The share's directory as people write it: \\nas\print\in, or print/in."""
    return f"{label}\\{name}" if "\\" in label else f"{label}/{name}"


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
    kept: bool
    """Whether its original was kept, too."""


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


_UNDONE = frozenset({JobState.CLAIMED, JobState.UPLOADED})


def image_view(job: Job, now: float, names: Names) -> ImageView:
    assert job.target is not None, "delivered"
    name = printable(job.target.name)
    before, result = job.source.size, job.final
    after = result.size if result else None
    differs = ""
    if job.finish_failed:
        differs = f"This is the API's own image; it could not be finished: {names.text(job.finish_failed)}"
    elif result is not None and result.differs:
        differs = f"The API made {result.size} px; the folder asks for {result.expected} px."
    return ImageView(
        job=job.id,
        name=name,
        folder=names.folder(job.folder.inbox),
        preset=printable(job.folder.preset_name),
        at=moment(ended(job), now),
        sizes=f"{before} → {after} px" if before and after else "",
        added=added(job.offsets),
        made=_made(job),
        canvas=canvas_of(job),
        source_alt=f"Original of {name}, {before} px, on the canvas of its result" if before else f"Original of {name}",
        result_alt=f"Result {name}, {after} px, {added(job.offsets)}" if after else f"Result {name}",
        differs=differs,
        free=bool(job.reused_from),
        kept=job.archived_to is not None,
    )


def _made(job: Job) -> str:
    """What the API saw, and whether the original's pixels are back; nothing where it saw the file itself."""
    if job.prepared is None:
        return ""
    back = "; the original's own pixels are put back" if job.has_original_pixels else ""
    return f"The API saw {job.prepared.size} px{back}"


def in_progress_view(job: Job, now: float, names: Names) -> JobView:
    buttons = []
    if job.note:
        buttons.append(Button(Verb.RETRY.value, "Try now", printable(job.relative.name), job=job.id))
    if job.state in _UNDONE:
        buttons.append(Button(Verb.CANCEL.value, "Cancel", printable(job.relative.name), job=job.id))
    return _job(job, now, names, words=state_words(job), advice=job.note, buttons=tuple(buttons))


def held_view(job: Job, now: float, names: Names) -> JobView:
    name = printable(job.relative.name)
    if job.lost_result:
        given_up = Button(Verb.PAID.value, "Give it up", f"{name} goes to the error folder", job=job.id)
        advice = "Ask the API for its result. Nothing more is paid for it."
        return _job(job, now, names, words=job.note, advice=advice, buttons=(given_up,))
    return _job(
        job,
        now,
        names,
        words="It is unknown whether this image was paid for; nothing more is paid for it meanwhile.",
        advice="Check your account at PiktID, then say here what you found.",
        buttons=(
            Button(Verb.PAID.value, "It was paid", f"{name} goes to the error folder", job=job.id),
            Button(Verb.NOT_PAID.value, "It was not paid", f"{name} is expanded, and paid for", job=job.id),
        ),
    )


def failed_view(job: Job, now: float, names: Names, *, there: bool = True) -> JobView:
    """`there` is whether it still lies in the error folder."""
    fault, name = job.fault, printable(job.relative.name)
    retry = Button(Verb.RETRY.value, "Try again", name, job=job.id)
    dismiss = Button(Verb.DISMISS.value, "Dismiss", f"the error of {name}", job=job.id)
    advice = fault.what_to_do if fault else ""
    if job.dismissed:
        advice = "Dismissed."
    return _job(
        job,
        now,
        names,
        words=fault.message if fault else "It went to the error folder.",
        advice=advice if there else "It is not in the error folder any more.",
        buttons=(*([retry] if there else []), *([dismiss] if there and not job.dismissed else [])),
    )


def _job(job: Job, now: float, names: Names, *, words: str, advice: str, buttons: tuple[Button, ...]) -> JobView:
    return JobView(
        job=job.id,
        name=printable(job.relative.name),
        folder=names.folder(job.folder.inbox),
        at=moment(ended(job), now),
        words=names.text(words),
        advice=names.text(advice),
        thumbnail=f"{printable(job.relative.name)}, {job.source.size} px" if job.source.size else "",
        buttons=buttons,
    )


def ended(job: Job) -> float:
    """When it came to where it is."""
    return job.state_changes[-1].at if job.state_changes else 0.0


def moment(at: float, now: float) -> Moment:
    return Moment(clock(at, now), machine_time(at))


LISTED = 24
"""Jobs on one page."""
LONGEST = 200
"""Characters of a name that is looked for."""
FURTHEST = 100_000

RESULTS, ERRORS = "results", "errors"
KINDS = {RESULTS: JobState.DONE, ERRORS: JobState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person wants to see: `page` counts from 1."""

    kind: str
    name: str = ""
    page: int = 1

    @classmethod
    def of(cls, kind: str, query: Mapping[str, str]) -> Asked:
        """Of an address; what makes no sense in it is as if it were not there."""
        page = query.get("page", "")
        number = int(page) if page.isascii() and page.isdecimal() and len(page) < len(str(FURTHEST)) else 1
        return cls(kind=kind, name=query.get("name", "").strip()[:LONGEST], page=max(1, number))

    @property
    def skip(self) -> int:
        return (self.page - 1) * LISTED

    def address(self, page: int) -> str:
        asked = {"name": self.name} if self.name else {}
        return f"/{self.kind}?{urlencode(asked | ({'page': str(page)} if page > 1 else {}))}".rstrip("?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """Jobs that are over, whether there are more behind them, and which of their originals lie where they were put."""

    jobs: tuple[Job, ...] = ()
    more: bool = False
    there: frozenset[Path] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListView:
    """One page of a list."""

    title: str
    kind: str
    name: str
    page: int
    images: tuple[ImageView, ...]
    failed: tuple[JobView, ...]
    newer: str
    older: str


def list_view(asked: Asked, over: Over, names: Names, now: float) -> ListView:
    images = tuple(image_view(job, now, names) for job in over.jobs if asked.kind == RESULTS)
    failed = tuple(
        failed_view(job, now, names, there=job.archived_to in over.there) for job in over.jobs if asked.kind == ERRORS
    )
    what = "Results" if asked.kind == RESULTS else "Errors"
    return ListView(
        title=f"{what} called “{printable(asked.name)}”" if asked.name else f"All {what.lower()}",
        kind=asked.kind,
        name=asked.name,
        page=asked.page,
        images=images,
        failed=failed,
        newer=asked.address(asked.page - 1) if asked.page > 1 else "",
        older=asked.address(asked.page + 1) if over.more else "",
    )
