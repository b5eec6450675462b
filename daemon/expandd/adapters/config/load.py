"""Loads the configuration: from a YAML file to Settings, or every error in it at once."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from expandd.adapters.config import yaml_marks
from expandd.adapters.config.config_errors import ConfigError, KeyPath, dotted
from expandd.adapters.config.folder_rules import Place, Role, folder_config_errors
from expandd.adapters.config.messages import config_errors_in
from expandd.adapters.config.model import (
    DIRECTORIES,
    ConfigKeys,
    FolderKeys,
    budget_of,
    burst_of,
    description,
    preset_of,
    schema,
)
from expandd.adapters.config.output_keys import hooks_of, page_of
from expandd.adapters.config.rules import defaults_of, rule_config_errors, telling_config_errors
from expandd.adapters.config.yaml_marks import MOST_BYTES, Document
from expandd.adapters.files.mount_guard import is_mount_point
from expandd.adapters.json_text import read_json
from expandd.adapters.responsiveness import silent
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.naming import printable
from expandd.domain.settings import ApiSettings, HotFolder, Keep, Originals, Settings

__all__ = ["load", "schema", "settings_in", "settings_of", "state_dir_of"]


def load(path: Path) -> Settings:
    """The configuration in `path`, checked together with the directories it names. Changes nothing on disk.

    Relative paths in it are taken from the file's own directory. Raises ConfigurationError with all errors.
    """
    document = _read(path)
    config, config_errors = _validated(document)
    base = path.absolute().parent
    if isinstance(document.data, dict):
        bad = {config_error.path for config_error in config_errors if not config_error.stands}
        config_errors += rule_config_errors(config, document, bad)
        config_errors += _folder_config_errors(path, config, document, bad)
        config_errors += telling_config_errors(config, document, bad, partial(_absolute, base=base))
    if config_errors:
        raise ConfigurationError(_problems(path, document, config_errors))
    return _settings(config, base)


def _folder_config_errors(path: Path, config: ConfigKeys, document: Document, bad: set[KeyPath]) -> list[ConfigError]:
    """What is wrong with the directories. Raises ConfigurationError where that cannot be told just now."""
    try:
        return list(folder_config_errors(list(_places(config, path.absolute().parent, bad)), document.line))
    except OSError as error:
        expected, hint = "that its directories can be looked at", "Try again, and raise the limit of open files."
        raise ConfigurationError((_cannot(path, error, expected, hint),)) from error


def settings_of(path: Path) -> Settings:
    """What stands in `path`, whatever is wrong with the directories it names. Raises ConfigurationError."""
    return _alone(path, _read(path), path.absolute().parent)


def settings_in(text: bytes, base: Path) -> Settings:
    """The same of a text whose relative paths are taken from `base`. Raises ConfigurationError."""
    return _alone(base, yaml_marks.read(text), base)


def _alone(path: Path, document: Document, base: Path) -> Settings:
    config, config_errors = _validated(document)
    if isinstance(document.data, dict):
        config_errors += rule_config_errors(
            config, document, {config_error.path for config_error in config_errors if not config_error.stands}
        )
    if config_errors:
        raise ConfigurationError(_problems(path, document, config_errors))
    return _settings(config, base)


def state_dir_of(path: Path) -> Path | None:
    """The state directory that the configuration in `path` names, whatever else is wrong; None when that is wrong too.

    Raises ConfigurationError when the file cannot be read.
    """
    config, config_errors = _validated(_read(path))
    wrong = any(config_error.path in {(), ("state_dir",)} for config_error in config_errors)
    return None if wrong else _absolute(config.state_dir, path.absolute().parent)


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            # One byte more than is allowed tells that it is too long; the rest may have no end.
            return yaml_marks.read(file.read(yaml_marks.MOST_BYTES + 1))
    except OSError as error:
        expected = "a configuration file that can be read"
        hint = "Start from config.example.yaml, and name the file with --config."
        raise ConfigurationError((_cannot(path, error, expected, hint),)) from error


def _cannot(path: Path, error: OSError, expected: str, hint: str) -> Problem:
    found = os.strerror(error.errno or 0).lower()
    return Problem(where=printable(path), path=dotted(()), expected=expected, found=found, hint=hint)


def _validated(document: Document) -> tuple[ConfigKeys, list[ConfigError]]:
    """What is valid in the document, and what is not.

    The invalid parts are taken out, so that the rules between keys can be applied to the rest in the same go.
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
        return ConfigKeys.model_validate(data), config_errors
    except ValidationError as error:
        config_errors += config_errors_in(error, document)
    _take_out_all(data, config_errors)
    try:
        return ConfigKeys.model_validate(data), config_errors
    except ValidationError:
        return ConfigKeys(), config_errors


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
            path=_printable_path(config_error.path),
            expected=config_error.expected,
            found=config_error.found,
            hint=config_error.hint,
        )
        for config_error, line in sorted(lines.items(), key=lambda item: item[1])
    )


