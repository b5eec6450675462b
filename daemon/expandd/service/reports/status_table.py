"""The live status on a terminal: a table of the folders, what waits, and what needs a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from expandd.service.reports.overview import FolderOverview, Overview, clock, labels_of, span
from expandd.service.reports.overview_text import footlines, headlines, lines

_LEFT = "left"
_COLUMNS = ("waiting", "oldest", "in progress", "done", "failed", "paid", _LEFT, "in error")


def show_on_terminal(look: Callable[[], Overview], every: float | None, console: Console | None = None) -> None:
    """Show what `look` sees, once, or anew every `every` seconds until interrupted."""
    console = console or Console()
    if every is None:
        console.print(_fitting(look(), console.width))
        return
    end = Text("Ctrl-C ends", style="dim")
    with Live(Group(_fitting(look(), console.width), end), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            live.update(Group(_fitting(look(), console.width), end), refresh=True)


NARROW = 80
"""Characters below which a table would cut its words."""


def _fitting(overview: Overview, width: int) -> RenderableType:
    return table(overview) if width >= NARROW else Text("\n".join(lines(overview)))


def table(overview: Overview) -> RenderableType:
    """The whole status. `done`, `failed` and `paid` are today's; `left` is what the day's budget leaves."""
    head = [Text(line, style="bold" if overview.running else "bold yellow") for line in headlines(overview)]
    for text in head[1:]:
        text.stylize("yellow")
    foot = [Text(line, style=_style(line)) for line in footlines(overview)]
    when = Text(clock(overview.at, overview.at), style="dim")
    return Group(*head, _folders(overview), *foot, when)


def _folders(overview: Overview) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim")
    shown.add_column("folder", overflow="fold")
    shown.add_column("preset", overflow="fold")
    limited = any(folder.day_left is not None for folder in overview.folders)
    columns = [column for column in _COLUMNS if limited or column != _LEFT]
    for column in columns:
        shown.add_column(column, justify="right", no_wrap=True)
    labels = labels_of(overview.folders)
    for folder in overview.folders:
        shown.add_row(*_row(labels[folder.inbox], folder, columns))
    return shown


def _row(label: str, folder: FolderOverview, columns: Sequence[str]) -> list[Text]:
    cells = {
        "waiting": str(folder.waiting) if folder.counted else f"{folder.waiting}?",
        "oldest": "" if folder.oldest is None else span(folder.oldest),
        "in progress": f"{folder.in_progress}" + (f" +{folder.held}" if folder.held else ""),
        "done": str(folder.done),
        "failed": str(folder.failed),
        "paid": str(folder.paid_today),
        _LEFT: "" if folder.day_left is None else str(folder.day_left),
        "in error": str(folder.in_error),
    }
    name = Text(label, style="" if folder.counted else "yellow")
    return [name, Text(folder.preset_name), *(Text(cells[column]) for column in columns)]


def _style(line: str) -> str:
    return {"needs you": "bold red", "error": "red", "size": "yellow"}.get(line.split("  ", maxsplit=1)[0].strip(), "")
