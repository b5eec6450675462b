"""Checks single values of the configuration, and describes their notation to editors."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from expandd.adapters.config import addresses
from expandd.adapters.config.config_errors import did_you_mean, listed, refused
from expandd.domain.naming import FIELDS, printable, template_config_error
from expandd.domain.offsets import Amount, Unit
from expandd.domain.selection import NOTHING_MORE, Ignore
from expandd.domain.settings import ImagePrice
from expandd.domain.written import Between, Written

LONGEST = 365 * 86400.0
MOST_PIXELS = 100_000
MOST_PERCENT = 10_000
WIDEST = 100
LONGEST_LINE = 80
FOREVER = "forever"

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d|)")
_PRICE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([^\W\d_]{1,10}|[$€£¥])?")
_PERCENT = re.compile(r"([-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?) ?%")
_RATIO = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?: ?([0-9]{1,9}(?:\.[0-9]{1,9})?)")

_A_DURATION = "a time such as 500ms, 2s, 10m, 1.5h or 1d"
_AN_AMOUNT = "a whole number of pixels, or a percentage such as 25%"
_A_RATIO = 'a ratio such as "9:16" or "1.91:1", or a number such as 1.5'
_PATTERNS = 'a list of patterns as in .gitignore, such as ["*.xmp", "_draft/"]'
_A_COMMAND = "a list of the program's absolute path and its arguments, such as [/usr/local/bin/tell, done]"


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
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return Amount(_bounded(Fraction(match[1]), MOST_PERCENT, "percent"), Unit.PERCENT)
    quoted = isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+ ?(px)?", value)
    raise refused(_AN_AMOUNT, "Write the number alone, without quotes and without px." if quoted else "")


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


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise refused("true or false", "Leave out the quotes." if str(value).lower() in {"true", "false"} else "")
    return value


def path(value: Any, info: ValidationInfo[Path]) -> Path:
    """A path, below the directory of the configuration unless it is absolute."""
    expected = "the path of a directory or file, such as /srv/expand/in"
    if not isinstance(value, str):
        raise refused(expected, "" if value is None else "Put quotes around it.")
    if not value.strip() or "\0" in value:
        raise refused(expected)
    if value.startswith("~"):
        # The author of the file is seldom the daemon's user: `~` would silently be another directory.
        raise refused("a path without '~'", "Write it in full: a service has another home directory than you.")
    absolute = info.context / value
    # `..` is resolved through symlinks, as the kernel does.
    return Path(os.path.realpath(absolute)) if ".." in absolute.parts else absolute


def name_template(value: Any) -> str:
    example = 'a name such as "{stem}_expanded{ext}"'
    if not isinstance(value, str):
        raise refused(example)
    config_error = template_config_error(value)
    if not config_error and not value.isprintable():
        config_error = "it contains a control character"
    if config_error:
        unknown = next((word for word in re.findall(r"\{(\w+)\}", value) if word not in FIELDS), None)
        raise refused(f"{example} ({config_error})", did_you_mean(unknown, FIELDS) if unknown else "")
    return value


def line(value: Any) -> str:
    """A short text that is shown to people."""
    if not isinstance(value, str):
        raise refused("a few words on one line", "" if value is None else "Put quotes around it.")
    if not value.isprintable() or len(value) > LONGEST_LINE:
        raise refused(f"a few words on one line, at most {LONGEST_LINE} characters")
    return value.strip()


def host_name(value: Any) -> str | None:
    """The name of a host, which is part of names in the job database and of metrics."""
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,63}", value):
        raise refused("a name of at most 63 letters, digits, dots, hyphens and underscores, or null for the host name")
    return value


def preset_name(value: Any) -> str:
    """A preset's name; it may become part of a file name."""
    if not isinstance(value, str):
        hint = "Sides given in place belong under offsets:." if isinstance(value, dict) else "Put quotes around it."
        raise refused("the name of a preset", "" if value is None else hint)
    if not value.strip() or "/" in value or value.startswith(".") or not value.isprintable():
        raise refused("a preset's name without '/' and not beginning with a dot: it may become part of a file name")
    return value


def price(value: Any) -> ImagePrice | None:
    """The price of one image: a number, followed by a currency."""
    if value is None:
        return None
    written = str(value) if _is_number(value) or isinstance(value, str) else ""
    if not (match := _PRICE.fullmatch(written)) or not Decimal(match[1]):
        raise refused("a price such as 0.20 EUR, or a number, or null")
    return ImagePrice(Decimal(match[1]), match[2] or "")


def scalar(value: Any) -> Any:
    """A JSON value that is neither a list nor a section."""
    if value is None or isinstance(value, str | bool) or _is_number(value):
        return value
    raise refused("one word, number, true or false", "Lists and sections cannot be sent here.")


