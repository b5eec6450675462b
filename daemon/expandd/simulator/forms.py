"""Strict reading of JSON bodies, as the vendor's framework does it: no unknown fields, no nulls."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from expandd.simulator.answers import invalid
from expandd.simulator.counts import NOT_TEXT, NULL_FIELD, UNKNOWN_FIELD

_MISSING = "Missing data for required field."
_NOT_INTEGER = "Not a valid integer."


class Kind(Enum):
    """What a field holds. A boolean is no integer, and a number in quotes is none either."""

    TEXT = "text"
    OPTIONAL_TEXT = "optional text"
    INTEGER = "integer"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a body, by kind. `extras` are the undocumented ones that a switch allows."""

    texts: Mapping[str, str] = field(default_factory=dict)
    integers: Mapping[str, int] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


def read_form(body: bytes, content_type: str, schema: Mapping[str, Kind], extras: Collection[str] = ()) -> Form:
    """The body's fields; RefusalError 400 naming every mistake at once."""
    values = _read_object(body, content_type)
    errors = {
        name: [error] for name in {**schema, **values} if (error := _mistake(name, values, schema, extras)) is not None
    }
    if errors:
        raise invalid(errors)
    return Form(
        texts={name: values[name] for name in values if schema.get(name) in {Kind.TEXT, Kind.OPTIONAL_TEXT}},
        integers={name: values[name] for name in values if schema.get(name) is Kind.INTEGER},
        extras={name: values[name] for name in values if name not in schema},
    )


def _read_object(body: bytes, content_type: str) -> dict[str, Any]:
    # The framework looks at a body only when its type says JSON; otherwise every field is missing.
    if not body or content_type.partition(";")[0].strip().lower() != "application/json":
        return {}
    try:
        values = json.loads(body)
    except ValueError as error:
        raise invalid({"json": ["Invalid JSON body."]}) from error
    if not isinstance(values, dict):
        raise invalid({"_schema": ["Invalid input type."]})
    return values


def _mistake(name: str, values: Mapping[str, Any], schema: Mapping[str, Kind], extras: Collection[str]) -> str | None:
    kind = schema.get(name)
    if name not in values:
        return None if kind is Kind.OPTIONAL_TEXT else _MISSING
    if kind is None:
        return None if name in extras else UNKNOWN_FIELD
    if values[name] is None:
        return NULL_FIELD
    if kind is Kind.INTEGER:
        return None if type(values[name]) is int else _NOT_INTEGER
    return None if isinstance(values[name], str) else NOT_TEXT
