"""Owns the verbs that steer: what an order means for the files it is about, said before and after it is left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from expandd.adapters.config.load import load
from expandd.adapters.locks.state_lock import holder
from expandd.adapters.responsiveness import lying
from expandd.adapters.store.sqlite.command_writer import write_orders
from expandd.adapters.store.sqlite.reader import JournalReader, reading
from expandd.domain.commands import Order, Verb
from expandd.domain.errors import FaultCode
from expandd.domain.job import MAYBE_PAID, Job, JobState
from expandd.domain.naming import printable
from expandd.service.control.targets import Target, target
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.runtime.rebuild import JOURNAL

_WHEN_ALL = {
    Verb.RETRY: "is tried once more: files in error go back into their inbox, what is put off goes on at once. "
    "Where one was paid for before it failed and works now, it is paid for again. "
    "What a person cancelled or gave up stays: retry it by name",
    Verb.CANCEL: "is cancelled: what nothing is paid for goes to the error folder",
    Verb.PAUSE: "is paused: nothing new is begun, what is paid for is delivered. `expandd resume` lifts it",
    Verb.RESUME: "goes on, unless something else holds it up: see `expandd status`",
    Verb.RELEASE: "is released: the files that the burst guard holds go on",
}


_BRING_BACK = frozenset({Verb.RETRY, Verb.REDO})


def run_steer(verb: Verb, what: str | None, config: Path, *, yes: bool) -> int:
    """Leave the order for the daemon, once it is clear what it is about and, where it costs, that it is meant."""
    # What costs money wants the configuration as it is.
    settings = load(config) if verb is Verb.REDO else as_loaded(config)
    path = settings.state_dir / JOURNAL
    if not path.exists():
        raise click.UsageError(
            f"There is no journal {path}: expandd has never run with this state directory, or its disk is not mounted."
        )
    with reading(path) as journal:
        about = target(what, settings, journal)
        orders, said = _orders(verb, about, journal, frozenset(folder.inbox for folder in settings.folders))
    if not orders:
        click.echo(said, err=True)
        return ExitCode.USAGE
    if not yes and _needs_asking(verb, about) and not click.confirm(said):
        click.echo("Nothing was ordered.")
        return ExitCode.FINE
    write_orders(path, orders)
    when = "within seconds" if holder(settings.state_dir / "lock") else "when expandd runs again"
    click.echo(f"{said} This is carried out {when}.")
    return ExitCode.FINE


def _needs_asking(verb: Verb, about: Target) -> bool:
    whole = about.job is None and about.relative is None
    return verb is Verb.REDO or (verb is Verb.CANCEL and whole)


def _orders(
    verb: Verb, about: Target, journal: JournalReader | None, served: frozenset[Path]
) -> tuple[list[Order], str]:
    """The orders to leave and what they mean; or none, and why not. `served` are the inboxes of the configuration."""
    if about.job is not None and verb in _BRING_BACK and about.job.closed and about.job.place.inbox not in served:
        return [], _not_served(about.job, about.called)
    if verb is Verb.REDO:
        return _redo(about, journal, served)
    if about.job is not None:
        return _about_job(verb, about.job, about.called)
    if about.relative is not None and verb in {Verb.RETRY, Verb.RELEASE}:
        return [], f"{about.called} waits in its inbox; `expandd why` says what for."
    order = Order(verb=verb, at=time.time(), inbox=about.inbox, relative=about.relative)
    return [order], f"{about.called} {_WHEN_ALL[verb]}."


def _about_job(verb: Verb, job: Job, called: str) -> tuple[list[Order], str]:
    if verb in {Verb.PAUSE, Verb.RESUME}:
        if job.closed and verb is Verb.PAUSE:
            return [], f"{called} is over; there is nothing to pause."
        order = Order(verb=verb, at=time.time(), inbox=job.place.inbox, relative=job.relative)
        return [order], f"{called} {_WHEN_ALL[verb]}."
    order = Order(verb=verb, at=time.time(), job_id=job.id)
    if verb is Verb.RETRY:
        return _retry(job, called, order)
    if verb is Verb.CANCEL:
        return _cancel(job, called, order)
    return [], f"{called} is not held by a burst guard; `expandd why` says what it waits for."


def _retry(job: Job, called: str, order: Order) -> tuple[list[Order], str]:
    if not job.closed:
        if job.held:
            return [], f"{called} needs your word first: `expandd resolve {job.id} --paid` or `--not-paid`."
        return [order], f"{called} is in hand ({job.state.value}); its next step is tried at once."
    if job.state is not JobState.FAILED:
        return [], f"{called} is not in error. To expand and pay for it once more: `expandd redo`."
    if not _lies_there(job):
        return [], f"{called} does not lie in the error folder any more; drop it into the inbox to try it again."
    return [order], f"{called} goes back into its inbox and is tried again. {_cost(job)}"


def _cost(job: Job) -> str:
    if job.spent_at is None:
        return "Nothing was paid for it."
    certain = job.paid or (job.fault is not None and job.fault.code is FaultCode.GIVEN_UP_BY_PERSON)
    return f"It {'was' if certain else 'may have been'} paid for once; if it works now, it is paid for again."


def _not_served(job: Job, called: str) -> str:
    original = f" Its original lies at {printable(job.resting)}." if _lies_there(job) and job.resting else ""
    return (
        f"{called} was dropped into {printable(job.place.inbox)}, which is no hot folder any more.{original} "
        "Drop the picture into a hot folder to expand it."
    )


def _cancel(job: Job, called: str, order: Order) -> tuple[list[Order], str]:
    if job.closed:
        return [], f"{called} is over; there is nothing to cancel."
    if job.state in MAYBE_PAID:
        return [], f"{called} may be paid for already and cannot be cancelled; its result is delivered."
    return [order], f"{called} goes to the error folder, unless its paid call is faster. Nothing is paid for it."


def _redo(about: Target, journal: JournalReader | None, served: frozenset[Path]) -> tuple[list[Order], str]:
    jobs = [job for job in _over(about, journal) if job.resting is not None]
    lies = lying(job.resting for job in jobs if job.resting is not None)
    there = [job for job in jobs if job.resting in lies and job.place.inbox in served]
    if not there:
        return [], (
            f"{about.called}: there is no original to expand once more; it must lie in the done or error folder. "
            "Drop the picture into the inbox anew."
        )
    number = len(there)
    images = "1 image" if number == 1 else f"{number} images"
    gone = f" {len(jobs) - number} more have no original any more." if len(jobs) > number else ""
    at = time.time()
    orders = [Order(verb=Verb.REDO, at=at, job_id=job.id) for job in there]
    return orders, f"{about.called}: {images} to expand once more and TO PAY FOR ONCE MORE.{gone}"


def _over(about: Target, journal: JournalReader | None) -> Sequence[Job]:
    if about.job is not None:
        return [about.job] if about.job.closed else []
    if about.relative is not None or journal is None:
        return []
    return _one_each(journal.done_in(about.inbox))


def _one_each(jobs: Iterable[Job]) -> list[Job]:
    """Each original once, however often it was expanded."""
    return list({job.resting: job for job in jobs}.values())


def _lies_there(job: Job) -> bool:
    return job.resting is not None and bool(lying({job.resting}))
