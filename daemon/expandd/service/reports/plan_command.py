"""Owns `plan`: the plan of each waiting file as soon as it is known, and at the end what it all takes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from expandd.adapters.config.load import load
from expandd.adapters.files.answering_roots import AnsweringRoots
from expandd.adapters.files.folder_counts import Counting
from expandd.adapters.images.pillow import PillowImages
from expandd.adapters.responsiveness import silent_roots
from expandd.adapters.store.sqlite.reader import reading
from expandd.domain.naming import printable
from expandd.domain.settings import Settings
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.build_overview import build_overview
from expandd.service.reports.overview import Overview
from expandd.service.reports.pauses import clock, sentence, span
from expandd.service.reports.plan import Fate, Planned, Planner
from expandd.service.runtime.rebuild import JOURNAL


def run_plan(config: Path, *, as_json: bool) -> int:
    """Print the plan."""
    settings = load(config)
    overview = build_overview(settings, Counting())
    printer = _Json() if as_json else _Text()
    fates = asyncio.run(_plan(settings, overview, printer))
    printer.end(fates, overview, settings)
    return ExitCode.FINE


async def _plan(settings: Settings, overview: Overview, printer: _Text | _Json) -> Counter[Fate]:
    fates: Counter[Fate] = Counter()
    counted = {folder.inbox for folder in overview.folders if folder.counted}
    with reading(settings.state_dir / JOURNAL) as journal:
        roots = AnsweringRoots.but(silent_roots(settings.folders), settings.folders, settings.state_dir)
        async with PillowImages(open_file=roots.open_file) as images:
            planner = Planner(settings, journal, images, roots)
            for folder in settings.folders:
                if folder.inbox not in counted:
                    continue
                async for one in planner.plan(folder):
                    fates[one.fate] += 1
                    printer.file(one)
    return fates


class _Text:
    """Lines for people."""

    def __init__(self) -> None:
        self._inbox: Path | None = None

    def file(self, one: Planned) -> None:
        if one.folder.inbox != self._inbox:
            self._inbox = one.folder.inbox
            click.echo(f"{printable(one.folder.inbox)} ({one.folder.preset_name}):")
        click.echo(f"  {one.fate.value:<10}  {printable(one.relative)}{_words(one)}")

    def end(self, fates: Counter[Fate], overview: Overview, settings: Settings) -> None:
        for line in totals(fates, overview, settings):
            click.echo(line)


def _words(one: Planned) -> str:
    if one.size is None:
        return f": {printable(one.why)}"
    as_name = f" as {printable(one.name)}" if one.name is not None else ""
    return f": {one.size} px becomes {one.result} px{as_name} ({one.offsets}){_ABOUT[one.fate].format(one.before)}"


_ABOUT = {
    Fate.NEW: "",
    Fate.AGAIN: "; already paid for ({}), and paid for again: this folder expands duplicates",
    Fate.REUSED: "; already paid for ({}): that result is delivered again",
    Fate.SKIPPED: "; already paid for ({}): nothing is delivered",
}


def totals(fates: Counter[Fate], overview: Overview, settings: Settings) -> Iterator[str]:
    """What it all comes to: files, money, time."""
    if not fates:
        yield "No file waits."
    else:
        counts = ", ".join(f"{fates[fate]} {fate.value}" for fate in Fate if fates[fate])
        files = "1 file waits" if fates.total() == 1 else f"{fates.total()} files wait"
        yield f"{files}: {counts}. Nothing was paid or changed."
    to_pay = sum(number for fate, number in fates.items() if fate.paid)
    if to_pay:
        yield from _money(to_pay, overview)
        yield from _time(to_pay, overview, settings)
    for halt in overview.pauses:
        yield sentence(halt, overview.at)
    if not overview.running:
        yield "expandd does not run: nothing of this happens until it does."


def _money(to_pay: int, overview: Overview) -> Iterator[str]:
    money = overview.money
    held = (
        f"; the account had {money.credits} at {clock(money.credits_at or 0.0, overview.at)}" if money.credits else ""
    )
    if money.price is None:
        yield f"{to_pay} to be paid for. How many credits one takes is not known yet from what was done before{held}."
    else:
        yield f"{to_pay} to be paid for: about {to_pay * money.price} credits, as one took {money.price} of late{held}."
    lefts = [left for left in (money.day_left, money.month_left) if left is not None]
    if lefts and min(lefts) < to_pay:
        yield f"The budget leaves {min(lefts)}; the others wait for the next day or month."
    for folder in overview.folders:
        lefts = [left for left in (folder.day_left, folder.month_left) if left is not None]
        if lefts and min(lefts) < folder.waiting:
            yield f"The budget of {printable(folder.inbox)} leaves {min(lefts)}."


def _time(to_pay: int, overview: Overview, settings: Settings) -> Iterator[str]:
    each = overview.pace.seconds_each
    if each is None:
        yield "How long it takes is not known yet: no image was done before."
    else:
        yield f"It takes about {span(each * to_pay / settings.workers)}, at {span(each)} an image as of late."


class _Json:
    """One document, written as it goes."""

    def __init__(self) -> None:
        self._begun = False

    def file(self, one: Planned) -> None:
        click.echo((",\n" if self._begun else '{"files": [\n') + json.dumps(_values(one), ensure_ascii=False), nl=False)
        self._begun = True

    def end(self, fates: Counter[Fate], overview: Overview, settings: Settings) -> None:
        to_pay = sum(number for fate, number in fates.items() if fate.paid)
        price, each = overview.money.price, overview.pace.seconds_each
        values: dict[str, Any] = {
            **{fate.value: fates[fate] for fate in Fate},
            "to_pay": to_pay,
            "credits": _text(None if price is None else price * to_pay),
            "credits_per_image": _text(price),
            "seconds": None if each is None else each * to_pay / settings.workers,
            "running": overview.running,
            "waits_on": [sentence(halt, overview.at) for halt in overview.pauses],
        }
        opened = "" if self._begun else '{"files": ['
        click.echo(f'{opened}\n], "totals": {json.dumps(values, ensure_ascii=False)}}}')


def _text(number: Decimal | None) -> str | None:
    return None if number is None else str(number)


def _values(one: Planned) -> dict[str, Any]:
    offsets = one.offsets
    return {
        "inbox": printable(one.folder.inbox),
        "file": printable(one.relative),
        "preset": one.folder.preset_name,
        "fate": one.fate.value,
        "why": one.why,
        "size": None if one.size is None else {"width": one.size.width, "height": one.size.height},
        "offsets": None
        if offsets is None
        else {"top": offsets.top, "bottom": offsets.bottom, "left": offsets.left, "right": offsets.right},
        "result_size": None if one.result is None else {"width": one.result.width, "height": one.result.height},
        "result_name": None if one.name is None else printable(one.name),
        "paid_before_by": one.before or None,
    }
