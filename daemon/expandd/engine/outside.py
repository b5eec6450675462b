"""Owns the bundle of everything that the engine is given: one adapter, or fake, for each port."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from expandd.engine.keeping import Journal, Vault
from expandd.engine.ports import Api, Chance, Clock, Folders, Images, Watcher


def _one_for_all(path: Path) -> Hashable:
    del path
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Everything the engine needs of the outside."""

    api: Api
    chance: Chance
    clock: Clock
    folders: Folders
    images: Images
    journal: Journal
    vault: Vault
    watcher: Watcher
    mount_of: Callable[[Path], Hashable] = _one_for_all
    """The mount that a path is on, by its name alone: what is on one that hangs holds up nothing on others."""
