"""The daemon: waits after crashes, starts, works, reloads, stops."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expandd.adapters.files.permissions import looseness
from expandd.adapters.files.roots import Roots
from expandd.adapters.hooks import run_command
from expandd.adapters.processes import ProcessStarter
from expandd.domain.errors import ConfigurationError, HostFenced, InstanceRunning
from expandd.domain.settings import Settings
from expandd.engine.ports import Ports
from expandd.engine.supervisor import beside
from expandd.service.exit_codes import ExitCode
from expandd.service.observability.hooks import GRACE, HookRunner, telling
from expandd.service.observability.logs import EventLog, Log, Logger
from expandd.service.observability.metering import InstrumentedApi, Metering, Publisher
from expandd.service.reports.ledger import Price
from expandd.service.reports.snapshot import Snapshot, last_snapshot
from expandd.service.runtime.app import EventBus, FolderAccess, built, run_until
from expandd.service.runtime.reload import Reloader, remember
from expandd.service.runtime.snapshots import Snapshots
from expandd.service.runtime.systemd import Failures, Notifier, Watchdog, either

if TYPE_CHECKING:
    from expandd.engine.engine import Engine

FIRST = 5.0
"""Seconds before the third start in a row; systemd's own pause comes on top, and is all there is before the second."""

LONGEST = 300.0

HEALTHY = 600.0
"""Seconds of work after which earlier crashes are forgotten."""


class Crashes:
    """Kept in $RUNTIME_DIRECTORY, which systemd keeps over restarts and removes at a stop; without it nothing counts.

    systemd itself learns to wait longer each time only in version 254.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        directory = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        self._file = Path(directory) / "crashes" if directory else None

    def begin(self) -> int:
        """Note that a run begins; how many runs in a row before it crashed."""
        before = self._read()
        self._write(before + 1)
        return before

    def healthy(self) -> None:
        """Note that this run has lasted long enough."""
        self._write(1)

    def ended_well(self) -> None:
        self._write(0)

    def _read(self) -> int:
        if self._file is None:
            return 0
        try:
            return int(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _write(self, number: int) -> None:
        # Counting must never be what keeps the service from working.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.write_text(str(number), encoding="ascii")


def delay(crashes: int) -> float:
    """Seconds to wait after so many crashes in a row."""
    return min(LONGEST, FIRST * 2.0 ** min(crashes - 2, 10)) if crashes > 1 else 0.0


_STOPS = (signal.SIGTERM, signal.SIGINT)


def stopped_by_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second of either ends the program at once, as people expect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in _STOPS:
            loop.remove_signal_handler(number)

    for number in _STOPS:
        loop.add_signal_handler(number, on_signal)
    return stop


def reloaded_by_signals() -> asyncio.Event:
    """An event that SIGHUP sets, each time."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    return asked


AGAIN = 60.0
"""Seconds in which the same message is logged only once."""

MOST = 100
"""Different things that are remembered."""


