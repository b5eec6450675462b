"""Owns what a person configures, as values: checked, complete, without a trace of YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from expandd.domain.offsets import Preset

Scalar = str | int | float | bool | None


class Originals(Enum):
    """What happens to the source once its result is delivered and proven."""

    MOVE = "move"
    DELETE = "delete"


class Watch(Enum):
    """How new files in an inbox are noticed."""

    AUTO = "auto"
    EVENTS = "events"
    POLL = "poll"


@dataclass(frozen=True, slots=True, kw_only=True)
class HotFolder:
    """A configured hot folder: its four directories (absolute), its preset and its manners. Durations in seconds."""

    inbox: Path
    outbox: Path
    done: Path
    error: Path
    preset: Preset
    preset_name: str
    name: str = "{stem}{ext}"
    originals: Originals = Originals.MOVE
    recursive: bool = False
    watch: Watch = Watch.AUTO
    settle: float = 2.0
    settle_max: float = 600.0
    scan_interval: float = 60.0
    require_mount: Path | None = None
    """What must be a mount point before any of the four is touched."""

    @property
    def work(self) -> Path:
        """The work folder: inside the inbox, so that a claim is a rename on one file system."""
        return self.inbox / ".expandd"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the API is reached. Durations in seconds."""

    base_url: str = "https://api.piktid.com/api"
    generate_path: str = "/edit/generate"
    generate_extra: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))
    poll_interval: float = 3.0
    timeout: float = 30.0
    unknown_wait: float = 900.0
    credentials_file: Path | None = None
    allow_private_links: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long what is over is kept, in seconds; None is for ever."""

    journal: float | None = 90 * 86400.0
    done: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration."""

    state_dir: Path
    workers: int = 4
    stop_timeout: float = 20.0
    """Seconds that a stop waits for what is paid for."""
    api: ApiSettings = field(default_factory=ApiSettings)
    keep: Keep = field(default_factory=Keep)
    presets: Mapping[str, Preset] = field(default_factory=lambda: MappingProxyType({}))
    folders: tuple[HotFolder, ...] = ()