def command(value: Any) -> tuple[str, ...]:
    """An argv: no shell ever reads it."""
    if isinstance(value, str):
        raise refused(_A_COMMAND, "No shell reads it: write each word as an item of its own.")
    if not isinstance(value, list) or not value:
        raise refused(_A_COMMAND)
    if not all(isinstance(word, str) for word in value):
        raise refused(_A_COMMAND, "Put quotes around each item that is not a word.")
    if not value[0].startswith("/") or any("\0" in word for word in value):
        raise refused(_A_COMMAND, "Write the program's path in full, beginning with '/'.")
    return tuple(value)


def ignore(value: Any) -> Ignore:
    """Patterns in the syntax of .gitignore; the last one that matches a path decides."""
    if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
        raise refused(_PATTERNS, "Put quotes around each: `*` and `!` mean something else to YAML.")
    if not value:
        return NOTHING_MORE
    # Importing it always would slow every start, and few configurations have a pattern.
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only a folder with patterns needs it

    for pattern in value:
        try:
            [compiled] = GitIgnoreSpec.from_lines([pattern.lower()]).patterns
        except ValueError:
            compiled = None
        if compiled is None or compiled.include is None:
            raise refused(_PATTERNS, f"'{printable(pattern)}' names nothing.")
    spec = GitIgnoreSpec.from_lines(pattern.lower() for pattern in value)

    def find(path: str) -> str | None:
        # Case is ignored: *.nef also means a camera's .NEF.
        found = spec.check_file(path.lower())
        return value[found.index] if found.include and found.index is not None else None

    return Ignore(tuple(value), find)


def checked_by(check: Callable[..., Any], schema: dict[str, Any]) -> Any:
    """A type for pydantic whose values `check` validates and makes, and `schema` describes to editors."""
    return Annotated[Any, PlainValidator(check), WithJsonSchema(schema)]


def whole(bounds: Between) -> Any:
    """The type of a whole number within `bounds`."""
    expected = f"{bounds.what} from {bounds.lowest} to {bounds.highest}"

    def check(value: Any) -> int | None:
        if value is None and bounds.or_null:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not bounds.lowest <= value <= bounds.highest:
            raise refused(expected + (", or null for no limit" if bounds.or_null else ""))
        return value

    kind = ["integer", "null"] if bounds.or_null else "integer"
    return checked_by(check, {"type": kind, "minimum": bounds.lowest, "maximum": bounds.highest})


def word(member: Enum) -> str:
    """A choice as it is written in the file."""
    return str(getattr(member, "label", member.value))


def choice(choices: type[Enum]) -> Any:
    """The type of an enumeration's words."""
    words = {word(member): member for member in choices}

    def check(value: Any) -> Enum:
        if not isinstance(value, str) or value not in words:
            raise refused(listed(words, "or"), did_you_mean(str(value), words))
        return words[value]

    return checked_by(check, {"enum": list(words)})


def _number_or(pattern: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "pattern": pattern}, {"type": "number", "exclusiveMinimum": 0}]}


_DURATION_SCHEMA = _number_or(r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)?$")
_RATIO_SCHEMA = _number_or(r"^[0-9]+(\.[0-9]+)? ?: ?[0-9]+(\.[0-9]+)?$")
_AMOUNT_SCHEMA = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)? ?%$"}]}
_TEXT = {"type": "string", "minLength": 1}
_WORDS = {"type": "array", "items": {"type": "string"}}

CHECKED: Mapping[object, Any] = {
    bool: checked_by(boolean, {"type": "boolean"}),
    str: str,
    Path: checked_by(path, _TEXT),
    Amount: checked_by(amount, _AMOUNT_SCHEMA),
    Fraction: checked_by(ratio, _RATIO_SCHEMA),
    Written.DURATION: checked_by(duration, _DURATION_SCHEMA),
    Written.DURATION_OR_FOREVER: checked_by(duration_or_forever, {"anyOf": [{"const": FOREVER}, _DURATION_SCHEMA]}),
    Written.NAME_TEMPLATE: checked_by(name_template, {"type": "string", "pattern": r"\{stem\}"}),
    Written.IGNORE: checked_by(ignore, _WORDS),
    Written.LINE: checked_by(line, {"type": "string", "maxLength": LONGEST_LINE}),
    Written.PRESET_NAME: checked_by(preset_name, _TEXT),
    Written.SCALAR: checked_by(scalar, {"type": ["string", "number", "boolean", "null"]}),
    Written.COMMAND: checked_by(command, {**_WORDS, "minItems": 1}),
    Written.BASE_URL: checked_by(addresses.base_url, {"type": "string", "pattern": "^https?://"}),
    Written.URL_PATH: checked_by(addresses.url_path, {"type": "string", "pattern": "^/."}),
    Written.HOOK_URL: checked_by(addresses.hook_url, {"type": "string", "pattern": "^https?://"}),
    Written.LISTEN: checked_by(addresses.listen, {"type": "string", "pattern": "^unix:/.|:[0-9]+$"}),
    Written.PRICE: checked_by(price, {"type": ["string", "number", "null"]}),
    Written.HOST_NAME: checked_by(host_name, {"type": ["string", "null"], "pattern": "^[A-Za-z0-9._-]{1,63}$"}),
    Written.HOSTS: checked_by(addresses.hosts, _WORDS),
}
"""The check of each type or notation."""
