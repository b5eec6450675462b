"""Loads the configuration from a YAML file, or reports all its errors at once."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from expandd.adapters.config import yaml_marks
from expandd.adapters.config.config_errors import ConfigError, KeyPath, dotted
from expandd.adapters.config.folder_rules import ConfiguredDirectory, Role, folder_config_errors
from expandd.adapters.config.messages import config_errors_in
from expandd.adapters.config.model import ConfigKeys, FolderKeys, checked, keys_of
from expandd.adapters.config.presets import description
from expandd.adapters.config.rules import DIRECTORIES, reporting_config_errors, rule_config_errors
from expandd.adapters.config.yaml_marks import MOST_BYTES, Document
from expandd.adapters.files.mount_guard import is_mount_point
from expandd.adapters.json_text import read_json, write_json
from expandd.adapters.responsiveness import silent
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.naming import printable
from expandd.domain.offsets import Preset
from expandd.domain.settings import FolderDefaults, HotFolder, Originals, Settings, SharedSettings


def load(path: Path) -> Settings:
    """Load the configuration in `path` and check it together with its directories. Changes nothing on disk.

    Relative paths start at the file's own directory. Raises ConfigurationError with all errors.
    """
    return _loaded(path, _read(path), path.absolute().parent, surroundings=True)


def load_for_service(path: Path) -> Settings:
    """Load the configuration of a service that runs as another user, without checking that user's permissions.

    Only a process of that user can check them, because file servers such as NFS may grant root nothing.
    """
    return _loaded(path, _read(path), path.absolute().parent, surroundings=True, access=False)


def settings_of(path: Path) -> Settings:
    """Load `path` without checking its directories. Raises ConfigurationError."""
    return _loaded(path, _read(path), path.absolute().parent)


def presets_of(path: Path) -> Mapping[str, Preset]:
    """The presets in `path`, even with errors elsewhere in it. Raises ConfigurationError for an error in a preset."""
    document = _read(path)
    config, config_errors = _validated(document, path.absolute().parent)
    about = [error for error in config_errors if error.path[:1] in {(), ("presets",)}]
    if about:
        raise ConfigurationError(_problems(path, document, about))
    return config.presets


def settings_in(text: bytes, base: Path) -> Settings:
    """The settings in a text whose relative paths start at `base`. Raises ConfigurationError."""
    return _loaded(base, yaml_marks.read(text), base)


def state_dir_of(path: Path) -> Path | None:
    """The state directory in the configuration `path`, even with errors elsewhere; None when it is itself wrong.

    Where the text does not name it any more, it is the one where a daemon has recorded that it loaded this very file.
    Raises ConfigurationError when the file cannot be read, and no daemon has loaded it.
    """
    try:
        document = _read(path)
    except ConfigurationError:
        if (known := _state_dir_known(path, "")) is None:
            raise
        return known
    config, config_errors = _validated(document, path.absolute().parent)
    wrong = any(config_error.path in {(), ("state_dir",)} for config_error in config_errors)
    # With a misspelt key the default would apply, which may be another instance's.
    if wrong or (config_errors and not document.given(("state_dir",))):
        return _state_dir_known(path, path.read_bytes().decode("utf-8", "replace"))
    state_dir: Path = config.state_dir
    return state_dir


_LIKE_STATE_DIR = re.compile(r"""^\s*['"]?state\w*['"]?\s*:\s*['"]?([^'"#\n]+)""", re.MULTILINE)


def _state_dir_known(path: Path, text: str) -> Path | None:
    """The state directory of a daemon that has loaded `path`: the default or one that the text seems to name."""
    named = [path.absolute().parent / str(found).strip() for found in _LIKE_STATE_DIR.findall(text[:MOST_BYTES])]
    for directory in (*named, Settings().state_dir):
        kept = _kept(directory)
        if kept is not None and kept.get("config") == str(path.absolute()):
            return directory
    return None


def _loaded(path: Path, document: Document, base: Path, *, surroundings: bool = False, access: bool = True) -> Settings:
    config, config_errors = _validated(document, base)
    if isinstance(document.data, dict):
        bad = {config_error.path for config_error in config_errors if not config_error.stands}
        config_errors += rule_config_errors(config, document, bad)
        if surroundings:
            config_errors += _folder_config_errors(path, config, document, bad, access=access)
            config_errors += reporting_config_errors(config, document, bad)
    if config_errors:
        raise ConfigurationError(_problems(path, document, config_errors))
    return _settings(config)


def _folder_config_errors(
    path: Path, config: ConfigKeys, document: Document, bad: set[KeyPath], *, access: bool
) -> list[ConfigError]:
    """The errors of the directories. Raises ConfigurationError where they cannot be checked just now."""
    try:
        return list(folder_config_errors(list(_entries(config, bad)), document.line, access=access))
    except OSError as error:
        expected, hint = "that its directories can be checked", "Try again, and raise the limit of open files."
        raise ConfigurationError((_cannot(path, error, expected, hint),)) from error


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            # One byte more than allowed shows that it is too long; the rest may have no end.
            return yaml_marks.read(file.read(yaml_marks.MOST_BYTES + 1))
    except OSError as error:
        expected = "a configuration file that can be read"
        hint = "Start from config.example.yaml, and name the file with --config."
        raise ConfigurationError((_cannot(path, error, expected, hint),)) from error


def _cannot(path: Path, error: OSError, expected: str, hint: str) -> Problem:
    found = os.strerror(error.errno or 0).lower()
    return Problem(where=printable(path), path=dotted(()), expected=expected, found=found, hint=hint)


NESTED = 4
"""Sections within sections, at most."""


def _validated(document: Document, base: Path) -> tuple[ConfigKeys, list[ConfigError]]:
    """The valid part of the document, with the defaults in its folders, and the errors of the rest.

    The invalid parts are removed, so that the rules between keys can be applied to the rest at once.
    """
    config_errors = list(document.config_errors)
    if not isinstance(document.data, dict):
        if not config_errors:
            found = document.shown(())
            config_errors.append(ConfigError(path=(), expected="keys such as folders:", found=found))
        return ConfigKeys(), config_errors
    data = copy.deepcopy(document.data)
    _take_out_all(data, config_errors)
    try:
        checked(ConfigKeys, data, base)
    except ValidationError as error:
        config_errors += config_errors_in(error, document)
        _take_out_all(data, config_errors)
    _inherit(data)
    for _ in range(NESTED):
        try:
            return checked(ConfigKeys, data, base), config_errors
        except ValidationError as error:
            # Without its invalid values a section may be incomplete: then it is removed, without a further error.
            _take_out_all(data, config_errors_in(error, document))
    return ConfigKeys(), config_errors


def _inherit(data: dict[str, Any]) -> None:
    if data.get("folders") and data.get("defaults"):
        data["folders"] = [{**data["defaults"], **folder} for folder in data["folders"]]


def _take_out_all(data: Any, config_errors: Iterable[ConfigError]) -> None:
    for config_error in config_errors:
        if not config_error.stands:
            _take_out(data, config_error.path)


def _take_out(data: Any, path: KeyPath) -> None:
    for part in path[:-1]:
        try:
            data = data[part]
        except (LookupError, TypeError):
            return
    if path and isinstance(data, dict):
        data.pop(path[-1], None)
    elif path and isinstance(data, list) and path[-1] in range(len(data)):
        # The other items keep their numbers.
        data[int(path[-1])] = {}


def _problems(path: Path, document: Document, config_errors: Iterable[ConfigError]) -> tuple[Problem, ...]:
    """By line, each once."""
    lines = {config_error: config_error.line or document.line(config_error.path) for config_error in config_errors}
    return tuple(
        Problem(
            where=f"{printable(path)}:{line}",
            path=printable(dotted(config_error.path)),
            expected=config_error.expected,
            found=config_error.found,
            hint=config_error.hint,
        )
        for config_error, line in sorted(lines.items(), key=lambda item: item[1])
    )


def _entries(config: ConfigKeys, bad: set[KeyPath]) -> Iterator[ConfiguredDirectory]:
    if ("state_dir",) not in bad:
        yield ConfiguredDirectory(("state_dir",), Role.STATE, config.state_dir)
    if config.cluster.spool and ("cluster", "spool") not in bad:
        yield ConfiguredDirectory(("cluster", "spool"), Role.SPOOL, config.cluster.spool)
    # A hanging directory is not touched: it waits, like one that is not mounted.
    hanging = silent(folder.require_mount for folder in config.folders if folder.require_mount)
    for number, folder in enumerate(config.folders):
        for role in DIRECTORIES:
            own, required = getattr(folder, role), folder.require_mount
            if (own or folder.root) and (own or role != "done" or folder.originals is Originals.MOVE):
                directory = _directory(folder, role)
                waits = (
                    required is not None
                    and directory.is_relative_to(required)
                    and (required in hanging or not is_mount_point(required))
                )
                yield ConfiguredDirectory(
                    ("folders", number, role if own else "root"), Role(role), directory, waits=waits
                )


def _directory(folder: FolderKeys, role: str) -> Path:
    own: Path | None = getattr(folder, role)
    # Only `done` may be left out, and only where it never gets a file.
    return own or (folder.root or _directory(folder, "inbox").parent) / role


def _settings(config: ConfigKeys) -> Settings:
    folders = tuple(_hot_folder(folder, config) for folder in config.folders)
    return Settings(**_taken(SharedSettings, config), folders=folders)


def _hot_folder(folder: FolderKeys, config: ConfigKeys) -> HotFolder:
    preset = folder.offsets or config.presets[folder.preset or ""]
    directories = {role: _directory(folder, role) for role in DIRECTORIES}
    return HotFolder(
        **(_taken(FolderDefaults, folder) | directories),
        preset=preset,
        preset_name=folder.preset or description(preset),
        require_mount=folder.require_mount,
        label=folder.label,
    )


def _taken(section: type, values: Any) -> dict[str, Any]:
    return {key: getattr(values, key) for key in keys_of(section)}


FILE = "configuration.json"


def keep_loaded(config: Path, state_dir: Path) -> None:
    """Record the text of `config`, which was loaded just now. Raises OSError."""
    with config.open("rb") as file:
        text = file.read(MOST_BYTES).decode("utf-8", "surrogateescape")
    # After a power cut the file itself is read.
    write_json(state_dir / FILE, {"config": str(config.absolute()), "text": text})


def last_loaded(state_dir: Path) -> Settings | None:
    """The settings last loaded with this state directory; None where they are not known."""
    kept = _kept(state_dir)
    try:
        if kept is None:
            return None
        text, config = kept["text"].encode("utf-8", "surrogateescape"), Path(kept["config"])
        return replace(settings_in(text, config.parent), state_dir=state_dir)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
        return None


def _kept(state_dir: Path) -> dict[str, Any] | None:
    """The record of `keep_loaded`: the file's path and its text."""
    try:
        with (state_dir / FILE).open("rb") as file:
            kept = read_json(file, 8 * MOST_BYTES)
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None
