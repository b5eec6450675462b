"""Makes pydantic check the file by the dataclasses that declare its keys, and makes its JSON Schema."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, create_model

from expandd.adapters.config.config_errors import KeyPath
from expandd.adapters.config.presets import PresetKeys, one_way
from expandd.adapters.config.values import CHECKED, FOREVER, choice, whole, word
from expandd.domain.offsets import Amount, Preset
from expandd.domain.settings import FolderDefaults, Hook, ImagePrice, SharedSettings
from expandd.domain.written import Between, SecondsOrForever, Written

MaybePath = Annotated[Path | None, Written.NOT_NULL]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderKeys(FolderDefaults):
    """One hot folder: its directories, what is done to its images, and any key of defaults."""

    root: MaybePath = None
    """A directory with inbox, outbox, done and error in it, in place of these four keys."""
    inbox: MaybePath = None
    """The directory into which people drop images."""
    outbox: MaybePath = None
    """The directory for results."""
    done: MaybePath = None
    """The directory for originals after delivery; not needed with originals: delete."""
    error: MaybePath = None
    """The directory for images that cannot be expanded, each with its reason."""
    require_mount: Path | None = None
    """A path at which something must be mounted before this folder is touched: it waits until then."""
    label: Annotated[str, Written.LINE] = ""
    """A name of this folder for people, such as the share's; page, status and metrics show it instead of the path."""
    preset: Annotated[str | None, Written.PRESET_NAME] = None
    """The name of one of presets. Either this or offsets."""
    offsets: Annotated[Preset | None, Written.PRESET] = None
    """A preset given in place. Either this or preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigKeys(SharedSettings):
    """The configuration of expandd."""

    defaults: FolderDefaults = field(default_factory=FolderDefaults)
    """Defaults of all folders; each of these keys may also be set in a folder."""
    folders: Annotated[tuple[FolderKeys, ...], Field(min_length=1)] = ()
    """The hot folders."""


def checked(section: Hashable, data: Any, base: Path) -> Any:
    """A section from the values in the file; relative paths start at `base`. Raises ValidationError."""
    return _adapter(section).validate_python(data, context=base)


def schema() -> str:
    """The JSON Schema of the configuration file, for editors; ends with a newline."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "expandd configuration"}
    return json.dumps(head | _adapter(ConfigKeys).json_schema(), indent=2, ensure_ascii=False) + "\n"


def keys_of(section: Any) -> tuple[str, ...]:
    return tuple(key.name for key in fields(section))


def section_at(path: KeyPath) -> Any:
    """The section at `path`, or None when there is none with fixed keys."""
    found: Any = ConfigKeys
    for part in path:
        if _is_section(found):
            found = _hints(found).get(str(part))
        else:
            found = next(iter(get_args(found)[-1 if get_origin(found) is Mapping else 0 :]), None)
        found = _bare(found)
    return found if _is_section(found) else None


def _is_section(hint: Any) -> bool:
    return is_dataclass(hint) and hint not in (Amount, ImagePrice)


def _bare(hint: Any) -> Any:
    """The type without its annotations, and without null."""
    while get_origin(hint) is Annotated:
        hint = PresetKeys if Written.PRESET in hint.__metadata__ else get_args(hint)[0]
    return _without_null(hint)


def _without_null(hint: Any) -> Any:
    return next(kind for kind in get_args(hint) if kind is not NoneType) if NoneType in get_args(hint) else hint


@cache
def _adapter(section: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(_checked(section))


@cache
def _hints(section: Hashable) -> dict[str, Any]:
    return get_type_hints(section, include_extras=True)


def _checked(hint: Any) -> Any:
    """The type by which pydantic checks and makes the values of a field's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(*arguments)
    if NoneType in arguments:
        return _checked(_without_null(hint)) | None
    if origin is Mapping:
        of: Any = dict[_checked(arguments[0]), _checked(arguments[1])]  # type: ignore[misc]  # what it is of is known only now
        return Annotated[of, BeforeValidator(_left_empty), AfterValidator(MappingProxyType)]
    if origin is tuple:
        return Annotated[list[_checked(arguments[0])], AfterValidator(tuple)]  # type: ignore[misc]  # what it is of is known only now
    if _is_section(hint):
        return Annotated[_model(hint), AfterValidator(lambda keys: hint(**dict(keys)))]
    return choice(hint) if issubclass(hint, Enum) else CHECKED[hint]


def _annotated(kind: Any, annotation: Any) -> Any:
    match annotation:
        case Between():
            return whole(annotation)
        case Written.NOT_NULL:
            return _checked(_without_null(kind))
        case Written.PRESET:
            return Annotated[_checked(PresetKeys), AfterValidator(PresetKeys.preset)]
        case Written():
            return CHECKED[annotation]
    return Annotated[_checked(kind), annotation]


@cache
def _model(section: Any) -> Any:
    """The TypedDict of a section for pydantic: its keys and no others; those without a default are required."""
    keys: dict[str, Any] = {}
    for key in fields(section):
        hint = _hints(section)[key.name]
        checked_key = _checked(hint)
        if _is_section(_bare(hint)) and NoneType not in get_args(hint):
            checked_key = Annotated[checked_key, BeforeValidator(_left_empty)]
        keys[key.name] = (checked_key, _default(key))
    config = ConfigDict(extra="forbid", defer_build=True, json_schema_extra=partial(_describe, section))
    return create_model(section.__name__, __config__=config, __doc__=section.__doc__, **keys)


def _left_empty(value: Any) -> Any:
    # `defaults:` with all its keys commented out is null in YAML, and means the same as leaving it out.
    return {} if value is None else value


def _default(key: Any) -> Any:
    if key.default_factory is not MISSING:
        return Field(default_factory=key.default_factory)
    return Field() if key.default is MISSING else Field(default_factory=lambda: key.default)


_BETWEEN_KEYS: Mapping[type, dict[str, Any]] = {
    ConfigKeys: {"required": ["folders"]},
    FolderKeys: {
        "allOf": [
            {"anyOf": [{"required": ["root"]}, {"required": ["inbox", "outbox", "error"]}]},
            {"oneOf": [{"required": ["preset"]}, {"required": ["offsets"]}]},
        ],
    },
    PresetKeys: {"oneOf": one_way()},
    Hook: {"oneOf": [{"required": ["command"]}, {"required": ["url"]}]},
}
"""The schema's rules between the keys of one section."""


def _describe(section: Any, generated: dict[str, Any]) -> None:
    """Add the descriptions of its fields to a section's generated schema, and remove the generated titles."""
    generated.pop("title", None)
    for key in fields(section):
        shown = generated["properties"][key.name]
        shown.pop("title", None)
        shown["description"] = _descriptions(section)[key.name]
        default = FOREVER if _hints(section)[key.name] == SecondsOrForever and key.default is None else key.default
        if isinstance(default, Enum | Path):
            shown["default"] = word(default) if isinstance(default, Enum) else str(default)
        elif isinstance(default, str | int | float) and default != "":
            shown["default"] = default
    generated |= _BETWEEN_KEYS.get(section, {})


@cache
def _descriptions(section: Any) -> dict[str, str]:
    """The docstring below each field."""
    found: dict[str, str] = {}
    for kind in section.__mro__[-2::-1]:
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        for one, other in pairwise(getattr(tree, "body", ())):
            match one, other:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[key] = " ".join(text.split())
    return found
