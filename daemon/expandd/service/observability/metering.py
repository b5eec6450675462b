"""Metering: counts what the daemon does, from the first time that somebody reads the metrics.

Until then Prometheus' library is not even loaded, which would be a part of each start.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from expandd.adapters.files.scan import FolderCounter
from expandd.domain.api_types import Account, Fetched, History, Notification, Uploaded
from expandd.domain.errors import AccountAway, DatabaseAway, FileFault, ImageIdRefused, Later, OutcomeUnknown
from expandd.domain.events import Event
from expandd.domain.offsets import Offsets
from expandd.domain.settings import Settings
from expandd.engine.ports import Api
from expandd.service.observability.logs import Logger
from expandd.service.reports.overview import build_overview

if TYPE_CHECKING:
    from expandd.service.observability.metrics import Metrics

T = TypeVar("T")

Called = Callable[[str, str, float], None]
"""Called for each API call with its name, outcome and seconds."""


class InstrumentedApi:
    """Passes each call to the API behind it and measures it."""

    def __init__(self, api: Api, called: Called) -> None:
        self._api = api
        self._called = called

    async def upload(self, source: Path, name: str) -> Uploaded:
        return await self._metered("upload", self._api.upload(source, name))

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        return await self._metered("generate", self._api.generate(image_id, offsets))

    async def notifications(self, image_id: str = "") -> Sequence[Notification]:
        return await self._metered("notifications", self._api.notifications(image_id))

    async def delete_notification(self, number: int) -> None:
        await self._metered("delete_notification", self._api.delete_notification(number))

    async def history(self, image_id: str) -> History:
        return await self._metered("history", self._api.history(image_id))

    async def download(self, link: str, target: Path) -> Fetched:
        return await self._metered("download", self._api.download(link, target))

    async def account(self) -> Account:
        return await self._metered("account", self._api.account())

    async def _metered(self, name: str, call: Awaitable[T]) -> T:
        loop = asyncio.get_running_loop()
        began, outcome = loop.time(), "ok"
        try:
            return await call
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            self._called(name, outcome, loop.time() - began)


def _outcome(error: BaseException) -> str:
    """A word of a few: the reason for which the account waits, or what becomes of this call."""
    match error:
        case AccountAway(reason=reason):
            return str(reason.value)
        case OutcomeUnknown():
            return "unknown"
        case FileFault() | ImageIdRefused():
            return "refused"
        case Later():
            return "later"
        case asyncio.CancelledError():
            return "cancelled"
    return "bug"


class Metering:
    """Hands to the metrics what there is to count, once there are any. A subscriber like any other.

    There are, as soon as the settings name a metrics file or a page, or somebody asks.
    """

    def __init__(self, settings: Settings) -> None:
        self._metrics: Metrics | None = None
        self._losses: dict[str, Callable[[], int]] = {}
        if settings.page is not None or settings.metrics_file is not None:
            self.begun(settings)

    def begun(self, settings: Settings) -> Metrics:
        """The metrics; without any yet they begin at 0."""
        if self._metrics is None:
            from expandd.service.observability.metrics import Metrics  # noqa: PLC0415 - as said above

            metrics = Metrics(settings)
            for what, count in self._losses.items():
                metrics.loses(what, count)
            self._metrics = metrics
        return self._metrics

    def know(self, settings: Settings) -> None:
        """Count by the folders of these settings from now on."""
        if self._metrics is not None:
            self._metrics.know(settings)

    def __call__(self, event: Event) -> None:
        if self._metrics is not None:
            self._metrics(event)

    def called(self, call: str, outcome: str, seconds: float) -> None:
        """Count a request to the API that is over."""
        if self._metrics is not None:
            self._metrics.called(call, outcome, seconds)

    def loses(self, what: str, count: Callable[[], int]) -> None:
        """Report the number of lost items from now on, as `count` returns it at each reading."""
        self._losses[what] = count
        if self._metrics is not None:
            self._metrics.loses(what, count)


WAIT = 15.0
"""Seconds between two writes of the file, the usual scrape interval of Prometheus."""
AT_THE_STOP = 2.0
"""Seconds that the last writing may take."""


class Publisher:
    """Brings the metrics up to date and hands them out. `text` is for threads; `run` writes the file."""

    def __init__(self, metering: Metering, settings: Callable[[], Settings], log: Logger) -> None:
        self._metering = metering
        self._settings = settings
        self._log = log
        self._counting = FolderCounter()
        self._one_at_a_time = threading.Lock()
        self._one_file = threading.Lock()
        self._over = False
        self._failing = False

    def text(self) -> tuple[bytes, str]:
        """The metrics as they are now, and their media type. Blocks. Raises DatabaseAway."""
        with self._one_at_a_time:
            return self._seen().text()

    def _seen(self) -> Metrics:
        settings = self._settings()
        metrics = self._metering.begun(settings)
        metrics.see(build_overview(settings, self._counting), settings)
        return metrics

    async def run(self) -> None:
        """Until cancelled; then the file says that expandd was stopped."""
        try:
            await self._run()
        except asyncio.CancelledError:
            file = self._settings().metrics_file
            if file is not None:
                # A disk that does not take it, or hangs, holds no stop up.
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(AT_THE_STOP):
                        await asyncio.to_thread(self._write_last, file)
            raise

    async def _run(self) -> None:
        while True:
            settings = self._settings()
            self._metering.know(settings)
            if settings.metrics_file is not None:
                await self.publish(settings.metrics_file)
            await asyncio.sleep(WAIT)

    async def publish(self, file: Path) -> None:
        """Write the file, whole; log once that its disk does not take it."""
        try:
            await asyncio.to_thread(self._write, file)
        except (OSError, DatabaseAway) as error:
            if not self._failing:
                self._log.warning("metrics.failed", file=file, why=str(error))
            self._failing = True
        else:
            self._failing = False

    def _write(self, file: Path) -> None:
        with self._one_at_a_time:
            text = self._seen().file_text(file.stem)
        with self._one_file:
            # One that was still under way at the stop comes to nothing.
            if not self._over:
                _put(file, text)

    def _write_last(self, file: Path) -> None:
        from expandd.service.observability.metrics import stopped_text  # noqa: PLC0415 - as said above

        with self._one_file:
            self._over = True
            _put(file, stopped_text(file.stem))


def _put(file: Path, text: bytes) -> None:
    # The name of the spare does not end in .prom, so that nobody reads it half written.
    spare = file.with_name(f".{file.name}.new")
    spare.write_bytes(text)
    # Another user's node exporter reads it, so the service's umask for images does not apply.
    spare.chmod(0o644)
    spare.replace(file)
