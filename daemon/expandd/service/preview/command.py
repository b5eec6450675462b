"""Owns `preview`: which preset for which picture, and where the drawing goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from expandd.adapters.config.load import load
from expandd.adapters.images.pillow import PillowImages
from expandd.domain.errors import ConfigurationError, FileFault, Later, Problem
from expandd.domain.inspection import Finding, Whole
from expandd.domain.naming import printable
from expandd.domain.offsets import Preset, resolve
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.preview.drawing import SIDE, preview


def run_preview(image: Path, preset_name: str, output: Path | None, config: Path) -> int:
    """Draw what the preset adds and cuts. Raises ConfigurationError for a preset that no folder uses."""
    preset = _preset(load(config), preset_name, config)
    try:
        finding, small = asyncio.run(_looked_into(image))
    except Later as error:
        click.echo(f"{printable(image)} cannot be drawn just now: {error}", err=True)
        return ExitCode.SOME_FAILED
    if not isinstance(finding, Whole):
        click.echo(f"{finding.fault.message} {finding.fault.what_to_do}", err=True)
        return ExitCode.SOME_FAILED
    try:
        offsets = resolve(preset, finding.size)
    except FileFault as error:
        click.echo(f"{error.fault.message} {error.fault.what_to_do}", err=True)
        return ExitCode.SOME_FAILED
    target = output or Path(f"{image.stem}-preview.png")
    preview(small, finding.size, offsets, target)
    click.echo(
        f"{printable(image)}, {finding.size}: {offsets}; the result would be {offsets.applied_to(finding.size)}."
    )
    click.echo(f"Drawn in {printable(target)}.")
    return ExitCode.FINE


def _preset(settings: Settings, name: str, config: Path) -> Preset:
    if name in settings.presets:
        return settings.presets[name]
    known = ", ".join(sorted(settings.presets)) or "none"
    problem = Problem(where=str(config), path="presets", expected=f"one of: {known}", found=repr(name))
    raise ConfigurationError((problem,))


async def _looked_into(image: Path) -> tuple[Finding, bytes]:
    """What the image is, and a small copy of it where it is whole."""
    async with PillowImages(processes=1) as images:
        finding = await images.examine(image.absolute())
        small = (await images.thumbnail(image.absolute(), SIDE)).webp if isinstance(finding, Whole) else b""
    return finding, small
