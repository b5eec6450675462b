"""Answers what lies at a path of the configuration; of a path that cannot be asked about, that it is not there."""

from __future__ import annotations

import os
from pathlib import Path

# pathlib's own questions raise for a name that is too long, or one below a directory that may not be entered.


def is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110


def is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112


def is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114
