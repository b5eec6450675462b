"""Owns the telling of metrics: to whoever asks, and into a file that a node exporter reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from expandd.adapters.files.folder_counts import Counting
from expandd.domain.errors import JournalAway
from expandd.domain.settings import Settings
from expandd.service.observability.metrics import Metrics
from expandd.service.reports.build_overview import build_overview

PAUSE = 15.0
"""Seconds between two writings of the file, as Prometheus usually asks."""


class Publisher:
    """Brings the metrics up to date and hands them out. `text` is for threads; `run` writes the file."""

    def __init__(self, metrics: Metrics, settings: Callable[[], Settings], log: FilteringBoundLogger) -> None:
        self._metrics = metrics
        self._settings = settings
        self._log = log
        self._counting = Counting()
        self._one_at_a_time = threading.Lock()
        self._failing = False

    def text(self) -> tuple[bytes, str]:
        """The metrics as they are now, and their media type. Blocks. Raises JournalAway."""
        settings = self._settings()
        with self._one_at_a_time:
            self._metrics.see(build_overview(settings, self._counting), settings)
            return self._metrics.text()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            settings = self._settings()
            self._metrics.know(settings)
            if settings.metrics_file is not None:
                await self.publish(settings.metrics_file)
            await asyncio.sleep(PAUSE)

    async def publish(self, file: Path) -> None:
        """Write the file, whole; a disk that does not take it is told of once."""
        try:
            await asyncio.to_thread(self._write, file)
        except (OSError, JournalAway) as error:
            if not self._failing:
                self._log.warning("metrics.failed", file=file, why=str(error))
            self._failing = True
        else:
            self._failing = False

    def _write(self, file: Path) -> None:
        text, _ = self.text()
        # The name of the spare does not end in .prom, so that nobody reads it half written.
        spare = file.with_name(f".{file.name}.new")
        spare.write_bytes(text)
        # Another user's node exporter reads it, whatever the service's umask is for pictures.
        spare.chmod(0o644)
        spare.replace(file)
