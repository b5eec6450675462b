"""`help`: the page for operators, a section at a time, on the machine itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping

import click

from expandd.service.exit_codes import ExitCode
from expandd.service.runtime.install import EXAMPLE, shipped


def show_topic(topic: str) -> int:
    """Print what the pages say about `topic`; without one, or where there is none such, which topics there are."""
    topics = _topics()
    wanted = _key(topic)
    # "troubleshooting" is looked for as well as "trouble".
    found = [key for key in topics if topic and (key.startswith(wanted) or wanted.startswith(key))]
    if not found:
        if topic:
            click.echo(f"expandd: there is nothing about {topic!r}.", err=True)
        click.echo("Topics, for `expandd help TOPIC`; commands are topics too:")
        for key in topics:
            click.echo(f"  {key}")
        return ExitCode.USAGE if topic else ExitCode.FINE
    _show(topics[found[0]], plain=found[0] == CONFIGURATION)
    return ExitCode.FINE


CONFIGURATION = "configuration"


def _topics() -> Mapping[str, str]:
    """Each section by its heading, with the sections inside it; the example of the configuration by its name."""
    text = shipped("README.md").read_text(encoding="utf-8")
    topics = {CONFIGURATION: shipped(EXAMPLE).read_text(encoding="utf-8")}
    headings = list(re.finditer(r"^(##+) (.+)$", text, re.MULTILINE))
    for number, heading in enumerate(headings):
        level = len(heading[1])
        later = (one.start() for one in headings[number + 1 :] if len(one[1]) <= level)
        topics[_key(heading[2])] = text[heading.start() : next(later, len(text))]
    return topics


def _key(heading: str) -> str:
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def _show(text: str, *, plain: bool) -> None:
    if not sys.stdout.isatty():
        click.echo(text)
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.markdown import Markdown  # noqa: PLC0415 - only a terminal needs it

    console = Console()
    # Without colours: not every pager shows them.
    with console.pager():
        console.print(text if plain else Markdown(text), markup=False)
