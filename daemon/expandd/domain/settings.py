"""The configuration as values: checked and complete, without a trace of YAML."""

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


class Duplicates(Enum):
    """What happens to an image whose bytes were already expanded by the same offsets."""

    EXPAND = "expand"
    """It is expanded anew, and paid for anew."""
    REUSE = "reuse"
    """The earlier result is delivered again, free of charge."""
    SKIP = "skip"
    """Nothing is delivered; the original is put away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many images may be paid for in a calendar day and month, local time; None is no limit."""

    day: int | None = None
    month: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """More than `files` that arrive `within` seconds are held until a person releases them."""

    files: int
    within: float


NO_LIMIT = Budget()


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
    duplicates: Duplicates = Duplicates.EXPAND
    sidecar: bool = False
    """Whether each result gets a `<result>.json` beside it, with what was done and paid."""
    budget: Budget = NO_LIMIT
    burst: Burst | None = None

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
    results: float | None = 30 * 86400.0
    """Results in the spool of folders that reuse them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What is told of an event: a command (argv, no shell), or a webhook (https) signed with the secret of a file."""

    command: tuple[str, ...] = ()
    url: str = ""
    secret_file: Path | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What is told of each finished image, each one in error, and each pause."""

    on_done: Hook | None = None
    on_error: Hook | None = None
    on_paused: Hook | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """Where the page for the browser listens: "HOST:PORT" or "unix:/path". `hosts` are names it answers to besides.

    Off loopback a password is required.
    """

    listen: str
    hosts: tuple[str, ...] = ()
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration."""

    state_dir: Path
    workers: int = 4
    stop_timeout: float = 20.0
    """Seconds that a stop waits for what is paid for."""
    api: ApiSettings = field(default_factory=ApiSettings)
    keep: Keep = field(default_factory=Keep)
    budget: Budget = NO_LIMIT
    keep_credits: int | None = None
    """Nothing more is paid for while the account has this many credits or fewer; None is to the last one."""
    hooks: Hooks = field(default_factory=Hooks)
    page: PageSettings | None = None
    metrics_file: Path | None = None
    """Where the metrics are written for a node exporter's textfile collector."""
    presets: Mapping[str, Preset] = field(default_factory=lambda: MappingProxyType({}))
    folders: tuple[HotFolder, ...] = ()
