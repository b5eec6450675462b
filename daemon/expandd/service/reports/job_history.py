"""The history of a job: its steps, where its files lie now, what happens next and on what it waits."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expandd.adapters.files.roots import WORK, Roots
from expandd.adapters.files.scan import Scanner
from expandd.adapters.files.sidecars import ERROR_ENDING
from expandd.adapters.responsiveness import AnsweringRoots, answered
from expandd.adapters.store.sql.queries import Names
from expandd.domain.job import MAYBE_PAID, Job, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import Blocks, PauseReason
from expandd.domain.settings import Settings
from expandd.service.reports.overview import Pause, asked
from expandd.service.reports.snapshot import Snapshot


def names_of(file: str) -> Names:
    """The names that `file` may stand for: an id, a path, or the last parts of one."""
    absolute = absolute_path(file)
    plain = [file, *(file.removesuffix(ending) for ending in (ERROR_ENDING, ".json") if file.endswith(ending))]
    paths = {absolute, real_path(absolute)}
    parts = absolute.parts
    ids = {file, absolute.name}
    if WORK in parts[:-1]:
        ids.add(parts[parts.index(WORK) + 1])
    with_reasons = {path.with_name(name) for path in paths for name in _explained(path.name)}
    tails = {Path(os.path.normpath(one)) for one in plain if not one.startswith("/")}
    # An id is text; a name of broken bytes is none.
    return Names(
        ids=frozenset(filter(str.isprintable, ids)), paths=frozenset(paths | with_reasons), tails=frozenset(tails)
    )


def _explained(name: str) -> set[str]:
    """What a file of this name may be the report on; nothing where nothing is left of it."""
    return {name.removesuffix(ending) for ending in (ERROR_ENDING, ".json")} - {""}


def absolute_path(file: str) -> Path:
    return Path(os.path.abspath(file))  # noqa: PTH100 - a link's own path is meant, not that of its target


def real_path(path: Path) -> Path:
    """The path with links resolved in its directory, not in its last part; as it is where its disk does not answer."""
    return answered(lambda: Path(os.path.realpath(path.parent)), path.parent) / path.name


S = JobState

WORDS = {
    S.CLAIMED: "taken out of the inbox",
    S.UPLOADED: "uploaded; nothing is paid yet",
    S.SUBMITTING: "about to be paid for",
    S.ACCEPTED: "paid for; the API draws it",
    S.UNKNOWN: "the answer to the paid call was lost",
    S.RENDERED: "the API has the result",
    S.DOWNLOADED: "the result is fetched, checked and safe on the local disk",
    S.DELIVERED: "the result is in the outbox",
    S.DONE: "the original is archived; all is done",
    S.FAILED: "it cannot be expanded",
    S.RETURNED: "given up before anything was paid",
}


def made_of(job: Job) -> str:
    """What was made of the API's image, as the end of a sentence."""
    if job.finish_failed:
        return f"as the API made it, since it could not be finished: {printable(job.finish_failed)}"
    if job.as_made:
        return "as the API made it"
    whose = "the original's own pixels put back" if job.has_original_pixels else "the API's pixels"
    return f"{whose}, with the original's colour profile, resolution and metadata"


_UNPAID = frozenset({S.CLAIMED, S.UPLOADED})
_ASKING = frozenset({S.SUBMITTING, S.ACCEPTED, S.UNKNOWN, S.RENDERED})


