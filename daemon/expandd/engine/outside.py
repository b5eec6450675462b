"""Owns the bundle of everything that the engine is given: one adapter, or fake, for each port."""

from __future__ import annotations

from dataclasses import dataclass

from expandd.engine.keeping import Journal, Vault
from expandd.engine.ports import Api, Chance, Clock, Folders, Images, Watcher


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
