"""The sections of the configuration file: their keys, defaults and descriptions, and the JSON Schema of them."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from expandd.adapters.config.config_errors import ConfigError, KeyPath, listed
from expandd.adapters.config.output_keys import HookKeys, HooksKeys, HooksSection, PageKeys
from expandd.adapters.config.values import (
    FOREVER,
    AnchorWord,
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
    Pixels,
    PresetName,
    Ratio,
    ScalarValue,
    Side,
    UrlPath,
    WatchWord,
    Workers,
    refused,
    whole,
)
from expandd.domain.offsets import NOTHING, Amount, Anchor, Aspect, Canvas, Preset, Sides, Unit
from expandd.domain.settings import Budget, Burst, Duplicates, Originals, Watch

SIDES = ("top", "bottom", "left", "right")
CANVAS = ("width", "height")

_ONE_WAY = "either sides (top, bottom, left, right), or aspect, or width and/or height"
_SIDE = "Pixels, or percent of the image's own"


def _kinds() -> list[dict[str, Any]]:
    def none_of(*keys: str) -> dict[str, Any]:
        return {"not": {"anyOf": [{"required": [key]} for key in keys]}}

    def any_of(*keys: str) -> dict[str, Any]:
        return {"anyOf": [{"required": [key]} for key in keys]}

    return [
        {**any_of(*SIDES), **none_of("aspect", "anchor", *CANVAS)},
        {**any_of("aspect"), **none_of(*SIDES, *CANVAS)},
        {**any_of(*CANVAS), **none_of("aspect", *SIDES)},
    ]


class PresetKeys(BaseModel):
    """A preset: how much to add on each side (negative crops), or a ratio, or a size in pixels to reach."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"oneOf": [*_kinds()]})

    top: Side = Field(default=None, description=f"{_SIDE} height, to add above the image; negative crops.")
    bottom: Side = Field(default=None, description=f"{_SIDE} height, to add below the image; negative crops.")
    left: Side = Field(default=None, description=f"{_SIDE} width, to add on the left; negative crops.")
    right: Side = Field(default=None, description=f"{_SIDE} width, to add on the right; negative crops.")
    aspect: Ratio = Field(
        default=None,
        description='Width to height, such as "9:16", reached by the smallest expansion; never crops.',
    )
    width: Pixels = Field(default=None, description="Width of the result in pixels; what does not fit is cropped.")
    height: Pixels = Field(default=None, description="Height of the result in pixels; what does not fit is cropped.")
    anchor: AnchorWord = Field(
        default=None,
        description="Where the image sits on the new canvas.",
        json_schema_extra={"default": Anchor.CENTER.label},
    )


def preset_of(keys: PresetKeys) -> Preset:
    """The preset that `keys` describe; they have passed `preset_mistake`."""
    anchor = keys.anchor or Anchor.CENTER
    if keys.aspect is not None:
        return Aspect(ratio=keys.aspect, anchor=anchor)
    if keys.width is not None or keys.height is not None:
        return Canvas(width=keys.width, height=keys.height, anchor=anchor)
    sides = {side: getattr(keys, side) or NOTHING for side in SIDES}
    return Sides(**sides)


def preset_config_error(path: KeyPath, given: set[str], keys: PresetKeys) -> ConfigError | None:
    """What is wrong between the keys of one preset. `given` are those that stand in the file, valid or not."""
    ways = [way for way in (SIDES, ("aspect",), CANVAS) if given & set(way)]
    if len(ways) != 1:
        named = [key for way in ways for key in way if key in given]
        found = f"{listed(named)} together" if named else "none of them"
        return ConfigError(path=path, expected=_ONE_WAY, found=found)
    if ways[0] is SIDES and "anchor" in given:
        hint = "Remove it: the sides already say where the image sits."
        return ConfigError(path=(*path, "anchor"), expected="no anchor beside sides", found="one", hint=hint)
    if ways[0] is SIDES and given == set(keys.model_fields_set) and _adds_nothing(preset_of(keys)):
        hint = "Give at least one side another number."
        return ConfigError(path=path, expected="something to add or to crop", found="0 on every side", hint=hint)
    return None


def _adds_nothing(preset: Preset) -> bool:
    return isinstance(preset, Sides) and not any(getattr(preset, side).value for side in SIDES)


