"""Owns the sections of the configuration file: their keys, defaults and descriptions, and the JSON Schema of them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from expandd.adapters.config.config_errors import KeyPath
from expandd.adapters.config.limit_keys import BudgetKeys, BurstKeys, Credits
from expandd.adapters.config.output_keys import HookKeys, HooksKeys, HooksSection, PageKeys
from expandd.adapters.config.preset_keys import PresetKeys
from expandd.adapters.config.values import (
    FOREVER,
    BaseUrl,
    DuplicatesWord,
    Duration,
    DurationOrForever,
    Flag,
    MaybePath,
    MaybePreset,
    NameTemplate,
    OriginalsWord,
    PathOrNull,
    PathText,
    PresetName,
    ScalarValue,
    UrlPath,
    WatchWord,
    Workers,
)
from expandd.domain.settings import Duplicates, Originals, Watch

DIRECTORIES = ("inbox", "outbox", "done", "error")
DEFAULT_STATE_DIR = "/var/lib/expandd"


def _left_empty(value: Any) -> Any:
    # `defaults:` with all its keys commented out is null in YAML, and means the same as leaving it out.
    return {} if value is None else value


def _never_null(schema: dict[str, Any]) -> None:
    """None only means that the key was left out."""
    schema["anyOf"].remove({"type": "null"})


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKeys(_Section):
    """How the Magic Expand API is reached."""

    base_url: BaseUrl = Field(default="https://api.piktid.com/api", description="Where the API is; http or https.")
    generate_path: UrlPath = Field(
        default="/edit/generate",
        description="The path of the paid call below base_url. The vendor may ask for /expand/generate.",
    )
    generate_extra: Annotated[dict[str, ScalarValue], BeforeValidator(_left_empty)] = Field(
        default={},
        description="Fields to send along with the paid call, as the vendor tells you (such as one for the watermark).",
    )
    poll_interval: Duration = Field(
        default=3.0,
        description="How often the account is asked for finished images; never below 3s against the real service.",
    )
    timeout: Duration = Field(default=30.0, description="How long one answer of the API may take.")
    unknown_wait: Duration = Field(
        default=900.0,
        description="How long an image whose paid answer was lost is watched for before its history decides.",
    )
    credentials_file: PathOrNull = Field(
        default=None,
        description="A file with PIKTID_…=value lines. Credentials themselves never stand in the configuration.",
    )
    allow_private_links: Flag = Field(
        default=False,
        description="Whether result links may point to loopback or private addresses.",
    )


class KeepKeys(_Section):
    """What is over, and how long it is remembered or kept; each a time or forever."""

    journal: DurationOrForever = Field(
        default=90 * 86400.0,
        description="How long the journal remembers files that are over; or forever.",
    )
    done: DurationOrForever = Field(
        default=None,
        json_schema_extra={"default": FOREVER},
        description="How long originals stay in done before they are deleted; or forever.",
    )
    results: DurationOrForever = Field(
        default=30 * 86400.0,
        description="How long the results of folders with duplicates: reuse stay in the vault; or forever.",
    )


Budget = Annotated[BudgetKeys, BeforeValidator(_left_empty)]


class Manners(_Section):
    """What hot folders do unless they say otherwise."""

    name: NameTemplate = Field(
        default="{stem}{ext}",
        description="The result's name; fields are {stem}, {ext} (by content), {width}, {height} and {preset}.",
    )
    originals: OriginalsWord = Field(
        default=Originals.MOVE,
        description="What happens to a delivered image's original: move it to done, or delete it.",
    )
    recursive: Flag = Field(default=False, description="Whether subfolders of the inbox are worked on and mirrored.")
    watch: WatchWord = Field(
        default=Watch.AUTO,
        description="How new files are noticed: events, poll (network drives), or auto to find out.",
    )
    settle: Duration = Field(default=2.0, description="How long a file must not change before it is taken.")
    settle_max: Duration = Field(
        default=600.0, description="How long an unfinished file may stay unchanged before it fails."
    )
    scan_interval: Duration = Field(
        default=60.0, description="How often the inbox is read for files that no event announced."
    )
    duplicates: DuplicatesWord = Field(
        default=Duplicates.EXPAND,
        description="What happens to a picture already expanded by the same offsets: expand it anew and pay anew, "
        "reuse the earlier result for nothing, or skip it.",
    )
    sidecar: Flag = Field(
        default=False,
        description="Whether each result gets a <result>.json beside it, with what was done and paid.",
    )
    budget: Budget = Field(
        default_factory=BudgetKeys,
        description="How many images of this folder may be paid for; a folder's own stands in place of the default.",
    )
    burst: BurstKeys | None = Field(
        default=None,
        description="More files than this within this time are held until a person releases them; null is no limit.",
    )


class FolderKeys(Manners):
    """One hot folder: its directories, what is done to its images, and any key of defaults."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"anyOf": [{"required": ["root"]}, {"required": ["inbox", "outbox", "error"]}]},
                {"oneOf": [{"required": ["preset"]}, {"required": ["offsets"]}]},
            ],
        },
    )

    root: MaybePath = Field(default=None, description="Stands for inbox, outbox, done and error below this directory.")
    inbox: MaybePath = Field(default=None, description="Where people drop images.")
    outbox: MaybePath = Field(default=None, description="Where results appear.")
    done: MaybePath = Field(default=None, description="Where originals go; not needed with originals: delete.")
    error: MaybePath = Field(default=None, description="Where images go that cannot be expanded, each with its reason.")
    require_mount: PathOrNull = Field(
        default=None,
        description="A path at which something must be mounted before this folder is touched: it waits until then.",
    )
    preset: MaybePreset = Field(default=None, description="The name of one of presets. Either this or offsets.")
    offsets: Annotated[PresetKeys | None, BeforeValidator(_left_empty)] = Field(
        default=None,
        description="A preset given in place. Either this or preset.",
        json_schema_extra=_never_null,
    )


