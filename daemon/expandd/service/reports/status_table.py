"""The live status on a terminal: a table of the folders, what waits, and what needs a person."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from expandd.service.reports.overview import FolderOverview, Overview, clock, labels_of, span
from expandd.service.reports.overview_text import footlines, headlines

_COLUMNS = ("waiting", "oldest", "in flight", "done", "failed", "paid", "left", "in error")


def watch_on_terminal(look: Callable[[], Overview], every: float, console: Console | None = None) -> None:
    """Show what `look` sees, anew every `every` seconds, until interrupted."""
    with Live(table(look()), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(table(look()), refresh=True)


def table(overview: Overview) -> RenderableType:
    """The whole status. `done`, `failed` and `paid` are today's; `left` is what the day's budget leaves."""
    head = [Text(line, style="bold" if overview.running else "bold yellow") for line in headlines(overview)]
    for text in head[1:]:
        text.stylize("yellow")
    lines = [Text(line, style=_style(line)) for line in footlines(overview)]
    when = Text(f"{clock(overview.at, overview.at)}   Ctrl-C ends", style="dim")
    return Group(*head, _folders(overview), *lines, when)


def _folders(overview: Overview) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("folder", overflow="fold")
    shown.add_column("preset")
    for column in _COLUMNS:
        shown.add_column(column, justify="right")
    labels = labels_of(overview.folders)
    for folder in overview.folders:
        shown.add_row(*_row(labels[folder.inbox], folder))
    return shown


def _row(label: str, folder: FolderOverview) -> list[Text]:
    left = "" if folder.day_left is None else str(folder.day_left)
    cells = (
        str(folder.waiting) if folder.counted else f"{folder.waiting}?",
        "" if folder.oldest is None else span(folder.oldest),
        f"{folder.in_flight}" + (f" +{folder.held}" if folder.held else ""),
        str(folder.done),
        str(folder.failed),
        str(folder.paid_today),
        left,
        str(folder.in_error),
    )
    name = Text(label, style="" if folder.counted else "yellow")
    return [name, Text(folder.preset_name), *(Text(cell) for cell in cells)]


def _style(line: str) -> str:
    return {"needs you": "bold red", "error": "red", "size": "yellow"}.get(line.split("  ", maxsplit=1)[0].strip(), "")
