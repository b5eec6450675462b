"""Reloads: a new configuration is taken whole, or not at all and with every reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from expandd.adapters.config.load import keep_loaded, load
from expandd.domain.errors import ConfigurationError, ExpanddError, Problem
from expandd.domain.settings import ApiSettings, Settings
from expandd.engine.engine import Engine
from expandd.service.observability.logs import Logger
from expandd.service.runtime.app import FolderAccess
from expandd.service.runtime.systemd import Notifier, Watchdog, either

RELOADED = frozenset({"poll_interval", "unknown_wait"})
"""Keys of api: that can change while it runs; the others are what connections and the login are made of."""

KEPT = ("state_dir", "page")
"""Keys of the top level that cannot change while it runs: locks and a listening socket are made of them.

The others do, and hooks, budgets, keep_credits and metrics_file with them.
"""

LOOK = 2.0
"""Seconds between two looks at whether a folder that was left can be let go of."""


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
        read: Callable[[Path], Settings] = load,
    ) -> None:
        self._config = config
        self._engine = engine
        self._folder_access = folder_access
        self._systemd = systemd
        self._watchdog = watchdog
        self._log = log
        self._read = read

    async def run(self, asked: asyncio.Event) -> None:
        """Until cancelled: a reload each time `asked` is set; requests during one are one more."""
        while True:
            # Only a folder that was left, and has jobs in progress, is looked after.
            await either(asked, LOOK if self._folder_access.locks.held - self._served() else None)
            if asked.is_set():
                self._systemd.reloading()
                # Only now: one that could not even be begun is still asked for.
                asked.clear()
                await self.reload()
                self._systemd.ready(self._watchdog.sentence())
            # Others may have a folder that is no longer served, once its last job is over.
            for inbox in sorted(self._folder_access.keep_only(self._engine.in_use)):
                self._log.info("folder.left", inbox=inbox)

    def _served(self) -> frozenset[Path]:
        return frozenset(folder.inbox for folder in self._engine.settings.folders)

    async def reload(self) -> None:
        """The file is read, judged together with what it names, and only then taken."""
        before = self._engine.settings
        try:
            settings = await asyncio.to_thread(self._read, self._config)
            prove_reloadable(before, settings, self._config)
            await self._folder_access.admit(settings.folders)
        except ConfigurationError as error:
            self._refuse([str(problem) for problem in error.problems])
            return
        except ExpanddError as error:
            self._refuse([str(error)])
            return
        except Exception as error:  # noqa: BLE001 - what cannot even be judged is not taken, and the work goes on
            self._log.error("reload.bug_found", exc_info=error)
            self._refuse(["The new configuration could not be judged: that is a fault of expandd's own, see above."])
            return
        self._engine.reconfigure(settings)
        await asyncio.to_thread(remember, self._config, settings.state_dir, self._log)
        self._watchdog.remark = ""
        self._log.info("reload.done", **_changes(before, settings))

    def _refuse(self, problems: Sequence[str]) -> None:
        for problem in problems:
            self._log.error("reload.error", message=problem)
        number = len(problems)
        self._log.error(
            "reload.refused",
            errors=number,
            what_to_do="Correct them and reload again; until then everything goes on as it was configured before.",
        )
        config_errors = "1 error" if number == 1 else f"{number} errors"
        self._watchdog.remark = f"new configuration refused at {time.strftime('%H:%M')}: {config_errors}, see the log"


def remember(config: Path, state_dir: Path, log: Logger) -> None:
    """Keep what was loaded for the verbs that look and steer while the file has errors."""
    try:
        keep_loaded(config, state_dir)
    except OSError as error:
        log.warning("config.not_kept", state_dir=state_dir, why=str(error))


def prove_reloadable(before: Settings, after: Settings, config: Path) -> None:
    """Raise ConfigurationError for what can only change with a restart."""
    keys = [key for key in ApiSettings.__slots__ if key not in RELOADED]
    changed = [f"api.{key}" for key in keys if getattr(before.api, key) != getattr(after.api, key)]
    changed += [key for key in KEPT if getattr(before, key) != getattr(after, key)]
    if changed:
        raise ConfigurationError(tuple(_needs_restart(config, key) for key in changed))


def _needs_restart(config: Path, key: str) -> Problem:
    return Problem(
        where=str(config),
        path=key,
        expected="what it was at the start",
        found="another value",
        hint="This key changes only with a restart: systemctl restart expandd.",
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