class ConfigKeys(_Section):
    """The configuration of expandd."""

    state_dir: PathText = Field(
        default=DEFAULT_STATE_DIR,
        description="Where the journal, paid results and the refreshed login are kept: a local disk.",
    )
    workers: Workers = Field(default=4, description="Images in flight at once, for the whole account.")
    stop_timeout: Duration = Field(
        default=20.0,
        description="How long a stop waits for images that are paid for; TimeoutStopSec= of the unit must be longer.",
    )
    api: Annotated[ApiKeys, BeforeValidator(_left_empty)] = Field(
        default_factory=ApiKeys,
        description="How the API is reached.",
    )
    keep: Annotated[KeepKeys, BeforeValidator(_left_empty)] = Field(
        default_factory=KeepKeys,
        description="How long what is over is kept.",
    )
    budget: Budget = Field(
        default_factory=BudgetKeys,
        description="How many images of all folders together may be paid for.",
    )
    keep_credits: Credits = Field(
        default=None,
        description="Nothing more is paid for when the account has this many credits or fewer; null is no limit.",
    )
    hooks: HooksSection = Field(
        default_factory=HooksKeys,
        description="Commands or webhooks that are told what happened.",
    )
    page: PageKeys | None = Field(default=None, description="The page for the browser; null is none.")
    metrics_file: PathOrNull = Field(
        default=None,
        description="A file that a node exporter's textfile collector reads; its name ends in .prom.",
    )
    presets: Annotated[dict[PresetName, PresetKeys], BeforeValidator(_left_empty)] = Field(
        default={},
        description="Presets by name.",
    )
    defaults: Annotated[Manners, BeforeValidator(_left_empty)] = Field(
        default_factory=Manners,
        description="Manners of all folders; each of these keys may stand in a folder too.",
    )
    folders: list[FolderKeys] = Field(default=[], description="The hot folders.", min_length=1)


_SECTIONS: dict[KeyPath, type[BaseModel]] = {
    (): ConfigKeys,
    ("api",): ApiKeys,
    ("keep",): KeepKeys,
    ("hooks",): HooksKeys,
    ("page",): PageKeys,
    ("defaults",): Manners,
}


def section_at(path: KeyPath) -> type[BaseModel] | None:
    """The model of the section at `path`, or None when no section with fixed keys stands there."""
    match path:
        case ("hooks", _):
            return HookKeys
        case ("budget",) | ("defaults", "budget") | ("folders", _, "budget"):
            return BudgetKeys
        case ("defaults", "burst") | ("folders", _, "burst"):
            return BurstKeys
        case ("presets", _) | ("folders", _, "offsets"):
            return PresetKeys
        case ("folders", _):
            return FolderKeys
    return _SECTIONS.get(path)


def schema() -> str:
    """The JSON Schema of the configuration file, for editors; ends with a newline."""
    generated = ConfigKeys.model_json_schema()
    generated["required"] = ["folders"]
    tidy = _without_noise(generated)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "expandd configuration"}
    return json.dumps(head | tidy, indent=2, ensure_ascii=False) + "\n"


def _without_noise(node: Any) -> Any:
    """Without generated titles, and without a default that only means "left out"."""
    if isinstance(node, list):
        return [_without_noise(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _without_noise(value) for key, value in node.items() if not _noise(key, value)}
    only = kept.get("anyOf")
    if only and len(only) == 1 and isinstance(only[0], dict):
        kept = {**only[0], **{key: value for key, value in kept.items() if key != "anyOf"}}
    return kept


def _noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
