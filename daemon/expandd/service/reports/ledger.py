"""`ledger`: what was paid, delivered, lost and saved, by month and hot folder; and the price of an image."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import click

from expandd.adapters.store.database import reading
from expandd.adapters.store.sql.queries import COUNTS, LedgerLine
from expandd.domain.events import Event, JobMoved
from expandd.domain.job import JobState
from expandd.domain.naming import printable
from expandd.domain.settings import ImagePrice
from expandd.service.exit_codes import ExitCode
from expandd.service.reports.as_loaded import as_loaded
from expandd.service.reports.overview import as_number

_CENTS = Decimal("0.01")


FEWEST = 5
"""Paid images from which on a price is believed: a call that is under way while the credits are told counts wrongly."""

MOST = 200
"""Paid images of which the older half is forgotten, so that a price that changes is noticed."""


class Price:
    """Learns the price from how far the credits fell while images were paid for; a subscriber like any other.

    Other spending from the account, and top-ups, are not known here: a rise teaches nothing, and what others
    spend makes images look dearer than they are. `latest` is what was learnt last, also by an earlier run.
    """

    def __init__(self, latest: Decimal | None) -> None:
        self.latest = latest
        self._paid = 0
        self._fallen, self._paid_for_it = Decimal(0), 0
        self._credits: Decimal | None = None
        self._at: float | None = None

    def __call__(self, event: Event) -> None:
        self._paid += isinstance(event, JobMoved) and event.job.state is JobState.ACCEPTED

    def observe(self, left: Decimal | None, at: float | None) -> None:
        """The credits as the API told them `at` that time (epoch seconds)."""
        if left is None or at == self._at:
            return
        if self._credits is not None and left <= self._credits:
            self._learn(self._credits - left, self._paid)
        self._credits, self._at, self._paid = left, at, 0

    def _learn(self, fallen: Decimal, paid: int) -> None:
        self._fallen, self._paid_for_it = self._fallen + fallen, self._paid_for_it + paid
        if self._paid_for_it >= FEWEST:
            self.latest = (self._fallen / self._paid_for_it).quantize(_CENTS)
        if self._paid_for_it >= MOST:
            self._fallen, self._paid_for_it = self._fallen / 2, self._paid_for_it // 2


class Form(Enum):
    """How the ledger is written."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One month (YYYY-MM) of one hot folder; in images."""

    month: str
    inbox: str
    paid: int = 0
    delivered: int = 0
    failed: int = 0
    unknown: int = 0
    saved: int = 0


def run_ledger(config: Path, month: str | None, form: Form) -> int:
    """Print the ledger of one month, YYYY-MM, or of all that is known."""
    settings = as_loaded(config)
    with reading(settings) as store:
        lines = store.ledger(f"{month or '0000'}-01", f"{month or '9999'}-31") if store else ()
    rows = list(monthly(lines))
    writers = {Form.TEXT: _text, Form.CSV: as_csv, Form.JSON: _json}
    click.echo(writers[form](rows, settings.price), nl=False)
    return ExitCode.FINE


def monthly(lines: Sequence[LedgerLine]) -> Iterator[Row]:
    """The lines of each month and folder summed up, in that order."""
    for month, inbox in sorted({(line.day[:7], line.inbox) for line in lines}):
        mine = [line for line in lines if (line.day[:7], line.inbox) == (month, inbox)]
        sums = {count: sum(getattr(line, count) for line in mine) for count in COUNTS}
        yield Row(month=month, inbox=printable(inbox), **sums)


def _totals(rows: Sequence[Row]) -> dict[str, int]:
    return {count: sum(getattr(row, count) for row in rows) for count in COUNTS}


def _text(rows: Sequence[Row], price: ImagePrice | None) -> str:
    if not rows:
        return "Nothing was paid for, delivered or refused in that time.\n"
    totals, cost = _totals(rows), ("cost",) if price else ()
    table: list[tuple[str, ...]] = [("month", *COUNTS, *cost, "inbox")]
    table += [
        (row.month, *(str(getattr(row, count)) for count in COUNTS), *_cost(row.paid, price), row.inbox) for row in rows
    ]
    table.append(("in all", *map(str, totals.values()), *_cost(totals["paid"], price), ""))
    lines = [f"{row[0]:<8}" + "".join(f"{cell:>11}" for cell in row[1:-1]) + f"  {row[-1]}".rstrip() for row in table]
    legend = (*_LEGEND, *([f"cost: paid images at {price.words(1)} each, as `price` says now."] if price else []))
    return "\n".join([*lines, "", *legend, ""])


def _cost(paid: int, price: ImagePrice | None) -> tuple[str, ...]:
    return (price.words(paid),) if price else ()


_LEGEND = (
    "paid: images that the API was paid for, or may have been; delivered: results in the outbox; failed: files in",
    "the error folder; unknown: nobody knows yet whether they were paid for; saved: not paid for a second time.",
)


def as_csv(rows: Sequence[Row], price: ImagePrice | None = None) -> str:
    """The rows for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("month", "inbox", *COUNTS, *(("cost", "currency") if price else ())))
    for row in rows:
        money = (price.amount * row.paid, price.currency) if price else ()
        writer.writerow((row.month, row.inbox, *(getattr(row, count) for count in COUNTS), *money))
    return out.getvalue()


def _json(rows: Sequence[Row], price: ImagePrice | None) -> str:
    def money(paid: int) -> dict[str, Any]:
        return {"cost": as_number(price.amount * paid), "currency": price.currency or None} if price else {}

    totals = _totals(rows)
    values: dict[str, Any] = {
        "rows": [asdict(row) | money(row.paid) for row in rows],
        "in_all": totals | money(totals["paid"]),
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
