"""What a reload may change, and what stays because locks, connections or sockets are made of it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import (
    ApiSettings,
    Budget,
    ClusterSettings,
    Hook,
    Hooks,
    ImagePrice,
    Keep,
    PageSettings,
    Settings,
)
from expandd.service.runtime.reload import KEPT, RELOADED, takeable
from tests.support.workshop import hot_folder

BEFORE = Settings(state_dir=Path("/var/lib/expandd"))
CONFIG = Path("/etc/expandd/config.yaml")

FIXED: dict[str, Any] = {"page": PageSettings(listen="127.0.0.1:8080"), "cluster": ClusterSettings(name="other")}
FREE: dict[str, Any] = {
    "workers": 9,
    "stop_timeout": 5.0,
    "keep": Keep(results=None),
    "budget": Budget(day=5),
    "keep_credits": 10,
    "price": ImagePrice(Decimal("0.2"), "EUR"),
    "ahead": 3,
    "hooks": Hooks(on_done=Hook(command=("/bin/true",))),
    "metrics_file": Path("/var/lib/node_exporter/expandd.prom"),
    "presets": {},
    "folders": (hot_folder(Path("/srv/expand/a")),),
}


EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def test_every_key_of_the_top_level_is_decided_about() -> None:
    assert {field.name for field in fields(Settings)} == {*FIXED, *FREE, "api", "state_dir"}


def test_what_is_made_at_the_start_stays_and_is_named_and_the_rest_is_taken() -> None:
    after = replace(BEFORE, **FIXED, **FREE, api=ApiSettings(timeout=9.0, poll_interval=9.0, unknown_wait=9.0))
    taken, stay = takeable(BEFORE, after, CONFIG)

    assert taken == replace(BEFORE, **FREE, api=ApiSettings(poll_interval=9.0, unknown_wait=9.0))
    assert stay == ["api.timeout", "page", "cluster"]
    assert takeable(taken, BEFORE, CONFIG) == (BEFORE, [])


def test_another_state_directory_is_refused_whole() -> None:
    with pytest.raises(ConfigurationError, match=r" state_dir: .*/var/lib/expandd.*systemctl restart expandd"):
        takeable(BEFORE, replace(BEFORE, state_dir=Path("/data"), workers=9), CONFIG)


def test_the_example_marks_what_only_a_restart_changes() -> None:
    text = EXAMPLE.read_text()
    marked = re.findall(r"^ *# RESTART\.(?:.*\n *#)*.*\n *(\w+):", text, re.MULTILINE)

    assert set(marked) == {"state_dir", *KEPT, *ApiSettings.__slots__} - RELOADED
    assert len(marked) == text.count("# RESTART.")
