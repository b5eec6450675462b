"""Turns pydantic's errors into sentences: the key, the expected and the found value."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from expandd.adapters.config.config_errors import REFUSED, ConfigError, KeyPath, did_you_mean
from expandd.adapters.config.model import ConfigKeys, FolderKeys, keys_of, section_at
from expandd.adapters.config.presets import PresetKeys
from expandd.adapters.config.yaml_marks import Document
from expandd.domain.naming import printable
from expandd.domain.settings import ApiSettings, FolderDefaults, Hook, Hooks, Keep, PageSettings

WHERE_CREDENTIALS_BELONG = (
    "Credentials never stand in this file: put them in the file that api.credentials_file names, "
    "as PIKTID_ACCESS_TOKEN=… or PIKTID_EMAIL=… and PIKTID_PASSWORD=… lines."
)

_WHERE_SECRETS_BELONG: dict[str | int, str] = {
    "hooks": "A secret never stands in this file: put it into a file of its own, and name that as secret_file.",
    "page": "A password never stands in this file: put it into a file of its own, and name that as password_file.",
    "cluster": "A password never stands in this file: put the address into one of its own, named as database_file.",
}

_SECRET = re.compile(r"token|passw|secret|e-?mail|api_?key|login|user|credential", re.IGNORECASE)

_HOMES = (
    ("the top level", ConfigKeys),
    ("api:", ApiSettings),
    ("defaults: or a folder", FolderDefaults),
    ("a folder", FolderKeys),
    ("a preset or offsets:", PresetKeys),
    ("keep:", Keep),
    ("hooks:", Hooks),
    ("a hook", Hook),
    ("page:", PageSettings),
)

_SHAPES = {
    "list_type": "a list, each item beginning with '- '",
    "too_short": "at least one hot folder",
    "dict_type": "a section with keys below it",
    "model_type": "a section with keys below it",
}


def config_errors_in(error: ValidationError, document: Document) -> list[ConfigError]:
    """One error in plain words for each of pydantic's errors."""
    return [_config_error(details, document) for details in error.errors(include_url=False, include_input=False)]


def looks_secret(key: str) -> bool:
    return bool(_SECRET.search(key))


def _config_error(details: Any, document: Document) -> ConfigError:
    path: KeyPath = tuple(part for part in details["loc"] if part != "[key]")
    kind = details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        expected, path = f"the key '{path[-1]}' in it", path[:-1]
        return ConfigError(path=path, expected=expected, found=document.shown(path))
    context = details.get("ctx", {}) if kind == REFUSED else {}
    expected = context.get("expected") or _SHAPES.get(kind, "another value")
    found = f"'{printable(path[-1])}'" if "[key]" in details["loc"] else document.shown(path)
    hint = context.get("hint") or _quote_hint(document.value(path), document.shown(path))
    return ConfigError(path=path, expected=expected, found=found, hint=hint)


def _quote_hint(value: Any, shown: str) -> str:
    if isinstance(value, bool) and "YAML reads" in shown:
        return "A word that is meant as text needs quotes."
    return ""


def _unknown_key(path: KeyPath) -> ConfigError:
    key = str(path[-1])
    found = f"'{printable(key)}'"
    if looks_secret(key):
        hint = _WHERE_SECRETS_BELONG.get(path[0], WHERE_CREDENTIALS_BELONG)
        return ConfigError(path=path, expected="no credentials", found=found, hint=hint)
    section = section_at(path[:-1])
    known = keys_of(section) if section else ()
    hint = _home(key) or did_you_mean(key, known) or f"Keys here are {', '.join(known)}."
    return ConfigError(path=path, expected="a key that belongs here", found=found, hint=hint)


def _home(key: str) -> str:
    return next((f"It belongs under {home}." for home, section in _HOMES if key in keys_of(section)), "")
