"""Keeps the configuration that the daemon loaded last, for those who ask while the file has mistakes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from expandd.adapters.config.load import settings_in
from expandd.adapters.config.yaml_marks import MOST_BYTES
from expandd.adapters.json_text import read_json
from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import Settings

FILE = "configuration.json"


def keep_loaded(config: Path, state_dir: Path) -> None:
    """Remember what stands in `config`, which was loaded just now. Raises OSError."""
    with config.open("rb") as file:
        text = file.read(MOST_BYTES).decode("utf-8", "surrogateescape")
    spare = state_dir / f".{FILE}"
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as kept:
        kept.write(json.dumps({"base": str(config.absolute().parent), "text": text}).encode())
    # Not synced: after a power cut the file itself is asked.
    spare.replace(state_dir / FILE)


def last_loaded(state_dir: Path) -> Settings | None:
    """What was loaded last with this state directory; None where that is not known."""
    try:
        with (state_dir / FILE).open("rb") as file:
            kept = read_json(file, 8 * MOST_BYTES)
        settings = settings_in(kept["text"].encode("utf-8", "surrogateescape"), Path(kept["base"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
        return None
    return replace(settings, state_dir=state_dir)