class LoopErrors:
    """An exception handler for `loop.set_exception_handler`.

    Without it asyncio writes traces to stderr: with no descriptor left up to a hundred a second, one for each
    connection that waits to be accepted.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._told: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = f"{context['message']}: {type(error).__name__}"
        now = loop.time()
        if now < self._told.get(what, float("-inf")) + AGAIN:
            return
        if len(self._told) >= MOST:
            self._told.clear()
        self._told[what] = now
        if isinstance(error, OSError):
            # The system's want, which passes; asyncio tries again by itself.
            self._log.warning("loop.error", where=context["message"], why=error.strerror or str(error))
        else:
            self._log.error("bug.found", where=context["message"], exc_info=error)


STDERR = 2
START = 300.0
"""Seconds that a start may take after the wait; as long as TimeoutStartSec= of the unit."""


@dataclass(frozen=True, slots=True)
class DaemonContext:
    """What a run of the daemon is given from outside."""

    config: Path
    environ: Mapping[str, str]
    log: Logger
    lost_lines: Callable[[], int]
    systemd: Notifier
    crashes: Crashes
    stop: asyncio.Event
    asked: asyncio.Event
    processes: ProcessStarter


async def serve(config: Path, settings: Settings, environ: Mapping[str, str], log: Log) -> int:
    """Work until stopped. Raises ConfigurationError, InstanceRunning, DatabaseAway when it cannot start."""
    # The watchdog ends a hanging process by SIGABRT: then the trace of each thread is printed.
    faulthandler.enable(STDERR)
    asyncio.get_running_loop().set_exception_handler(LoopErrors(log.lines))
    stop, asked = stopped_by_signals(), reloaded_by_signals()
    async with ProcessStarter() as processes:
        context = DaemonContext(
            config, environ, log.lines, log.lost, Notifier(environ), Crashes(environ), stop, asked, processes
        )
        await _wait_after(context.crashes.begin(), context)
        await _work_on(settings, context)
    return ExitCode.FINE


async def _work_on(settings: Settings, context: DaemonContext) -> None:
    while not context.stop.is_set():
        try:
            await _work(settings, context)
        except HostFenced as error:
            # All that this member had under way has ended: as a new one it may go on.
            context.log.warning("cluster.fenced", why=str(error))
            continue
        except (ConfigurationError, InstanceRunning):
            context.crashes.ended_well()
            raise
        break
    context.crashes.ended_well()


async def _wait_after(crashes: int, context: DaemonContext) -> None:
    """What has crashed again and again may do so at once: the machine and the service are spared that."""
    seconds = delay(crashes)
    if seconds:
        context.log.warning("expandd.waiting", crashes=crashes, seconds=seconds)
        why = f"waiting {seconds:.0f} s: it has crashed {crashes} times in a row"
        context.systemd.starts_later(seconds + START, why)
        await either(context.stop, seconds)


@dataclass(frozen=True, slots=True)
class _Subscribers:
    """The event bus and its subscribers."""

    event_bus: EventBus
    failures: Failures
    metering: Metering
    price: Price
    hook_runner: HookRunner


def _subscribed(settings: Settings, context: DaemonContext, before: Snapshot | None) -> _Subscribers:
    run = partial(run_command, start=context.processes.start)
    failures, metering = Failures(), Metering(settings)
    hook_runner = HookRunner(context.log, lambda: settings.hooks, run=run)
    price = Price(before.price if before else None)

    def fails(error: Exception) -> None:
        context.log.error("bug.found", where="a subscriber of events", exc_info=error)

    event_bus = EventBus(EventLog(context.log), failures, metering, price, hook_runner, fails=fails)
    metering.loses("log_lines", context.lost_lines)
    metering.loses("events", lambda: event_bus.dropped)
    metering.loses("subscriber_calls", lambda: event_bus.failed)
    metering.loses("hook_events", lambda: hook_runner.dropped)
    return _Subscribers(event_bus, failures, metering, price, hook_runner)


async def _work(settings: Settings, context: DaemonContext) -> None:
    folder_access = FolderAccess(shared=settings.cluster.joined)
    before = last_snapshot(settings.state_dir)
    subscribers = _subscribed(settings, context, before)

    def instrumented(ports: Ports) -> Ports:
        return replace(ports, api=InstrumentedApi(ports.api, subscribers.metering.called))

    async with built(
        settings,
        context.environ,
        subscribers.event_bus,
        folder_access=folder_access,
        processes=context.processes,
        around=instrumented,
    ) as engine:
        await asyncio.to_thread(remember, context.config, settings.state_dir, context.log)
        for loose in await asyncio.to_thread(list, looseness(settings.folders, settings.state_dir)):
            context.log.warning("permissions.loose", why=loose)
        subscribers.hook_runner.hooks = lambda: engine.settings.hooks
        await _run(engine, context, subscribers, before, folder_access)
        context.log.info("expandd.stopped", left_for_next_time=len(engine.jobs))


async def _run(
    engine: Engine,
    context: DaemonContext,
    subscribers: _Subscribers,
    before: Snapshot | None,
    folder_access: FolderAccess,
) -> None:
    """Run the engine until the stop, and beside it all that watches it, tells of it and reloads it."""
    event_bus, log = subscribers.event_bus, context.log
    watchdog = Watchdog(engine, systemd=context.systemd, failures=subscribers.failures, log=log, wall=time.time)
    snapshots = Snapshots(
        engine,
        before=before,
        price=subscribers.price,
        log=log,
        wall=time.time,
        lost_log_lines=context.lost_lines,
        reading=lambda: reloader.reading,
    )
    reloader = Reloader(
        context.config,
        engine,
        folder_access=folder_access,
        systemd=context.systemd,
        watchdog=watchdog,
        log=log,
        told=snapshots.hear,
    )
    event_bus.also(snapshots)
    publisher = Publisher(subscribers.metering, lambda: engine.settings, log)
    with _page(engine, context, event_bus, publisher, watchdog) as page:
        keep = engine.supervisor.keep
        works = beside(
            keep("heartbeat", partial(_day, engine, watchdog, reloader, context)),
            keep("crash counter", partial(_lasting, context.crashes)),
            snapshots.kept(),
            keep("metrics", publisher.run),
            keep("page", page),
        )
        async with works, telling(subscribers.hook_runner, GRACE, keep=keep):
            await run_until(engine, context.stop)
            event_bus.flush()


@contextmanager
def _page(
    engine: Engine, context: DaemonContext, event_bus: EventBus, publisher: Publisher, watchdog: Watchdog
) -> Iterator[Callable[[], Awaitable[None]]]:
    """The page for the browser, if there is to be one. Raises ConfigurationError when it never may listen."""
    if engine.settings.page is None:
        yield partial(asyncio.sleep, 0)
        return
    # A daemon without a page needs no web server.
    from expandd.service.page.page import opened  # noqa: PLC0415 - only a page needs a web server
    from expandd.service.page.reader import DatabaseRecords  # noqa: PLC0415 - only a page needs a web server

    def open_file(path: Path) -> int:
        return Roots.of(engine.settings.folders).open_file(path)

    with (
        opened(engine.settings.page, context.config, context.log) as page,
        closing(DatabaseRecords(lambda: engine.settings)) as records,
    ):
        event_bus.also(page.prefetch)
        page.alive = lambda: not watchdog.stuck
        yield partial(page.show, records, publisher.text, open_file, engine.supervisor.keep)


async def _day(engine: Engine, watchdog: Watchdog, reloader: Reloader, context: DaemonContext) -> None:
    """Notify systemd from the start to the stop."""
    ready = asyncio.create_task(engine.started())
    stopping = asyncio.create_task(context.stop.wait())
    try:
        await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            await _go_on(engine, watchdog, reloader, context)
    finally:
        ready.cancel()
        stopping.cancel()
    seconds = engine.settings.stop_timeout
    context.log.info("expandd.stopping", in_progress=len(engine.jobs), seconds=seconds)
    await watchdog.run_down(seconds)


async def _go_on(engine: Engine, watchdog: Watchdog, reloader: Reloader, context: DaemonContext) -> None:
    settings = engine.settings
    context.systemd.ready(watchdog.sentence())
    context.log.info(
        "expandd.started", folders=len(settings.folders), workers=settings.workers, state_dir=settings.state_dir
    )
    async with beside(engine.supervisor.keep("reload", partial(reloader.run, context.asked))):
        await watchdog.run(context.stop)


async def _lasting(crashes: Crashes) -> None:
    await asyncio.sleep(HEALTHY)
    crashes.healthy()
