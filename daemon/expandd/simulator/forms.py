"""Strict reading of bodies, as the vendor's framework does it: JSON without unknown fields or nulls, and one file."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from expandd.simulator.answers import invalid
from expandd.simulator.counts import NOT_TEXT, NULL_FIELD, UNKNOWN_FIELD
from expandd.simulator.store import Upload

_WRONG_TYPE = {str: NOT_TEXT, int: "Not a valid integer."}


class Field(NamedTuple):
    """What a field holds; `object` is anything. A boolean is no integer, and a number in quotes is none either."""

    kind: type
    required: bool = True


Schema = Mapping[str, Field]


async def read_form(request: Request, schema: Schema) -> dict[str, Any]:
    """The body's fields; RefusalError 400 naming every error at once."""
    values = _read_object(await request.body(), request.headers.get("content-type", ""))
    errors = {name: _error(schema.get(name), name, values) for name in {**schema, **values}}
    if any(errors.values()):
        raise invalid({name: [error] for name, error in errors.items() if error})
    return values


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


def _error(field: Field | None, name: str, values: Mapping[str, Any]) -> str | None:
    if field is None:
        return UNKNOWN_FIELD
    if name not in values:
        return "Missing data for required field." if field.required else None
    if field.kind in {object, type(values[name])}:
        return None
    return NULL_FIELD if values[name] is None else _WRONG_TYPE[field.kind]


async def read_file(request: Request) -> Upload:
    """The only part, which must be a file; RefusalError 400 for none, a second or one without a file name."""
    if not hasattr(request.state, "upload"):
        request.state.upload = await _read_file(request)
    upload: Upload = request.state.upload
    return upload


async def _read_file(request: Request) -> Upload:
    try:
        async with request.form() as form:
            parts = form.multi_items()
            name, file = parts[0] if len(parts) == 1 else ("", "")
            if not isinstance(file, UploadFile):
                raise invalid({"file": ["One file is required, and nothing else."]}, "files")
            return Upload(name, file.filename or "", await file.read())
    except MultiPartException as error:
        raise invalid({"file": [error.message]}, "files") from error
