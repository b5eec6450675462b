"""Owns the verbs that work: run, once and check, from a configuration file to an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import click
from structlog.typing import FilteringBoundLogger

from expandd.adapters.api.magic_expand import MagicExpand
from expandd.adapters.clock import SystemClock
from expandd.adapters.config.load import load
from expandd.adapters.credentials import Credentials
from expandd.adapters.files.folder_counts import Counting
from expandd.domain.settings import Settings
from expandd.engine.engine import Engine
from expandd.service.exit_codes import ExitCode
from expandd.service.observability.hooks import PATIENCE, Teller, telling
from expandd.service.observability.logs import EventLog, to_stderr
from expandd.service.reports.price import Price
from expandd.service.reports.snapshot import last_snapshot
from expandd.service.reports.snapshot_writer import Snapshots, published
from expandd.service.runtime.app import Announcer, Subscriber, built, prepare_state
from expandd.service.runtime.daemon import serve
from expandd.service.runtime.once import Tally, run_once
from expandd.service.runtime.progress import Progress, Silent
from expandd.service.runtime.signals import stopped_by_signals

Build = Callable[[Settings, Mapping[str, str], Subscriber], AbstractAsyncContextManager[Engine]]


def run_daemon(config: Path, environ: Mapping[str, str], *, verbose: bool) -> int:
    """The daemon, until it is told to stop."""
    settings = load(config)
    return asyncio.run(serve(config, settings, environ, to_stderr(environ, verbose=verbose)))


def run_batch(config: Path, environ: Mapping[str, str], *, verbose: bool, patience: float) -> int:
    """Everything that lies in the inboxes now."""
    settings = load(config)
    return asyncio.run(batch(settings, environ, to_stderr(environ, verbose=verbose).lines, patience))


def run_check(config: Path, environ: Mapping[str, str], *, offline: bool) -> int:
    """Everything that can be checked without starting or paying anything."""
    from expandd.service.runtime.check import check  # noqa: PLC0415 - the daemon never needs it

    return asyncio.run(check(config, environ, api_factory=_api, say=print, offline=offline))


async def batch(
    settings: Settings,
    environ: Mapping[str, str],
    log: FilteringBoundLogger,
    patience: float,
    build: Build = built,
) -> int:
    """The work of `once`, on an engine that `build` makes."""
    stop = stopped_by_signals()
    tally = Tally(asyncio.get_running_loop().time)
    before = last_snapshot(settings.state_dir)
    price = Price(before.price if before else None)
    bar = Progress(expected=_waiting(settings)) if sys.stderr.isatty() else Silent()
    teller = Teller(log, lambda: settings.hooks)
    with bar:
        shown = bar if sys.stderr.isatty() else EventLog(log)
        announcer = Announcer(shown, tally, price, teller)
        async with (
            build(settings, environ, announcer) as engine,
            published(Snapshots(engine, before=before, price=price, log=log, wall=time.time), announcer),
            telling(teller, PATIENCE, stop, keep=engine.supervisor.keep),
        ):
            code = await run_once(engine, tally, patience, stop)
            announcer.flush()
    # Where it cannot be said, it is done all the same.
    with contextlib.suppress(OSError):
        click.echo(f"{tally.finished} expanded, {tally.failed} to the error folder.", err=True)
        if code is ExitCode.SOME_WAIT:
            click.echo("Some files still wait; run `expandd once` again, or `expandd status` to see why.", err=True)
    return code


def _waiting(settings: Settings) -> int:
    """How many files lie in the inboxes now."""
    return sum(count.waiting for count in Counting().of(settings.folders))


@asynccontextmanager
async def _api(settings: Settings, credentials: Credentials) -> AsyncIterator[MagicExpand]:
    prepare_state(settings.state_dir)
    async with MagicExpand(
        settings.api,
        credentials=lambda: credentials,
        state_dir=settings.state_dir,
        clock=SystemClock(),
    ) as api:
        yield api
