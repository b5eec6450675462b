"""The types of single values of the configuration: durations, amounts, ratios, words, paths, addresses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import Enum
from fractions import Fraction
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from expandd.adapters.config.config_errors import did_you_mean, listed
from expandd.domain.naming import FIELDS, template_config_error
from expandd.domain.offsets import Amount, Anchor, Unit
from expandd.domain.settings import Duplicates, Originals, Watch

REFUSED = "refused"
"""The type of every error raised here; its context holds `expected` and `hint`."""

LONGEST = 365 * 86400.0
MOST_PIXELS = 100_000
MOST_PERCENT = 10_000
MOST_WORKERS = 256
WIDEST = 100

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d|)")
_PERCENT = re.compile(r"([-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?) ?%")
_RATIO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?: ?([0-9]{1,9}(?:\.[0-9]{1,9})?)")

_A_DURATION = "a time such as 500ms, 2s, 10m, 1.5h or 1d"
FOREVER = "forever"
_AN_AMOUNT = "a whole number of pixels, or a percentage such as 25%"
_A_RATIO = 'a ratio such as "9:16" or "1.91:1", or a number such as 1.5'


def refused(expected: str, hint: str = "") -> PydanticCustomError:
    """The error for a value that is not what the sentence fragment `expected` says."""
    return PydanticCustomError(REFUSED, "{expected}", {"expected": expected, "hint": hint})


def duration(value: Any) -> float:
    """Seconds, from `1.5h` or a plain number; more than nothing, at most a year."""
    match = _DURATION.fullmatch(str(value)) if _is_number(value) or isinstance(value, str) else None
    if not match:
        raise refused(_A_DURATION)
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= LONGEST:
        raise refused(_A_DURATION + ", more than 0 and at most 365d")
    return seconds


def duration_or_forever(value: Any) -> float | None:
    """Seconds, or None for `forever`."""
    if value == FOREVER:
        return None
    try:
        return duration(value)
    except PydanticCustomError as error:
        raise refused(f"{_A_DURATION}, at most 365d, or {FOREVER}") from error


def amount(value: Any) -> Amount:
    """One side of a preset: whole pixels, or percent of the image's side; negative crops."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Amount(_bounded(Fraction(value), MOST_PIXELS, "pixels"))
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise refused(_AN_AMOUNT, _amount_hint(value))
    return Amount(_bounded(Fraction(match[1]), MOST_PERCENT, "percent"), Unit.PERCENT)


def _amount_hint(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+ ?(px)?", value):
        return "Write the number alone, without quotes and without px."
    return ""


def _bounded(value: Fraction, most: int, unit: str) -> Fraction:
    if abs(value) > most:
        raise refused(f"at most {most} {unit}")
    return value


def ratio(value: Any) -> Fraction:
    """Width over height, from `9:16` or a number."""
    match = _RATIO.fullmatch(value) if isinstance(value, str) else None
    if match:
        width, height = Fraction(match[1]), Fraction(match[2])
    elif _is_number(value):
        width, height = Fraction(str(value)), Fraction(1)
    else:
        raise refused(_A_RATIO)
    if not width or not height or not Fraction(1, WIDEST) <= width / height <= WIDEST:
        raise refused(f"{_A_RATIO}, from 1:{WIDEST} to {WIDEST}:1")
    return width / height


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    # An integer may be larger than any float; math cannot even be asked about it.
    return isinstance(value, int) and not isinstance(value, bool)


def whole(lowest: int, highest: int, what: str) -> Callable[[Any], int]:
    """A check for whole numbers; `what` names them in the message."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise refused(f"{what} from {lowest} to {highest}")
        return value

    return check


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refused("true or false", "Leave out the quotes." if str(value).lower() in {"true", "false"} else "")
    return value


ChoiceT = TypeVar("ChoiceT", bound=Enum)


def choice(words: dict[str, ChoiceT]) -> Callable[[Any], ChoiceT]:
    """A check for one of a few words."""

    def check(value: Any) -> ChoiceT:
        if not isinstance(value, str) or value not in words:
            raise refused(listed(words, "or"), did_you_mean(str(value), words))
        return words[value]

    return check


def path_text(value: Any) -> str:
    """A path, not yet absolute."""
    expected = "the path of a directory or file, such as /srv/expand/in"
    if not isinstance(value, str):
        raise refused(expected, "" if value is None else "Put quotes around it.")
    if not value.strip() or "\0" in value:
        raise refused(expected)
    if value.startswith("~"):
        # The daemon's user is seldom the one who writes the file: `~` would silently be another directory.
        raise refused("a path without '~'", "Write it in full: a service has another home directory than you.")
    return value


def name_template(value: Any) -> str:
    example = 'a name such as "{stem}_expanded{ext}"'
    if not isinstance(value, str):
        raise refused(example)
    config_error = template_config_error(value)
    if not config_error and not value.isprintable():
        config_error = "it contains a control character"
    if config_error:
        raise refused(f"{example} ({config_error})", did_you_mean_field(value))
    return value


def did_you_mean_field(template: str) -> str:
    """The nearest field for the first unknown one in `template`."""
    words = re.findall(r"\{(\w+)\}", template)
    return next((did_you_mean(word, FIELDS) for word in words if word not in FIELDS), "")


def preset_name(value: Any) -> str:
    """A preset's name; it may become part of a file name."""
    if not isinstance(value, str):
        hint = "Sides given in place belong under offsets:." if isinstance(value, dict) else "Put quotes around it."
        raise refused("the name of a preset", "" if value is None else hint)
    if not value.strip() or "/" in value or value.startswith(".") or not value.isprintable():
        raise refused("a preset's name without '/' and not beginning with a dot: it may become part of a file name")
    return value


def base_url(value: Any) -> str:
    """An http(s) address without credentials, query or trailing slash."""
    expected = "an address such as https://api.piktid.com/api"
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        plain = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        raise refused(expected) from None
    if not plain or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", value):
        raise refused(expected, "It begins with https:// (or http:// for the simulator).")
    if "@" in parts.netloc:
        raise refused(expected + ", without a name or password in it")
    return str(value).rstrip("/")


def url_path(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]+", value) or "?" in value or "#" in value:
        raise refused("a path such as /edit/generate", "It begins with '/' and is added to base_url.")
    return value


def scalar(value: Any) -> Any:
    """A value JSON can carry that is neither a list nor a section."""
    if value is None or isinstance(value, str | bool) or _is_number(value):
        return value
    raise refused("one word, number, true or false", "Lists and sections cannot be sent here.")


_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)?$"},
        {"type": "number", "exclusiveMinimum": 0},
    ],
}
_AMOUNT_SCHEMA = {
    "anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)? ?%$"}],
}
_RATIO_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?: ?[0-9]+(\.[0-9]+)?$"},
        {"type": "number", "exclusiveMinimum": 0},
    ],
}
_TEXT = {"type": "string", "minLength": 1}


