"""The configuration as values, checked and complete: the one place where each of its keys is declared.

A key is one field: its name, how it is written, its default, and below it the sentence that `expandd schema` shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from expandd.domain.offsets import Preset
from expandd.domain.result_rules import AS_A_RULE, Accept, Oversize, ResultRules
from expandd.domain.selection import NOTHING_MORE, Ignore
from expandd.domain.written import (
    MOST,
    Between,
    Images,
    PresetName,
    Scalar,
    Seconds,
    SecondsOrForever,
    Written,
)


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
    """Nothing is delivered; the original is archived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many images may be paid for; each a number or null, which is no limit. Days and months are local time."""

    day: Images = None
    """Images paid for in one calendar day, at most; null is no limit."""
    month: Images = None
    """Images paid for in one calendar month, at most; null is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """How many files may arrive within how long, before what is more is held until a person releases it."""

    files: Annotated[int, Between(1, MOST, "a number of files")]
    """Files that may arrive within that time."""
    within: Seconds
    """The time in which the files are counted."""


NO_LIMIT = Budget()


@dataclass(frozen=True, slots=True)
class ImagePrice:
    """What one expanded image costs its owner; the currency as they write it, "" where they do not say."""

    amount: Decimal
    currency: str = ""

    def words(self, images: int) -> str:
        """What so many cost."""
        return f"{self.amount * images} {self.currency}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderDefaults:
    """What hot folders do unless they say otherwise."""

    name: Annotated[str, Written.NAME_TEMPLATE] = "{stem}{ext}"
    """The result's name; fields are {stem}, {ext} (by content), {width}, {height} and {preset}."""
    originals: Originals = Originals.MOVE
    """What happens to a delivered image's original: move it to done, or delete it."""
    recursive: bool = False
    """Whether subfolders of the inbox are worked on and mirrored."""
    ignore: Annotated[Ignore, Written.IGNORE] = NOTHING_MORE
    """Files that are never taken: patterns as in .gitignore, of names below the inbox, in small or capital letters."""
    watch: Watch = Watch.AUTO
    """How new files are noticed: events, poll (network drives), or auto to find out."""
    settle: Seconds = 2.0
    """How long a file must not change before it is taken."""
    settle_max: Seconds = 600.0
    """How long an unfinished file may stay unchanged before it fails."""
    scan_interval: Seconds = 60.0
    """How often the inbox is read for files that no event announced."""
    duplicates: Duplicates = Duplicates.EXPAND
    """What happens to an image already expanded by the same offsets: expand it anew and pay anew, reuse the earlier
    result for nothing, or skip it."""
    sidecar: bool = False
    """Whether each result gets a <result>.json beside it, with what was done and paid."""
    budget: Budget = NO_LIMIT
    """How many images of this folder may be paid for; a folder's own stands in place of the default."""
    burst: Burst | None = None
    """More files than this within this time are held until a person releases them; null is no limit."""
    accept: Accept = Accept.ALL
    """Which images are taken: all that can be read, or those that the API takes itself (JPEG, PNG, WEBP)."""
    oversize: Oversize = Oversize.REDUCE
    """What happens to an image over 4096 px: the API sees a smaller copy and the result has the full size, or error."""
    result: ResultRules = AS_A_RULE
    """What results are made of, and how they are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HotFolder(FolderDefaults):
    """A hot folder: its four directories (absolute), its preset and its options. Durations in seconds."""

    inbox: Path
    outbox: Path
    done: Path
    error: Path
    preset: Preset
    preset_name: str
    require_mount: Path | None = None
    label: str = ""

    @property
    def directories(self) -> tuple[Path, Path, Path, Path]:
        return self.inbox, self.outbox, self.done, self.error

    @property
    def work(self) -> Path:
        """The work folder: inside the inbox, so that a claim is a rename on one file system."""
        return self.inbox / ".expandd"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How the Magic Expand API is reached."""

    base_url: Annotated[str, Written.BASE_URL] = "https://api.piktid.com/api"
    """Where the API is; http or https."""
    generate_path: Annotated[str, Written.URL_PATH] = "/edit/generate"
    """The path of the paid call below base_url. The vendor may ask for /expand/generate."""
    generate_extra: Mapping[str, Scalar] = field(default_factory=lambda: MappingProxyType({}))
    """Fields to send along with the paid call, as the vendor tells you (such as one for the watermark)."""
    poll_interval: Seconds = 3.0
    """How often the account is asked for finished images; never below 3s against the real API."""
    timeout: Seconds = 30.0
    """How long one answer of the API may take."""
    unknown_wait: Seconds = 900.0
    """How long an image whose paid answer was lost is watched for before its history decides."""
    credentials_file: Path | None = None
    """A file with PIKTID_…=value lines. Credentials themselves never stand in the configuration."""
    allow_private_links: bool = False
    """Whether result links may point to loopback or private addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What is over, and how long it is remembered or kept; each a time or forever."""

    journal: SecondsOrForever = 90 * 86400.0
    """How long the job database remembers files that are over; or forever."""
    done: SecondsOrForever = None
    """How long originals stay in done before they are deleted; or forever."""
    results: SecondsOrForever = 30 * 86400.0
    """How long the results of folders with duplicates: reuse stay in the spool; or forever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What is told of an event: a command, or a webhook."""

    command: Annotated[tuple[str, ...], Written.COMMAND] = ()
    """A program's absolute path and its arguments; no shell. Facts come as EXPANDD_… and JSON on stdin."""
    url: Annotated[str, Written.HOOK_URL] = ""
    """Where the facts are sent as JSON, by POST; https."""
    secret_file: Annotated[Path | None, Written.NOT_NULL] = None
    """A file with the secret that the webhook's requests are signed with; only for url."""
    timeout: Seconds = 30.0
    """How long the command, or one request, may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What is told of each finished image, each one in error, and each pause; null is nothing."""

    on_done: Hook | None = None
    """Told of each image whose result is delivered."""
    on_error: Hook | None = None
    """Told of each image that went to the error folder."""
    on_paused: Hook | None = None
    """Told when everything, or one folder, has to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """The page for the browser."""

    listen: Annotated[str, Written.LISTEN]
    """Where it listens: "HOST:PORT", or unix:/path for a socket."""
    title: Annotated[str, Written.LINE] = ""
    """What it is called, such as the studio's name; empty is expandd."""
    hosts: Annotated[tuple[str, ...], Written.HOSTS] = ()
    """Host names it answers to, besides the address it listens on."""
    password_file: Path | None = None
    """A file with the password it asks for; required unless only this machine can reach it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Several hosts that share folders, account and job database, which is Postgres then."""

    database_file: Path | None = None
    """A file with the postgresql:// URL of the job database in it; null is one host, with SQLite in state_dir."""
    name: Annotated[str | None, Written.HOST_NAME] = None
    """What this host is called by the others; null is its host name."""
    lease: Seconds = 15.0
    """How long a host may be silent before others take its images over; from 5s to 5m."""
    in_flight: Annotated[int | None, Between(1, MOST, "a number of images", or_null=True)] = None
    """Images being generated at once by all hosts together; null is no limit but each host's workers."""
    spool: Path | None = None
    """A directory for paid results that all hosts reach; null is each host's own, in its state_dir."""

    @property
    def joined(self) -> bool:
        """Whether this host is one of several."""
        return self.database_file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """What holds for all folders together."""

    state_dir: Path = Path("/var/lib/expandd")
    """Where the job database, paid results and the refreshed login are kept: a local disk."""
    workers: Annotated[int, Between(1, 256)] = 4
    """Images being generated at once, for the whole account: each from its paid call until its result is seen."""
    ahead: Annotated[int | None, Between(1, 256, "a number of images", or_null=True)] = None
    """Images uploaded at most that wait for their turn to be paid for; null is as many as workers, at most 8."""
    stop_timeout: Seconds = 20.0
    """How long a stop waits for images that are paid for; TimeoutStopSec= of the unit must be longer."""
    api: ApiSettings = field(default_factory=ApiSettings)
    """How the API is reached."""
    keep: Keep = field(default_factory=Keep)
    """How long what is over is kept."""
    budget: Budget = NO_LIMIT
    """How many images of all folders together may be paid for."""
    keep_credits: Annotated[int | None, Between(0, MOST, "a number of credits", or_null=True)] = None
    """Nothing more is paid for when the account has this many credits or fewer; null is no limit."""
    price: Annotated[ImagePrice | None, Written.PRICE] = None
    """What one expanded image costs you, such as 0.20 EUR: the ledger and plan then tell money; null is unknown."""
    hooks: Hooks = field(default_factory=Hooks)
    """Commands or webhooks that are told what happened."""
    page: PageSettings | None = None
    """The page for the browser; null is none."""
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    """Several hosts with the same folders and one account."""
    metrics_file: Path | None = None
    """A file that a node exporter's textfile collector reads; its name ends in .prom."""
    presets: Mapping[PresetName, Annotated[Preset, Written.PRESET]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Presets by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SharedSettings):
    """The whole configuration."""

    folders: tuple[HotFolder, ...] = ()
