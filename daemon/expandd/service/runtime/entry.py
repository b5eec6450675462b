"""`run`, `once` and `check`, from a configuration file to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from expandd.adapters.clock import SystemClock
from expandd.adapters.config.load import load
from expandd.adapters.credentials import Credentials
from expandd.adapters.files.scan import FolderCounter
from expandd.domain.errors import ExpanddError
from expandd.domain.events import Event, JobClosed, JobMoved
from expandd.domain.job import AWAITING_RESULT, JobState
from expandd.domain.naming import printable
from expandd.domain.pauses import EndedBy
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.observability.hooks import PATIENCE, HookRunner, telling
from expandd.service.observability.logs import EventLog, Logger, to_stderr
from expandd.service.reports.ledger import Price
from expandd.service.reports.overview import too_deep_words
from expandd.service.reports.snapshot import last_snapshot
from expandd.service.runtime.app import EventBus, Subscriber, built, prepare_state, run_until
from expandd.service.runtime.daemon import serve, stopped_by_signals
from expandd.service.runtime.snapshots import Snapshots, published

if TYPE_CHECKING:
    from expandd.adapters.api.magic_expand import MagicExpand
    from expandd.engine.engine import Engine

LOOK = 0.2
"""Longest time, in seconds, between two checks whether all is done."""

PERSON_PATIENCE = 5.0
"""Seconds after which a circuit breaker that a person must open counts as an outage; others get the whole patience."""


class Outcomes:
    """Counts what became of the files, and when something last moved (seconds of the loop's clock)."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._been: defaultdict[str, set[JobState]] = defaultdict(set)
        self.finished = 0
        self.failed = 0
        self.progress_at = now()
        self.changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.changed.set()
        if isinstance(event, JobMoved) and event.job.state not in self._been[event.job.id]:
            # A state that it has been in before is no progress: it goes to and fro.
            self._been[event.job.id].add(event.job.state)
            self.progress_at = self._now()
        if isinstance(event, JobClosed):
            self._been.pop(event.job.id, None)
            self.progress_at = self._now()
            self.finished += event.job.state is JobState.DONE
            self.failed += event.job.state is JobState.FAILED


async def run_once(engine: Engine, outcomes: Outcomes, patience: float, stop: asyncio.Event) -> ExitCode:
    """Work until every file is done or in error, an outage has lasted `patience` seconds, or `stop` is set."""
    finished = asyncio.Event()
    watching = asyncio.create_task(_watch(engine, outcomes, patience, stop, finished))
    try:
        await run_until(engine, finished)
    finally:
        watching.cancel()
    if not engine.finished:
        return ExitCode.SOME_WAIT
    return ExitCode.SOME_FAILED if outcomes.failed else ExitCode.FINE


async def _watch(
    engine: Engine, outcomes: Outcomes, patience: float, stop: asyncio.Event, finished: asyncio.Event
) -> None:
    now = asyncio.get_running_loop().time
    while not (stop.is_set() or engine.finished or _stuck(engine, now() - outcomes.progress_at, patience)):
        outcomes.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await outcomes.changed.wait()
    finished.set()


def _stuck(engine: Engine, quiet: float, patience: float) -> bool:
    """Whether what is left waits for something that `once` should not wait for."""
    jobs = list(engine.jobs)
    if jobs and all(job.held for job in jobs):
        return True
    reasons = {breaker.shut.reason for breaker in engine.breakers.shut() if breaker.shut is not None}
    repair = any(reason.ended_by is EndedBy.REPAIR for reason in reasons)
    if repair and not engine.jobs.in_state(*AWAITING_RESULT):
        return quiet > min(patience, PERSON_PATIENCE)
    # A decision that is waited for is no outage: what else there is goes on meanwhile.
    outage = any(reason.ended_by is not EndedBy.DECISION for reason in reasons)
    if engine.at_a_stand:
        return quiet > min(patience, PERSON_PATIENCE)
    retry_later = all(job.held or job.attempts or engine.scheduler.gets_nowhere(job.id) for job in jobs)
    left = [inbox for inbox in engine.inboxes if not inbox.idle]
    retry_later = retry_later and (bool(jobs) or (bool(left) and all(inbox.is_baffled for inbox in left)))
    return quiet > patience and (outage or retry_later)


Build = Callable[[Settings, Mapping[str, str], Subscriber], AbstractAsyncContextManager["Engine"]]


def run_daemon(config: Path, environ: Mapping[str, str], *, verbose: bool) -> int:
    """Run the daemon until it is stopped."""
    settings, log = load(config), to_stderr(environ, verbose=verbose)
    return _logged(log.lines, serve(config, settings, environ, log))


def run_batch(config: Path, environ: Mapping[str, str], *, verbose: bool, patience: float) -> int:
    """Everything that lies in the inboxes now."""
    settings, log = load(config), to_stderr(environ, verbose=verbose).lines
    return _logged(log, batch(settings, environ, log, patience))


def _logged(log: Logger, work: Coroutine[Any, Any, int]) -> int:
    """The exit code of the work; an unforeseen error is logged."""
    try:
        return asyncio.run(work)
    except ExpanddError:
        raise
    except Exception:
        log.exception("bug.found", where="expandd as a whole")
        return ExitCode.OUR_FAULT


def run_check(config: Path, environ: Mapping[str, str], *, offline: bool, login: Credentials | None = None) -> int:
    """Everything that can be checked without starting or paying anything."""
    from expandd.service.runtime.check import check  # noqa: PLC0415 - the daemon never needs it

    return asyncio.run(check(config, environ, api_factory=_api, say=print, offline=offline, login=login))


async def batch(
    settings: Settings,
    environ: Mapping[str, str],
    log: Logger,
    patience: float,
    build: Build = built,
) -> int:
    """The work of `once`, on an engine that `build` makes."""
    stop = stopped_by_signals()
    outcomes = Outcomes(asyncio.get_running_loop().time)
    before = last_snapshot(settings.state_dir)
    price = Price(before.price if before else None)
    hook_runner = HookRunner(log, lambda: settings.hooks)
    with _display(settings, log) as shown:
        event_bus = EventBus(shown, outcomes, price, hook_runner)
        async with (
            build(settings, environ, event_bus) as engine,
            published(Snapshots(engine, before=before, price=price, log=log, wall=time.time), event_bus),
            telling(hook_runner, PATIENCE, stop, keep=engine.supervisor.keep),
        ):
            code = await run_once(engine, outcomes, patience, stop)
            event_bus.flush()
    counts = await asyncio.to_thread(FolderCounter().of, settings.folders)
    # Where it cannot be said, it is done all the same.
    with contextlib.suppress(OSError):
        click.echo(f"{outcomes.finished} expanded, {outcomes.failed} to the error folder.", err=True)
        if code is ExitCode.SOME_WAIT:
            click.echo("Some files still wait; run `expandd once` again, or `expandd status` to see why.", err=True)
        for folder, count in zip(settings.folders, counts, strict=True):
            if count.too_deep:
                click.echo(f"{printable(folder.inbox)}: {too_deep_words(count.too_deep, count.subfolders)}.", err=True)
    return code


def _display(settings: Settings, log: Logger) -> AbstractContextManager[Subscriber]:
    """What shows the events: a progress bar on a terminal, else the log."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext(EventLog(log))
    from expandd.service.runtime.progress import Progress  # noqa: PLC0415 - only a terminal needs bars

    return Progress(expected=_waiting(settings))


def _waiting(settings: Settings) -> int:
    """How many files lie in the inboxes now."""
    return sum(count.waiting for count in FolderCounter().of(settings.folders))


@asynccontextmanager
async def _api(settings: Settings, credentials: Credentials) -> AsyncIterator[MagicExpand]:
    from expandd.adapters.api.magic_expand import MagicExpand  # noqa: PLC0415 - only `check` needs it here

    prepare_state(settings.state_dir)
    async with MagicExpand(
        settings.api,
        credentials=lambda: credentials,
        state_dir=settings.state_dir,
        clock=SystemClock(),
    ) as api:
        yield api