def words(choices: type[Duplicates | Originals | Watch]) -> dict[str, Any]:
    return {member.value: member for member in choices}


ANCHORS = {anchor.label: anchor for anchor in Anchor}

# "| None" is for a key that was left out; null itself is refused by every validator.
Duration = Annotated[float, PlainValidator(duration), WithJsonSchema(_DURATION_SCHEMA)]
DurationOrForever = Annotated[
    float | None,
    PlainValidator(duration_or_forever),
    WithJsonSchema({"anyOf": [{"const": FOREVER}, _DURATION_SCHEMA]}),
]
Side = Annotated[Amount | None, PlainValidator(amount), WithJsonSchema(_AMOUNT_SCHEMA)]
Ratio = Annotated[Fraction | None, PlainValidator(ratio), WithJsonSchema(_RATIO_SCHEMA)]
Pixels = Annotated[
    int | None,
    PlainValidator(whole(1, MOST_PIXELS, "a whole number of pixels")),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_PIXELS}),
]
Workers = Annotated[
    int,
    PlainValidator(whole(1, MOST_WORKERS, "a whole number")),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}),
]
Flag = Annotated[bool, PlainValidator(boolean), WithJsonSchema({"type": "boolean"})]
AnchorWord = Annotated[Anchor | None, PlainValidator(choice(ANCHORS)), WithJsonSchema({"enum": list(ANCHORS)})]
OriginalsWord = Annotated[
    Originals,
    PlainValidator(choice(words(Originals))),
    WithJsonSchema({"enum": list(words(Originals))}),
]
DuplicatesWord = Annotated[
    Duplicates,
    PlainValidator(choice(words(Duplicates))),
    WithJsonSchema({"enum": list(words(Duplicates))}),
]
WatchWord = Annotated[Watch, PlainValidator(choice(words(Watch))), WithJsonSchema({"enum": list(words(Watch))})]
PathText = Annotated[str, PlainValidator(path_text), WithJsonSchema(_TEXT)]
PathOrNull = Annotated[PathText | None, WithJsonSchema({"type": ["string", "null"], "minLength": 1})]
MaybePath = Annotated[str | None, PlainValidator(path_text), WithJsonSchema(_TEXT)]
NameTemplate = Annotated[str, PlainValidator(name_template), WithJsonSchema({"type": "string", "pattern": r"\{stem\}"})]
PresetName = Annotated[str, PlainValidator(preset_name), WithJsonSchema(_TEXT)]
MaybePreset = Annotated[str | None, PlainValidator(preset_name), WithJsonSchema(_TEXT)]
BaseUrl = Annotated[str, PlainValidator(base_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
UrlPath = Annotated[str, PlainValidator(url_path), WithJsonSchema({"type": "string", "pattern": "^/."})]
ScalarValue = Annotated[
    Any,
    PlainValidator(scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
