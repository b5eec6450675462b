"""Reads JSON that somebody else may have written: of bounded length and depth, without NaN or Infinity.

Also dataclasses as JSON, written and read by the fields that they declare: a new field needs nothing here. What is read
is checked strictly. A field that is missing has its default, one that is unknown is left out.
"""

from __future__ import annotations

import base64
import functools
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import IO, Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from expandd.domain.job import Job

T = TypeVar("T")

MOST = 1 << 16
"""Bytes of a file of ours that lies among people's files; it has a few thousand."""


def read_json(file: IO[bytes], most: int = MOST) -> Any:
    """The JSON value of a file. Raises ValueError for text that is not JSON or longer than `most`, and OSError."""
    text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(f"it has more than {most} bytes")
    return parsed_json(text)


def write_json(path: Path, value: object) -> None:
    """Write a value to a file, whole, readable by this user alone. Raises OSError.

    It is not synced: after a power cut it may be what it was before.
    """
    text = json.dumps(value).encode()
    spare = path.with_name(f".{path.name}")
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    spare.replace(path)


def parsed_json(text: bytes | str) -> Any:
    """The JSON value of a text. Raises ValueError, and nothing else, for text that is not JSON."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is no number")


_NAMES_IN_JSON: dict[type, dict[str, str]] = {
    Job: {"folder": "place", "archived_to": "resting", "state_changes": "stamps"}
}
"""Fields with another name in JSON: older rows and records have it, and a host of the version before reads no other."""

BITS = 64
"""Of the largest number that is written: files and disks are numbered by that many."""


def written(value: object) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them. Raises ValueError for what could not be read back."""
    told: dict[str, Any] = _codec(cast("Any", type(value))).write(value)
    return told


def read_as(kind: type[T], told: object) -> T:
    """The value of a dataclass with these fields. Raises ValueError where they are none of it."""
    value: T = _codec(cast("Any", kind)).read(told)
    return value


@dataclass(frozen=True, slots=True)
class _Codec:
    """Writes values of one type, and reads them. Both raise ValueError."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


@functools.cache
def _codec(kind: Any) -> _Codec:
    """The codec of a type. Raises TypeError for one that none is known of: it must be added here."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value, check = _codec(arguments[0]), arguments[1]
        # Other annotations say how a value stands in the configuration.
        return _ranged(value, check) if callable(check) else value
    if origin in {Union, UnionType} and arguments[1:] == (NoneType,):
        return _optional(_codec(arguments[0]))
    if origin is tuple and arguments[1:] == (...,):
        return _sequence(_codec(arguments[0]))
    if is_dataclass(kind):
        return _record(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _Codec(lambda member: member.value, kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    raise TypeError(f"it is not known how {kind} is written as JSON")


def _record(kind: Any) -> _Codec:
    hints = get_type_hints(kind, include_extras=True)
    codecs = {field.name: _codec(hints[field.name]) for field in fields(kind)}
    in_json = {name: _NAMES_IN_JSON.get(kind, {}).get(name, name) for name in codecs}
    needed = {in_json[field.name] for field in fields(kind) if not _has_default(field)}

    def write(value: object) -> dict[str, Any]:
        if not isinstance(value, kind):
            raise _wrong(value, kind.__name__)
        return _each((in_json[name], codec.write, getattr(value, name)) for name, codec in codecs.items())

    def read(told: object) -> Any:
        if not isinstance(told, dict):
            raise _wrong(told, kind.__name__)
        if missing := needed - told.keys():
            raise ValueError(f"{', '.join(sorted(missing))} is missing")
        found = [name for name in codecs if in_json[name] in told]
        values = _each((in_json[name], codecs[name].read, told[in_json[name]]) for name in found)
        return kind(**{name: values[in_json[name]] for name in found})

    return _Codec(write, read)


def _each(told: Iterable[tuple[str, Callable[[Any], Any], Any]]) -> dict[str, Any]:
    """What becomes of each field; one that is wrong is named."""
    done, name = {}, ""
    try:
        for name, do, value in told:
            done[name] = do(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return done


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _ranged(inner: _Codec, ranged: Callable[[Any], Any]) -> _Codec:
    """What is read passes the function that the type is annotated with."""
    return _Codec(inner.write, lambda told: ranged(inner.read(told)))


def _optional(inner: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else inner.write(value),
        lambda told: None if told is None else inner.read(told),
    )


def _sequence(inner: _Codec) -> _Codec:
    def read(told: object) -> tuple[Any, ...]:
        if not isinstance(told, list):
            raise _wrong(told, "a list")
        return tuple(map(inner.read, told))

    return _Codec(lambda values: list(map(inner.write, values)), read)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > BITS:
        raise _wrong(value, f"a whole number of at most {BITS} bits")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(value, "a number")
    return float(value)


def _words(value: object) -> str:
    """Text that any database takes: half characters, of a broken name or answer, and zeros are escaped."""
    if not isinstance(value, str):
        raise _wrong(value, "text")
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _path_words(path: Path) -> str:
    # By its bytes: how a name that is no text looks depends on the language that the process was started in.
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def _path(value: object) -> Path:
    if not isinstance(value, str) or "\0" in value:
        raise _wrong(value, "a path")
    return Path(os.fsdecode(value.encode("utf-8", "surrogateescape")))


def _decimal(value: object) -> Decimal:
    try:
        return Decimal(_words(value))
    except InvalidOperation:
        raise _wrong(value, "a number") from None


def _bytes(value: object) -> bytes:
    return base64.b64decode(_words(value), validate=True)


_PLAIN = {
    bool: _Codec(_truth, _truth),
    int: _Codec(_whole, _whole),
    float: _Codec(_number, _number),
    str: _Codec(_words, _words),
    Path: _Codec(_path_words, _path),
    Decimal: _Codec(str, _decimal),
    bytes: _Codec(lambda value: base64.b64encode(value).decode("ascii"), _bytes),
}


def _wrong(value: object, wanted: str) -> ValueError:
    return ValueError(f"{str(value)[:40]!r} is not {wanted}")
