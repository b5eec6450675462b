"""The page beside the engine: its parts put together, shown until cancelled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

from expandd.adapters.config.addresses import Address
from expandd.adapters.files.roots import OpenFile, open_plainly
from expandd.adapters.images.decoders import PillowImages
from expandd.domain.settings import PageSettings
from expandd.engine.supervisor import beside
from expandd.service.observability.hooks import Keep, alone
from expandd.service.observability.logs import Logger
from expandd.service.page.guard import Guard, Password
from expandd.service.page.images import FullSize, Prefetch, Thumbnails
from expandd.service.page.reader import Records
from expandd.service.page.server import AddressTaken, Limits, bound, limits_here, serve_http
from expandd.service.page.site import Metrics, Site

LISTEN_AGAIN = 15.0
"""Seconds after which a page that could not listen tries it again."""


@contextmanager
def opened(page: PageSettings, config: Path, log: Logger, limits: Limits | None = None) -> Iterator[Page]:
    """The page, listening where it can but not answering yet. Raises ConfigurationError when it never may."""
    with ExitStack() as stack:
        showing = Page(page, config, log, limits or limits_here())
        with suppress(AddressTaken):
            showing.place = stack.enter_context(bound(page, config))
        yield showing


class Page:
    """What is shown at an address. `place` is where it listens already."""

    def __init__(
        self, page: PageSettings, config: Path, log: Logger, limits: Limits, again: float = LISTEN_AGAIN
    ) -> None:
        self._page = page
        self._config = config
        self._log = log
        self._limits = limits
        self._again = again
        self.place: tuple[Address, socket.socket] | None = None
        self.prefetch = Prefetch()
        """A subscriber of events, which may miss some."""
        self.alive: Callable[[], bool] = lambda: True
        """Whether the work goes on, as /healthz tells it."""

    async def show(
        self,
        records: Records,
        metrics: Metrics | None = None,
        open_file: OpenFile = open_plainly,
        keep: Keep = alone,
    ) -> None:
        """Answer until cancelled. Where it cannot listen yet it waits; after other failures it may be called again."""
        reported = ""
        while True:
            try:
                await self._show(records, metrics, open_file, keep)
            except AddressTaken as error:
                if reported != str(error):
                    self._log.warning("page.cannot_listen", why=str(error))
                reported = str(error)
            await asyncio.sleep(self._again)

    async def _show(self, records: Records, metrics: Metrics | None, open_file: OpenFile, keep: Keep) -> None:
        place, self.place = self.place, None
        with (
            nullcontext(place) if place else bound(self._page, self._config) as (address, listener),
            closing(FullSize(open_file)) as files,
        ):
            # One image reader of its own: looking never keeps the work waiting for one.
            async with PillowImages(processes=1, open_file=open_file) as images:
                thumbnails = Thumbnails(images)
                site = Site(records, thumbnails, files, self._log, title=self._page.title, metrics=metrics)
                password = Password(self._page.password_file) if self._page.password_file else None
                guard = Guard(
                    site.app,
                    address=address,
                    hosts=self._page.hosts,
                    password=password,
                    log=self._log,
                    alive=self.alive,
                )
                self._log.info("page.open", address=str(address), locked=password is not None)
                works = (
                    keep("live page", site.live.run),
                    keep("page's images", partial(self.prefetch.run, thumbnails)),
                )
                async with beside(*works):
                    await serve_http(guard, listener, site.live.close, self._limits)
