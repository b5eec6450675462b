"""What a reload may change, and what it refuses because locks, connections or sockets are made of it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import ApiSettings, Budget, Hook, Hooks, Keep, PageSettings, Settings
from expandd.service.runtime.reload import prove_reloadable
from tests.support.workshop import hot_folder

BEFORE = Settings(state_dir=Path("/var/lib/expandd"))
CONFIG = Path("/etc/expandd/config.yaml")

FIXED: dict[str, Any] = {"state_dir": Path("/data"), "page": PageSettings(listen="127.0.0.1:8080")}
FREE: dict[str, Any] = {
    "workers": 9,
    "stop_timeout": 5.0,
    "keep": Keep(results=None),
    "budget": Budget(day=5),
    "keep_credits": 10,
    "hooks": Hooks(on_done=Hook(command=("/bin/true",))),
    "metrics_file": Path("/var/lib/node_exporter/expandd.prom"),
    "presets": {},
    "folders": (hot_folder(Path("/srv/expand/a")),),
}


def test_every_key_of_the_top_level_is_decided_about() -> None:
    assert {field.name for field in fields(Settings)} == {*FIXED, *FREE, "api"}


@pytest.mark.parametrize("key", FIXED)
def test_what_is_made_at_the_start_needs_a_restart(key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf": {key}: .*systemctl restart expandd"):
        prove_reloadable(BEFORE, replace(BEFORE, **{key: FIXED[key]}), CONFIG)


@pytest.mark.parametrize("key", FREE)
def test_everything_else_may_change(key: str) -> None:
    prove_reloadable(BEFORE, replace(BEFORE, **{key: FREE[key]}), CONFIG)


def test_of_the_api_only_waiting_times_may_change() -> None:
    prove_reloadable(BEFORE, replace(BEFORE, api=ApiSettings(poll_interval=9.0, unknown_wait=9.0)), CONFIG)
    with pytest.raises(ConfigurationError, match=r"api\.timeout"):
        prove_reloadable(BEFORE, replace(BEFORE, api=ApiSettings(timeout=9.0)), CONFIG)
