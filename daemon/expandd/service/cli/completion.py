"""Owns what a shell completes: the script that teaches it, and the names that the configuration knows."""

# ruff: noqa: PLC0415 - the configuration is read only when a name of it is to be completed

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from expandd.domain.errors import ExpanddError
from expandd.domain.naming import printable
from expandd.domain.settings import Settings

VARIABLE = "_EXPANDD_COMPLETE"


class Shell(Enum):
    """The shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script(command: click.Command, shell: Shell) -> str:
    """What the shell must read to complete expandd's verbs, options and names."""
    completion = get_completion_class(shell.value)
    assert completion is not None, "click knows the three"
    return completion(command, {}, "expandd", VARIABLE).source()


def presets(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The presets of the configuration that begin so."""
    settings = _settings(context)
    names = sorted(settings.presets) if settings else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def inboxes(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The inboxes of the configuration that begin so."""
    settings = _settings(context)
    names = [printable(folder.inbox) for folder in settings.folders] if settings else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _settings(context: click.Context) -> Settings | None:
    """The configuration, or None when it has mistakes: a person who types is not to be told of them."""
    from expandd.adapters.config.load import load

    config = context.params.get("config") or os.environ.get("EXPANDD_CONFIG") or "/etc/expandd/config.yaml"
    try:
        return load(Path(config))
    except ExpanddError:
        return None
