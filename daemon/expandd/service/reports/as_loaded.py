"""Finds the configuration for reading and steering commands, which work although the file has errors."""

from __future__ import annotations

from pathlib import Path

import click

from expandd.adapters.config.load import last_loaded, load, settings_of, state_dir_of
from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import Settings


def as_loaded(config: Path) -> Settings:
    """The configuration, or the one that the daemon loaded last where this one has errors: those go to stderr.

    Raises ConfigurationError where nobody can tell what to answer about.
    """
    try:
        return load(config)
    except ConfigurationError as error:
        found = _otherwise(config)
        if found is None:
            raise
        settings, whose = found
        for problem in error.problems:
            click.echo(str(problem), err=True)
        click.echo(f"expandd: the configuration cannot be loaded as it stands. This is told by {whose}.", err=True)
        return settings


def _otherwise(config: Path) -> tuple[Settings, str] | None:
    state_dir = state_dir_of(config)
    if state_dir is None:
        return None
    if (last := last_loaded(state_dir)) is not None:
        return last, "the one that was loaded last"
    try:
        return settings_of(config), "what stands in it, without what is missing on the disk"
    except ConfigurationError:
        return None