def _printable_path(path: KeyPath) -> str:
    return printable(dotted(path))


def _places(config: ConfigKeys, base: Path, bad: set[KeyPath]) -> Iterator[Place]:
    if ("state_dir",) not in bad:
        yield Place(("state_dir",), Role.STATE, _absolute(config.state_dir, base))
    # What hangs is not touched: it waits, as what is not mounted does.
    required_anywhere = (_required(folder, base) for folder in config.folders)
    hanging = silent(one for one in required_anywhere if one is not None)
    for number, folder in enumerate(config.folders):
        keeps = defaults_of(folder, config.defaults).originals is Originals.MOVE
        for role in DIRECTORIES:
            own = getattr(folder, role)
            path: KeyPath = ("folders", number, role if own else "root")
            if (own or folder.root) and (own or keeps or role != "done"):
                directory, required = _directory(folder, role, base), _required(folder, base)
                waits = (
                    required is not None
                    and directory.is_relative_to(required)
                    and (required in hanging or not is_mount_point(required))
                )
                yield Place(path, Role(role), directory, waits=waits)


def _directory(folder: FolderKeys, role: str, base: Path) -> Path:
    own = getattr(folder, role)
    if own:
        return _absolute(own, base)
    if folder.root:
        return _absolute(folder.root, base) / role
    # Only `done` may be left out, and only where nothing is ever put into it.
    return _directory(folder, "inbox", base).parent / role


def _required(folder: FolderKeys, base: Path) -> Path | None:
    return _absolute(folder.require_mount, base) if folder.require_mount else None


def _absolute(text: str, base: Path) -> Path:
    """Below `base` unless absolute; `..` is followed as the kernel does, through symlinks."""
    path = base / text
    return Path(os.path.realpath(path)) if ".." in path.parts else path


def _settings(config: ConfigKeys, base: Path) -> Settings:
    api = config.api
    return Settings(
        state_dir=_absolute(config.state_dir, base),
        workers=config.workers,
        stop_timeout=config.stop_timeout,
        api=ApiSettings(
            base_url=api.base_url,
            generate_path=api.generate_path,
            generate_extra=MappingProxyType(dict(api.generate_extra)),
            poll_interval=api.poll_interval,
            timeout=api.timeout,
            unknown_wait=api.unknown_wait,
            credentials_file=_absolute(api.credentials_file, base) if api.credentials_file else None,
            allow_private_links=api.allow_private_links,
        ),
        keep=Keep(journal=config.keep.journal, done=config.keep.done, results=config.keep.results),
        budget=budget_of(config.budget),
        keep_credits=config.keep_credits,
        hooks=hooks_of(config.hooks, partial(_absolute, base=base)),
        page=page_of(config.page, partial(_absolute, base=base)),
        metrics_file=_absolute(config.metrics_file, base) if config.metrics_file else None,
        presets=MappingProxyType({name: preset_of(keys) for name, keys in config.presets.items()}),
        folders=tuple(_hot_folder(folder, config, base) for folder in config.folders),
    )


def _hot_folder(folder: FolderKeys, config: ConfigKeys, base: Path) -> HotFolder:
    keys = folder.offsets or config.presets[folder.preset or ""]
    preset = preset_of(keys)
    defaults = defaults_of(folder, config.defaults)
    return HotFolder(
        inbox=_directory(folder, "inbox", base),
        outbox=_directory(folder, "outbox", base),
        done=_directory(folder, "done", base),
        error=_directory(folder, "error", base),
        preset=preset,
        preset_name=folder.preset or description(preset),
        name=defaults.name,
        originals=defaults.originals,
        recursive=defaults.recursive,
        watch=defaults.watch,
        settle=defaults.settle,
        settle_max=defaults.settle_max,
        scan_interval=defaults.scan_interval,
        require_mount=_required(folder, base),
        duplicates=defaults.duplicates,
        sidecar=defaults.sidecar,
        budget=budget_of(defaults.budget),
        burst=burst_of(defaults.burst),
    )


FILE = "configuration.json"


def keep_loaded(config: Path, state_dir: Path) -> None:
    """Remember what stands in `config`, which was loaded just now. Raises OSError."""
    with config.open("rb") as file:
        text = file.read(MOST_BYTES).decode("utf-8", "surrogateescape")
    spare = state_dir / f".{FILE}"
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as kept:
        kept.write(json.dumps({"base": str(config.absolute().parent), "text": text}).encode())
    # Not synced: after a power cut the file itself is asked.
    spare.replace(state_dir / FILE)


def last_loaded(state_dir: Path) -> Settings | None:
    """What was loaded last with this state directory; None where that is not known."""
    try:
        with (state_dir / FILE).open("rb") as file:
            kept = read_json(file, 8 * MOST_BYTES)
        settings = settings_in(kept["text"].encode("utf-8", "surrogateescape"), Path(kept["base"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigurationError):
        return None
    return replace(settings, state_dir=state_dir)
