"""Owns the page beside the engine: its parts put together, shown until cancelled, and no harm when they fail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from expandd.adapters.images.pillow import PillowImages
from expandd.domain.settings import PageSettings
from expandd.service.page.address import Address, bound
from expandd.service.page.connections import Limits, limits_here
from expandd.service.page.foreseeing import Foresight
from expandd.service.page.guard import Guard
from expandd.service.page.password import Password
from expandd.service.page.pictures import Pictures
from expandd.service.page.records import Records
from expandd.service.page.server import serve_http
from expandd.service.page.site import Metrics, Site


@contextmanager
def opened(page: PageSettings, config: Path, log: FilteringBoundLogger, limits: Limits | None = None) -> Iterator[Page]:
    """The page, listening but not answering yet. Raises ConfigurationError when it cannot listen."""
    with bound(page, config) as (address, listener):
        yield Page(page, address, listener, log, limits or limits_here())


class Page:
    """What is shown at an address."""

    def __init__(
        self,
        page: PageSettings,
        address: Address,
        listener: socket.socket,
        log: FilteringBoundLogger,
        limits: Limits,
    ) -> None:
        self._page = page
        self.address = address
        self._listener = listener
        self._log = log
        self._limits = limits
        self.foresight = Foresight()
        """To be told of each event; it may be told of none."""

    async def show(self, records: Records, metrics: Metrics | None = None) -> None:
        """Answer until cancelled, then close the records. Whatever fails is logged: the work never ends for it."""
        try:
            # One picture reader of its own: looking never keeps the work waiting for one.
            async with PillowImages(processes=1) as images:
                pictures = Pictures(images)
                await self._answer(Site(records, pictures, self._log, metrics=metrics), pictures)
        except Exception:  # noqa: BLE001, as the promise says
            self._log.exception("page.failed")
        finally:
            records.close()

    async def _answer(self, site: Site, pictures: Pictures) -> None:
        password = Password(self._page.password_file) if self._page.password_file else None
        guard = Guard(site.app, address=self.address, hosts=self._page.hosts, password=password, log=self._log)
        beside = [asyncio.create_task(work) for work in (site.live.run(), self.foresight.run(pictures))]
        self._log.info("page.open", address=str(self.address), locked=password is not None)
        try:
            await serve_http(guard, self._listener, site.live.close, self._limits)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            for task in beside:
                if not task.cancelled() and (error := task.exception()) is not None:
                    self._log.error("page.bug_found", exc_info=error)