def description(preset: Preset) -> str:
    """A few words that name a preset given in place, fit for a file name: `top 10, left 25%`, `aspect 9x16`."""
    if isinstance(preset, Sides):
        named = [(side, getattr(preset, side)) for side in SIDES]
        return ", ".join(f"{side} {_plain(amount)}" for side, amount in named if amount.value)
    if isinstance(preset, Aspect):
        ratio = preset.ratio.limit_denominator(1000)
        return f"aspect {ratio.numerator}x{ratio.denominator}{_anchored(preset.anchor)}"
    if preset.width and preset.height:
        return f"{preset.width}x{preset.height}{_anchored(preset.anchor)}"
    side = f"width {preset.width}" if preset.width else f"height {preset.height}"
    return side + _anchored(preset.anchor)


def _anchored(anchor: Anchor) -> str:
    return "" if anchor is Anchor.CENTER else f" {anchor.label}"


def _plain(amount: Amount) -> str:
    number = str(amount.value) if amount.value == int(amount.value) else _decimal(amount.value)
    return number + ("%" if amount.unit is Unit.PERCENT else "")


def _decimal(value: Fraction) -> str:
    return f"{float(value):g}"


MOST = 10_000_000
"""No count is larger: a number beyond it is a slip of the finger."""


def count_or_null(what: str) -> Any:
    """A check for a whole number from 0, or null; `what` says in the message what it counts and what null means."""

    def check(value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
            raise refused(f"{what} from 0 to {MOST}, or null for no limit")
        return value

    return check


_OR_NULL = {"type": ["integer", "null"], "minimum": 0, "maximum": MOST}

Images = Annotated[int | None, PlainValidator(count_or_null("a number of images")), WithJsonSchema(_OR_NULL)]
Credits = Annotated[int | None, PlainValidator(count_or_null("a number of credits")), WithJsonSchema(_OR_NULL)]
Files = Annotated[
    int,
    PlainValidator(whole(1, MOST, "a number of files")),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST}),
]


class BudgetKeys(BaseModel):
    """How many images may be paid for; each a number or null, which is no limit. Days and months are local time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: Images = Field(default=None, description="Images paid for in one calendar day, at most; null is no limit.")
    month: Images = Field(default=None, description="Images paid for in one calendar month, at most; null is no limit.")


class BurstKeys(BaseModel):
    """How many files may arrive within how long, before what is more is held until a person releases it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: Files = Field(description="Files that may arrive within that time.")
    within: Duration = Field(description="The time in which the files are counted.")


def budget_of(keys: BudgetKeys) -> Budget:
    return Budget(day=keys.day, month=keys.month)


def burst_of(keys: BurstKeys | None) -> Burst | None:
    return Burst(files=keys.files, within=keys.within) if keys else None


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
        description="How long the results of folders with duplicates: reuse stay in the spool; or forever.",
    )


BudgetOrNone = Annotated[BudgetKeys, BeforeValidator(_left_empty)]


class FolderDefaults(_Section):
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
        description="What happens to an image already expanded by the same offsets: expand it anew and pay anew, "
        "reuse the earlier result for nothing, or skip it.",
    )
    sidecar: Flag = Field(
        default=False,
        description="Whether each result gets a <result>.json beside it, with what was done and paid.",
    )
    budget: BudgetOrNone = Field(
        default_factory=BudgetKeys,
        description="How many images of this folder may be paid for; a folder's own stands in place of the default.",
    )
    burst: BurstKeys | None = Field(
        default=None,
        description="More files than this within this time are held until a person releases them; null is no limit.",
    )


class FolderKeys(FolderDefaults):
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
    budget: BudgetOrNone = Field(
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
    defaults: Annotated[FolderDefaults, BeforeValidator(_left_empty)] = Field(
        default_factory=FolderDefaults,
        description="Manners of all folders; each of these keys may stand in a folder too.",
    )
    folders: list[FolderKeys] = Field(default=[], description="The hot folders.", min_length=1)


_SECTIONS: dict[KeyPath, type[BaseModel]] = {
    (): ConfigKeys,
    ("api",): ApiKeys,
    ("keep",): KeepKeys,
    ("hooks",): HooksKeys,
    ("page",): PageKeys,
    ("defaults",): FolderDefaults,
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
