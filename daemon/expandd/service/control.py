"""Carries out commands: finds what a person names, and writes the command for the daemon."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from expandd.adapters.config.load import load, state_dir_of
from expandd.adapters.files.scan import FolderCounter
from expandd.adapters.locks import holder, number_of
from expandd.adapters.responsiveness import BRIEF, lying, silent
from expandd.adapters.store.database import missing, reading, write_commands
from expandd.adapters.store.sql.queries import ALL, Queries
from expandd.domain.commands import Command, Verb
from expandd.domain.errors import FaultCode
from expandd.domain.job import MAYBE_PAID, UNPAID, Job, JobState, host_of
from expandd.domain.naming import printable
from expandd.domain.settings import HotFolder, Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.reports.job_history import absolute_path, names_of, real_path
from expandd.service.reports.overview import labels_of
from expandd.service.reports.snapshot import LOCK, Reading, live_snapshot

MOST = 20
"""Jobs of one name that are searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`job` for a file that was picked up, else `inbox` and `relative` for one that waits, else `inbox`, else all."""

    called: str
    job: Job | None = None
    inbox: Path | None = None
    relative: Path | None = None


EVERYTHING = Target(called="Everything")


def target(what: str | None, settings: Settings, store: Queries | None) -> Target:
    """What `what` names. Raises click.UsageError where it names nothing, or is ambiguous."""
    if what is None:
        return EVERYTHING
    folder = _folder(what, settings)
    if folder is not None:
        return Target(called=f"The hot folder {printable(folder.inbox)}", inbox=folder.inbox)
    waiting = _waiting(what, settings)
    jobs = list(store.named(names_of(what), MOST)) if store else []
    if waiting is not None and not any(job.id == what for job in jobs):
        return waiting
    # An earlier file of the same name that is over is not meant while one is in progress.
    jobs = [job for job in jobs if not job.closed] or jobs[:1]
    if len(jobs) == 1:
        return Target(called=printable(jobs[0].relative), job=jobs[0])
    raise click.UsageError(_not_one(what, jobs))


def _folder(what: str, settings: Settings) -> HotFolder | None:
    path, labels = real_path(absolute_path(what)), labels_of(settings.folders)
    for folder in settings.folders:
        own = folder.directories
        root = folder.inbox.parent if folder.inbox.parent == folder.outbox.parent else None
        if path in {*own, root} or what == labels[folder.inbox]:
            return folder
    return None


def _waiting(what: str, settings: Settings) -> Target | None:
    """A file that lies in an inbox and has not been picked up."""
    path = Path(what)
    below = [] if path.is_absolute() else [(folder, folder.inbox / path) for folder in settings.folders]
    absolute = real_path(absolute_path(what))
    inside = [(folder, absolute) for folder in settings.folders if absolute.is_relative_to(folder.inbox)]
    # Of a name alone it must be known where it lies; a path is taken at its word where its disk does not answer.
    unsure = silent({one.parent for _, one in below}, BRIEF)
    named = [*inside, *((folder, one) for folder, one in below if one.parent not in unsure)]
    there = lying(one for _, one in named)
    found = [(folder, one) for folder, one in named if one in there and one != folder.inbox]
    found = [(folder, one) for folder, one in found if folder.work not in one.parents]
    if len({one for _, one in found}) > 1:
        listed = "\n".join(f"  {printable(one)}" for _, one in found)
        raise click.UsageError(f"{printable(what)} lies in more than one inbox; name one by its path:\n{listed}")
    for folder, one in found:
        relative = one.relative_to(folder.inbox)
        return Target(called=printable(relative), inbox=folder.inbox, relative=relative)
    return None


def _not_one(what: str, jobs: Sequence[Job]) -> str:
    if not jobs:
        return (
            f"Nothing is known of {printable(what)}: it is no hot folder, lies in no inbox, and the job database has "
            "none of that name."
        )
    return f"{printable(what)} names more than one file; name one by its id:\n{_listed(jobs)}"


_WHEN_ALL = {
    Verb.RETRY: "is tried once more: files in error go back into their inbox, what is retrying goes on at once. "
    "Where one was paid for before it failed and works now, it is paid for again. "
    "What a person cancelled or gave up stays: retry it by name",
    Verb.CANCEL: "is cancelled: it goes to the error folder, unless it is paid for",
    Verb.PAUSE: "is paused: nothing new is begun, what is paid for is delivered. `expandd resume` lifts it",
    Verb.RESUME: "goes on, unless something else holds it up: see `expandd status`",
    Verb.RELEASE: "is released: the files that the burst guard holds go on",
}


_BRING_BACK = frozenset({Verb.RETRY, Verb.REDO})


def carry_out_command(verb: Verb, what: str | None, config: Path, *, yes: bool) -> int:
    """Write the command for the daemon, after its target is found and, where it costs, confirmed."""
    # What costs money wants the configuration as it is.
    settings = load(config) if verb is Verb.REDO else as_loaded(config)
    if path := missing(settings):
        raise click.UsageError(
            f"There is no job database {path}: expandd has never run with this state directory, or its disk is not "
            "mounted."
        )
    with reading(settings) as store:
        about = target(what, settings, store)
        commands, said = _commands(verb, about, store, settings)
    if not commands:
        click.echo(said, err=True)
        return ExitCode.USAGE
    if not yes and _needs_answer(verb, about) and not confirmed(said):
        click.echo("Nothing was ordered.")
        return ExitCode.FINE
    write_commands(settings, commands)
    click.echo(f"{said} This is carried out {_when(settings)}.")
    return ExitCode.FINE


def _when(settings: Settings) -> str:
    if settings.cluster.joined:
        return "within seconds, by whichever host it concerns"
    return "within seconds" if holder(settings.state_dir / "lock") else "when expandd runs again"


def confirmed(question: str) -> bool:
    """Whether the person says yes. Raises click.UsageError where nobody can answer."""
    try:
        return click.confirm(question)
    except click.Abort as error:
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        click.echo()
        raise click.UsageError("Nobody is there to answer that question. Say yes beforehand: --yes.") from error


def _needs_answer(verb: Verb, about: Target) -> bool:
    whole = about.job is None and about.relative is None
    return verb is Verb.REDO or (verb is Verb.CANCEL and whole)


def _commands(verb: Verb, about: Target, store: Queries | None, settings: Settings) -> tuple[list[Command], str]:
    """The commands to write and their meaning; or none, and why not."""
    served = frozenset(folder.inbox for folder in settings.folders)
    if about.job is not None and verb in _BRING_BACK and about.job.closed and about.job.folder.inbox not in served:
        return [], _not_served(about.job, about.called)
    if verb is Verb.REDO:
        return _redo(about, store, served)
    if about.job is not None:
        return _about_job(verb, about.job, about.called)
    if about.relative is not None and verb in {Verb.RETRY, Verb.RELEASE}:
        return [], f"{about.called} waits in its inbox; `expandd why` says what for."
    command = Command(verb=verb, at=time.time(), inbox=about.inbox, relative=about.relative)
    if verb is Verb.CANCEL and about.relative is None:
        return [command], f"{about.called}: {_number_to_cancel(about, store, settings)}"
    return [command], f"{about.called} {_WHEN_ALL[verb]}."


def _number_to_cancel(about: Target, store: Queries | None, settings: Settings) -> str:
    folders = [folder for folder in settings.folders if about.inbox in {None, folder.inbox}]
    counts = FolderCounter().of(folders)
    unpaid = [job for job in (store.open_jobs() if store else ()) if job.state in UNPAID and job.fault is None]
    number = sum(count.waiting for count in counts) + sum(about.inbox in {None, job.folder.inbox} for job in unpaid)
    unseen = ", and what lies in inboxes that give no answer," if any(count.away for count in counts) else ""
    goes = "goes" if number == 1 and not unseen else "go"
    return (
        f"{number} {'image' if number == 1 else 'images'} that nothing is paid for{unseen} {goes} to the error folder. "
        "What may be paid for is delivered."
    )


def _about_job(verb: Verb, job: Job, called: str) -> tuple[list[Command], str]:
    if verb in {Verb.PAUSE, Verb.RESUME}:
        if job.closed and verb is Verb.PAUSE:
            return [], f"{called} is over; there is nothing to pause."
        command = Command(verb=verb, at=time.time(), inbox=job.folder.inbox, relative=job.relative)
        return [command], f"{called} {_WHEN_ALL[verb]}."
    command = Command(verb=verb, at=time.time(), job_id=job.id)
    if verb is Verb.RETRY:
        return _retry(job, called, command)
    if verb is Verb.CANCEL:
        return _cancel(job, called, command)
    return [], f"{called} is not held by a burst guard; `expandd why` says what it waits for."


def _retry(job: Job, called: str, command: Command) -> tuple[list[Command], str]:
    if not job.closed:
        if job.held:
            return [], f"{called} needs your word first: `expandd resolve {job.id} --paid` or `--not-paid`."
        return [command], f"{called} is in progress ({job.state.value}); its next step is tried at once."
    if job.state is not JobState.FAILED:
        return [], f"{called} is not in error. To expand and pay for it once more: `expandd redo`."
    if not _lies_there(job):
        return [], f"{called} does not lie in the error folder any more; drop it into the inbox to try it again."
    return [command], f"{called} goes back into its inbox and is tried again. {_cost(job)}"


def _cost(job: Job) -> str:
    if job.spent_at is None:
        return "Nothing was paid for it."
    certain = job.paid or (job.fault is not None and job.fault.code is FaultCode.GIVEN_UP_BY_PERSON)
    return f"It {'was' if certain else 'may have been'} paid for once; if it works now, it is paid for again."


def _not_served(job: Job, called: str) -> str:
    original = f" Its original lies at {printable(job.archived_to)}." if _lies_there(job) and job.archived_to else ""
    return (
        f"{called} was dropped into {printable(job.folder.inbox)}, which is no hot folder any more.{original} "
        "Drop the image into a hot folder to expand it."
    )


def _cancel(job: Job, called: str, command: Command) -> tuple[list[Command], str]:
    if job.closed:
        return [], f"{called} is over; there is nothing to cancel."
    if job.state in MAYBE_PAID:
        return [], f"{called} may be paid for already and cannot be cancelled; its result is delivered."
    return [command], f"{called} goes to the error folder, unless its paid call is faster. Nothing is paid for it."


def _redo(about: Target, store: Queries | None, served: frozenset[Path]) -> tuple[list[Command], str]:
    jobs = [job for job in _over(about, store) if job.archived_to is not None]
    lies = lying(job.archived_to for job in jobs if job.archived_to is not None)
    there = [job for job in jobs if job.archived_to in lies and job.folder.inbox in served]
    if not there:
        return [], (
            f"{about.called}: there is no original to expand once more; it must lie in the done or error folder. "
            "Drop the image into the inbox anew."
        )
    number = len(there)
    images = "1 image" if number == 1 else f"{number} images"
    gone = f" {len(jobs) - number} more have no original any more." if len(jobs) > number else ""
    at = time.time()
    commands = [Command(verb=Verb.REDO, at=at, job_id=job.id) for job in there]
    return commands, f"{about.called}: {images} to expand once more and TO PAY FOR ONCE MORE.{gone}"


def _over(about: Target, store: Queries | None) -> Sequence[Job]:
    if about.job is not None:
        return [about.job] if about.job.closed else []
    if about.relative is not None or store is None:
        return []
    return _one_each(store.done_in(about.inbox))


def _one_each(jobs: Iterable[Job]) -> list[Job]:
    """Each original once, however often it was expanded."""
    return list({job.archived_to: job for job in jobs}.values())


def _lies_there(job: Job) -> bool:
    return job.archived_to is not None and bool(lying({job.archived_to}))


_NEXT = {
    Verb.PAID: "It goes to the error folder with a note; nothing more is paid for it.",
    Verb.NOT_PAID: "It is paid for and expanded as if it were new.",
}


def run_resolve(file: str, verdict: Verb, config: Path) -> int:
    """Write the decision down for the one unknown job that `file` names, by name, path or job id."""
    settings = as_loaded(config)
    with reading(settings) as store:
        unknown = {job.id: job for job in (*store.unknown(), *store.held(ALL))}.values() if store else ()
    found = [job for job in unknown if _names(job, file)]
    if len(found) != 1:
        click.echo(_not_one_unknown(file, found or tuple(unknown)), err=True)
        return ExitCode.USAGE
    job = found[0]
    if verdict is Verb.NOT_PAID and job.state is not JobState.UNKNOWN:
        click.echo(
            f"{printable(job.relative)} was paid for: the API has expanded it, only its result cannot be fetched. "
            "`--paid` gives it up; then `expandd retry` expands it anew, which costs again.",
            err=True,
        )
        return ExitCode.USAGE
    if verdict is Verb.NOT_PAID and job.may_still_be_sent:
        host = host_of(job.sender)
        click.echo(
            f"{printable(job.relative)} may still be paid for by host {host}, which had begun to and fell silent. "
            f"Start expandd there, or say that it is gone for good: `expandd cluster bury {host}`. What became of "
            "the image is then found out without you.",
            err=True,
        )
        return ExitCode.USAGE
    write_commands(settings, [Command(verb=verdict, at=time.time(), job_id=job.id)])
    click.echo(f"{printable(job.relative)}: taken as {verdict.value}, {_when(settings)}. {_NEXT[verdict]}")
    return ExitCode.FINE


def _names(job: Job, file: str) -> bool:
    relative = job.relative
    return file in {job.id, str(relative), relative.name, str(job.folder.inbox / relative), str(job.work_file)}


def _not_one_unknown(file: str, jobs: Sequence[Job]) -> str:
    if not jobs:
        return "No image waits for such a decision. `expandd status` shows what is in progress."
    return f"{printable(file)} does not name exactly one of the images that wait for a decision:\n{_listed(jobs)}"


def _listed(jobs: Sequence[Job]) -> str:
    return "\n".join(f"  {job.id}  {printable(job.folder.inbox / job.relative)}" for job in jobs)


VERDICT_WITHIN = 60.0
"""Seconds to wait, at most, until the daemon says whether it has taken its new configuration."""

LOOK = 0.1


def run_reload(config: Path) -> int:
    """Have the running daemon read its configuration anew, and say what became of it."""
    state_dir = state_dir_of(config)
    if state_dir is None or not (process := holder(state_dir / LOCK)):
        where = f" with the state directory {printable(state_dir)}" if state_dir else ""
        click.echo(
            f"expandd: no daemon runs{where}. Where the configuration names another one than before, restart the "
            "service: systemctl restart expandd.",
            err=True,
        )
        return ExitCode.USAGE
    reading = _read_anew(state_dir, process)
    if reading is None:
        click.echo(
            f"expandd: {process} has not told what it makes of the configuration: it only just starts or stops, reads "
            "it once and for all (`expandd once`), or cannot write into its state directory. See its log.",
            err=True,
        )
        return ExitCode.OUR_FAULT
    for error in reading.errors:
        click.echo(error, err=True)
    if reading.errors:
        click.echo("The configuration is refused, and everything goes on as it was configured before.", err=True)
    elif reading.needs_restart:
        keys = ", ".join(reading.needs_restart)
        click.echo(f"All is taken but {keys}. Only a restart changes that: systemctl restart expandd.", err=True)
    else:
        click.echo("The configuration is taken.")
        return ExitCode.FINE
    return ExitCode.CONFIGURATION


def _read_anew(state_dir: Path, process: str) -> Reading | None:
    """Send the request to the daemon and return its answer."""
    until, asked_at = time.monotonic() + VERDICT_WITHIN, math.inf
    number = number_of(process)
    while number is not None and time.monotonic() < until and holder(state_dir / LOCK) == process:
        _, snapshot = live_snapshot(state_dir)
        reading = snapshot.reading if snapshot else None
        if reading is not None and reading.began >= asked_at:
            return reading
        if snapshot is not None and reading is None:
            return None
        # One that has not told anything yet may not know yet what the signal means, and would die of it.
        if reading is not None and asked_at == math.inf:
            asked_at = time.monotonic()
            os.kill(number, signal.SIGHUP)
        time.sleep(LOOK)
    return None
