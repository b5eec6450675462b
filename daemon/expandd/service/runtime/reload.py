"""Reloads: a new configuration is taken, but for what only a restart can change, or refused with every reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from expandd.adapters.config.load import keep_loaded, load
from expandd.domain.errors import ConfigurationError, ExpanddError, Problem
from expandd.domain.naming import printable
from expandd.domain.settings import ApiSettings, Settings
from expandd.service.observability.logs import Logger
from expandd.service.reports.snapshot import Reading
from expandd.service.runtime.app import FolderAccess
from expandd.service.runtime.systemd import Notifier, Watchdog, either

if TYPE_CHECKING:
    from expandd.engine.engine import Engine

RELOADED = frozenset({"poll_interval", "unknown_wait"})
"""Keys of api: that can change while it runs; the others are what connections and the login are made of."""

KEPT = ("page", "cluster")
"""Keys of the top level whose old value stays until a restart: a listening socket, or all connections are made of it.

All others can change, but for state_dir. A configuration with another one is refused whole: it is that of another
daemon, and its folders were not judged against what lies in the state directory that is in use.
"""

LOOK = 2.0
"""Seconds between two checks whether a folder that is no longer served can be released."""


class Reloader:
    """Takes a new configuration into the running engine when it is asked to."""

    def __init__(
        self,
        config: Path,
        engine: Engine,
        *,
        folder_access: FolderAccess,
        systemd: Notifier,
        watchdog: Watchdog,
        log: Logger,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._engine = engine
        self._folder_access = folder_access
        self._systemd = systemd
        self._watchdog = watchdog
        self._log = log
        self._told = told
        self.reading = Reading(at=time.time(), began=time.monotonic())

    async def run(self, asked: asyncio.Event) -> None:
        """Until cancelled: a reload each time `asked` is set; requests during one are one more."""
        while True:
            # Only folders that are no longer served and have jobs in progress need checks.
            await either(asked, LOOK if self._folder_access.locks.held - self._served() else None)
            if asked.is_set():
                self._systemd.reloading()
                # Only now: one that could not even be begun is still asked for.
                asked.clear()
                await self.reload()
                self._told()
                self._systemd.ready(self._watchdog.sentence())
            # Others may have a folder that is no longer served, once its last job is over.
            for inbox in sorted(self._folder_access.keep_only(self._engine.in_use)):
                self._log.info("folder.left", inbox=inbox)

    def _served(self) -> frozenset[Path]:
        return frozenset(folder.inbox for folder in self._engine.settings.folders)

    async def reload(self) -> None:
        """The file is read, judged together with what it names, and only then taken."""
        before, at, began = self._engine.settings, time.time(), time.monotonic()
        errors: Sequence[str] = ()
        needs_restart: Sequence[str] = ()
        try:
            settings, needs_restart = takeable(before, await asyncio.to_thread(load, self._config), self._config)
            await self._folder_access.admit(settings.folders)
        except ConfigurationError as error:
            errors = [str(problem) for problem in error.problems]
        except ExpanddError as error:
            errors = [str(error)]
        except Exception as error:  # noqa: BLE001 - what cannot even be judged is not taken, and the work goes on
            self._log.error("reload.bug_found", exc_info=error)
            errors = ["The new configuration could not be judged: that is a fault of expandd's own, see the log."]
        else:
            self._engine.reconfigure(settings)
            await asyncio.to_thread(remember, self._config, settings.state_dir, self._log)
            self._log.info("reload.done", **_changes(before, settings))
        self.reading = Reading(at=at, began=began, errors=tuple(errors), needs_restart=tuple(needs_restart))
        self._watchdog.remark = self._remark(errors, needs_restart)

    def _remark(self, errors: Sequence[str], needs_restart: Sequence[str]) -> str:
        """What systemd shows of it, "" where all was taken; the log has it whole."""
        for text in errors:
            self._log.error("reload.error", message=text)
        if errors:
            self._log.error(
                "reload.refused",
                errors=len(errors),
                what_to_do="Correct them and reload again; until then everything goes on as it was configured before.",
            )
            number = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
            return f"new configuration refused at {time.strftime('%H:%M')}: {number}, see the log"
        if needs_restart:
            self._log.warning("reload.needs_restart", keys=", ".join(needs_restart))
            return f"only a restart changes {', '.join(needs_restart)}"
        return ""


def remember(config: Path, state_dir: Path, log: Logger) -> None:
    """Keep what was loaded for the verbs that read and steer while the file has errors."""
    try:
        keep_loaded(config, state_dir)
    except OSError as error:
        log.warning("config.not_kept", state_dir=state_dir, why=str(error))


def takeable(before: Settings, after: Settings, config: Path) -> tuple[Settings, Sequence[str]]:
    """What of `after` can be taken while it runs, and the keys of which the old values stay until a restart.

    Raises ConfigurationError where nothing can be taken.
    """
    if after.state_dir != before.state_dir:
        raise ConfigurationError((_another_state(config, before.state_dir, after.state_dir),))
    of_api = [key for key in ApiSettings.__slots__ if key not in RELOADED]
    stay = [key for key in of_api if getattr(before.api, key) != getattr(after.api, key)]
    api = replace(after.api, **{key: getattr(before.api, key) for key in stay})
    kept = [key for key in KEPT if getattr(before, key) != getattr(after, key)]
    settings = replace(after, api=api, **{key: getattr(before, key) for key in kept})
    return settings, [*(f"api.{key}" for key in stay), *kept]


def _another_state(config: Path, before: Path, after: Path) -> Problem:
    return Problem(
        where=str(config),
        path="state_dir",
        expected=f"what it was at the start ({printable(before)})",
        found=printable(after),
        hint="It changes only with a restart, and the rest of the file with it: systemctl restart expandd.",
    )


def _changes(before: Settings, after: Settings) -> dict[str, object]:
    """What is another now, for the log."""
    old = {folder.inbox: folder for folder in before.folders}
    new = {folder.inbox: folder for folder in after.folders}
    return {
        "folders": len(new),
        "added": sorted(str(path) for path in new.keys() - old.keys()),
        "removed": sorted(str(path) for path in old.keys() - new.keys()),
        "changed": sorted(str(path) for path in new.keys() & old.keys() if new[path] != old[path]),
        "workers": after.workers,
    }