@dataclass(frozen=True, slots=True)
class Step:
    """A state and when it was entered (epoch seconds); how long it lasted, None for the last one."""

    state: JobState
    at: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Lying:
    """Where a file of the job lies, or lay when it was last seen; `there` is None where nobody can look."""

    what: str
    path: Path
    there: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a history needs besides the job: the configuration, the running process and the pauses."""

    settings: Settings
    running: str
    snapshot: Snapshot | None
    pauses: tuple[Pause, ...]
    away: frozenset[Path]
    """Inboxes of folders that give no answer, which are not read."""
    silent: frozenset[Path] = frozenset()
    """Directories of hot folders whose disk gives no answer, be it that of the outbox alone."""
    paused: frozenset[tuple[Path, Path]]
    """Single files that a person has paused: their inbox, and their path below it."""
    now: float

    @property
    def roots(self) -> Roots:
        """The way to what lies in hot folders."""
        return AnsweringRoots.but(self.silent, self.settings.folders, self.settings.state_dir)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHistory:
    """All of it. `next_at` (epoch seconds) is when the job is looked at next, as far as the running daemon told."""

    job: Job
    steps: tuple[Step, ...]
    lying: tuple[Lying, ...]
    next: str
    next_at: float | None
    waits_on: tuple[Pause, ...]


def history_of(job: Job, around: Surroundings) -> JobHistory:
    """The history of one job, open or over."""
    due = around.snapshot.due if around.snapshot else ()
    open_and_running = bool(around.running) and not job.closed
    return JobHistory(
        job=job,
        steps=tuple(_steps(job)),
        lying=tuple(_lying(job, around)),
        next=_next(job, around),
        next_at=next((one.at for one in due if one.job_id == job.id), None) if open_and_running else None,
        waits_on=() if job.closed else tuple(_waits_on(job, around)),
    )


def _waits_on(job: Job, around: Surroundings) -> Iterator[Pause]:
    yield from (pause for pause in around.pauses if _holds_up(pause, job))
    if job.state in _UNPAID and (job.folder.inbox, job.relative) in around.paused:
        yield paused_file(job.folder.inbox, job.relative)


def paused_file(inbox: Path, relative: Path) -> Pause:
    """The pause of one single file."""
    return Pause(
        inbox=inbox,
        reason=PauseReason.PAUSED,
        relative=relative,
        why="A person has paused this one file.",
        since=0.0,
        remedy="`expandd resume FILE` lets it go on.",
    )


def _steps(job: Job) -> Iterator[Step]:
    for change, after in itertools.zip_longest(job.state_changes, job.state_changes[1:]):
        # A clock that stepped back counts as no time.
        yield Step(change.state, change.at, None if after is None else max(0.0, after.at - change.at))


def _lying(job: Job, around: Surroundings) -> Iterator[Lying]:
    away = job.folder.inbox in around.away
    if job.original_removed:
        pass
    elif job.archived_to is not None and (job.closed or _there(job.archived_to, around, away=away)):
        yield Lying("original", job.archived_to, _there(job.archived_to, around, away=away))
    elif not job.closed:
        yield Lying("original, in work", job.work_file, _there(job.work_file, around, away=away))
    if job.target is not None:
        yield Lying("result", job.target, _there(job.target, around, away=away))
    elif job.state is S.DOWNLOADED:
        path = around.settings.state_dir / "spool" / job.id
        yield Lying("result, not delivered yet", path, _there(path, around, away=False))


def _there(path: Path, around: Surroundings, *, away: bool) -> bool | None:
    if away:
        return None
    try:
        return Scanner(around.roots).there(path)
    except OSError:
        return None


def _holds_up(pause: Pause, job: Job) -> bool:
    if pause.inbox not in {None, job.folder.inbox}:
        return False
    if job.state in _UNPAID and job.fault is None:
        return True
    if job.state in _ASKING:
        return pause.inbox is None and pause.reason.blocks is Blocks.CALLS
    return pause.inbox is not None and pause.reason.blocks is Blocks.STORING


def _next(job: Job, around: Surroundings) -> str:
    words = _over(job) if job.closed else _open(job, around)
    if job.closed or around.running or around.settings.cluster.joined:
        return words
    return f"expandd does not run; when it does: {words}"


def _over(job: Job) -> str:
    if job.state is S.FAILED:
        what = f"{job.fault.what_to_do} " if job.fault else ""
        return what.strip() if job.original_lost else f"{what}Moving the file back into the inbox tries it again."
    if job.state is S.RETURNED:
        return "If it still lies in the inbox, it is looked at as a new file."
    return "Nothing; it is done."


def _open(job: Job, around: Surroundings) -> str:
    if job.held:
        return asked(job)
    if job.fault is not None and job.state in _UNPAID | {S.FAILED}:
        return "It goes to the error folder, with its reason beside it."
    return _NEXT[job.state].format(
        poll=f"{around.settings.api.poll_interval:g}",
        patience=f"{around.settings.api.unknown_wait / 60:g}",
        workers=around.settings.workers,
    )


_NEXT = {
    S.CLAIMED: "It is uploaded, in its turn; that costs nothing.",
    S.UPLOADED: "It is paid for once fewer than {workers} images are generated and the outbox can take it.",
    S.SUBMITTING: "The answer to the paid call is awaited. If it is lost the API is asked; it is never paid again.",
    S.ACCEPTED: "The API is asked for the result every {poll} s at most, for all images at once.",
    S.UNKNOWN: "The API is asked whether it made it, for {patience} min or longer; nothing is paid on a guess.",
    S.RENDERED: "The result is fetched and checked; that is repeated until it is right, free of charge.",
    S.DOWNLOADED: "The result is put into the outbox; that is repeated until it works, free of charge.",
    S.DELIVERED: "The original is archived, and the notification at the API is deleted.",
    S.DONE: "Nothing; it is done.",
    S.FAILED: "It goes to the error folder, with its reason beside it.",
    S.RETURNED: "It is put back into the inbox.",
}


def paid_words(job: Job) -> str:
    """Whether it was paid for, as far as is known."""
    if job.reused_from:
        return "not paid: the same image was paid for before, and its result is used again"
    if job.paid and job.duplicate_of:
        return (
            f"paid once, though this folder had paid for the same bytes before, as {job.duplicate_of}; "
            "`duplicates: reuse` would deliver the earlier result again"
        )
    if job.paid:
        return "paid once"
    if job.state in MAYBE_PAID:
        return "not known yet"
    return "not paid"
