"""Owns what a person may call a file."""

from __future__ import annotations

import os
from pathlib import Path

from expandd.adapters.files.error_report import ENDING
from expandd.adapters.files.roots import WORK
from expandd.adapters.responsiveness import answered
from expandd.adapters.store.sqlite.reader import Names


def names_of(file: str) -> Names:
    """All that `file` may be the name of: an id, a path, or the last parts of one."""
    absolute = absolute_path(file)
    plain = [file, *(file.removesuffix(ending) for ending in (ENDING, ".json") if file.endswith(ending))]
    paths = {absolute, real_path(absolute)}
    parts = absolute.parts
    ids = {file, absolute.name}
    if WORK in parts[:-1]:
        ids.add(parts[parts.index(WORK) + 1])
    with_reasons = {path.with_name(name) for path in paths for name in _explained(path.name)}
    tails = {Path(os.path.normpath(one)) for one in plain if not one.startswith("/")}
    # An id is text; a name of broken bytes is none.
    return Names(
        ids=frozenset(filter(str.isprintable, ids)), paths=frozenset(paths | with_reasons), tails=frozenset(tails)
    )


def _explained(name: str) -> set[str]:
    """What a file of this name may be the report on; nothing where nothing is left of it."""
    return {name.removesuffix(ending) for ending in (ENDING, ".json")} - {""}


def absolute_path(file: str) -> Path:
    return Path(os.path.abspath(file))  # noqa: PTH100 - a link's own path is meant, not that of its target


def real_path(path: Path) -> Path:
    """The path with links resolved in its directory, not in its last part; as it is where its disk does not answer."""
    return answered(lambda: Path(os.path.realpath(path.parent)), path.parent) / path.name
