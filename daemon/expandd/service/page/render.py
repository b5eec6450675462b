"""Owns the drawing of the page: templates filled with what is known, whole or part by part."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from expandd import __version__
from expandd.service.page.forms import SAID
from expandd.service.page.plots import HEIGHT, WIDTH, days_plot, hours_plot
from expandd.service.page.reader import Past
from expandd.service.page.text import number
from expandd.service.page.view import page_view
from expandd.service.reports.overview import Overview

HOME = Path(__file__).parent
PARTS = ("head", "halts", "figures", "results", "held", "hand", "failed", "folders", "money", "plots")
"""What is sent anew by itself; each has a template and an element of that id."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of our own that a browser loads."""

    media_type: str
    body: bytes


class Drawing:
    """Draws the page. `token` stands in each form."""

    def __init__(self, token: str) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HOME / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["number"] = number
        self._templates.globals.update(token=token, version=__version__, plot_width=WIDTH, plot_height=HEIGHT)

    def page(self, overview: Overview, past: Past, budget: int | None, said: str = "") -> str:
        """The whole page; `said` is the verb that was just ordered."""
        facts = self._facts(overview, past, budget)
        return self._templates.get_template("page.html").render(facts, parts=PARTS, said=SAID.get(said, ""))

    def parts(self, overview: Overview, past: Past, budget: int | None) -> Mapping[str, str]:
        """Its parts by name."""
        facts = self._facts(overview, past, budget)
        return {name: self._templates.get_template(f"{name}.html").render(facts) for name in PARTS}

    def placeholder(self, sentence: str) -> str:
        """A picture (SVG) that says why there is none."""
        words, lines = sentence.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) > 14:  # noqa: PLR2004, characters that fit into its width
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        return self._templates.get_template("placeholder.svg").render(lines=lines)

    def _facts(self, overview: Overview, past: Past, budget: int | None) -> dict[str, object]:
        view = page_view(overview)
        now = overview.at or time.time()
        return {
            "view": view,
            "hours": hours_plot(past.hours, now),
            "days": days_plot(past.ledger, now, paid_today=overview.money.paid_today, budget=budget),
            "budget": budget,
        }


def assets() -> Mapping[str, Asset]:
    """By name, read once."""
    kinds = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
    return {name: Asset(kind, (HOME / "static" / name).read_bytes()) for name, kind in kinds.items()}
