"""Configurations for tests: written to a directory of the test's own, and loaded."""

from __future__ import annotations

from pathlib import Path

from expandd.adapters.config.load import load
from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import Settings

FOUR = ("inbox", "outbox", "done", "error")


def directories(base: Path, *names: str) -> None:
    for name in names or FOUR:
        (base / name).mkdir(parents=True, exist_ok=True)


def loaded(base: Path, text: str, *roots: str) -> Settings:
    """The settings of `text`, whose folder 0 has root hot and whose state_dir is state, unless it says otherwise.

    `roots` are more hot folders that are there.
    """
    for root in ("hot", *roots):
        directories(base / root)
    if "state_dir" not in text:
        text = "state_dir: state\n" + text
    if "folders:" not in text:
        text += "\nfolders: [{root: hot, offsets: {top: 1}}]\n"
    path = base / "config.yaml"
    path.write_text(text)
    return load(path)


def config_errors(base: Path, text: str) -> list[str]:
    try:
        loaded(base, text)
    except ConfigurationError as error:
        return [str(problem).replace(f"{base}/", "") for problem in error.problems]
    return []
