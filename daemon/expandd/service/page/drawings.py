"""SVG drawings of the page: plots over time, and a source on its canvas."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from expandd.adapters.store.sql.queries import HOUR_FORMAT, Hour, LedgerLine
from expandd.domain.image import Size
from expandd.domain.job import Job
from expandd.domain.offsets import Offsets

HOURS, DAYS = 24, 30
SECONDS = 3600.0
WIDTH, HEIGHT = 480, 120
"""Units of a drawing; the labels below the bars come on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar, `below` the failed ones under it, both in units of the drawing, and its figures in words."""

    x: float
    width: float
    y: float
    height: float
    label: str
    tick: str
    count: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Bars on a common scale; `top` is the count at the upper edge, `limit` the height of a budget's line."""

    bars: tuple[Bar, ...]
    top: int
    total: int
    failed: int
    limit: float | None = None

    @property
    def empty(self) -> bool:
        return not self.total and not self.failed


def hours_plot(history: Sequence[Hour], now: float) -> Plot:
    """Done and failed in each of the last 24 hours, the one that runs included."""
    found = {hour.begins: hour for hour in history}
    keys = list(_hours(now))
    counts = [(found[key].done, found[key].failed) if key in found else (0, 0) for key in keys]
    labels = [f"{key[-2:]}:00" for key in keys]
    ticks = [label if int(label[:2]) % 6 == 0 else "" for label in labels]
    return _plot(counts, labels, ticks)


def days_plot(ledger: Sequence[LedgerLine], now: float, *, paid_today: int, budget: int | None) -> Plot:
    """Paid for on each of the last 30 days, today included; what went to the error folder is told by the hours."""
    paid: Counter[str] = Counter()
    for line in ledger:
        paid[line.day] += line.paid
    days = list(last_days(now))
    paid[days[-1].isoformat()] = paid_today
    labels = [f"{day.day} {day:%b}" for day in days]
    ticks = [label if back % 7 == 0 else "" for label, back in zip(labels, reversed(range(DAYS)), strict=True)]
    return _plot([(paid[day.isoformat()], 0) for day in days], labels, ticks, budget)


def last_days(now: float) -> Iterator[date]:
    """The last 30 days, the earliest first."""
    today = date(*time.localtime(now)[:3])
    return (today - timedelta(days=back) for back in reversed(range(DAYS)))


def _hours(now: float) -> Iterator[str]:
    """The last 24 hours as the database names them, the earliest first; where clocks go back, one is named twice."""
    for back in reversed(range(HOURS)):
        yield time.strftime(HOUR_FORMAT, time.localtime(now - back * SECONDS))


def _plot(
    counts: Sequence[tuple[int, int]], labels: Sequence[str], ticks: Sequence[str], budget: int | None = None
) -> Plot:
    most = max(done + failed for done, failed in counts)
    # A line far above all bars would flatten them; then it is left to the words.
    line = budget if budget is not None and 0 < budget <= max(4 * most, 10) else None
    top = round_up(max(most, line or 0, 1))
    step = WIDTH / len(counts)
    bars = tuple(
        Bar(
            x=round(index * step + step * 0.14, 1),
            width=round(step * 0.72, 1),
            y=_y(done + failed, top),
            height=round(HEIGHT - _y(done + failed, top), 1),
            label=label,
            tick=tick,
            count=done,
            failed=failed,
        )
        for index, ((done, failed), label, tick) in enumerate(zip(counts, labels, ticks, strict=True))
    )
    return Plot(
        bars=bars,
        top=top,
        total=sum(done for done, _ in counts),
        failed=sum(failed for _, failed in counts),
        limit=None if line is None else _y(line, top),
    )


def _y(count: int, top: int) -> float:
    return round(HEIGHT - HEIGHT * count / top, 1)


def round_up(count: int) -> int:
    """`count`, or the next larger of 1, 2, 5, 10, 20, 50 and so on."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if factor * step >= count:
                return factor * step
        step *= 10


LONGEST = 1000
"""Units of the drawing's longest side, whatever the px: hatching and lines look the same on every image."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in units of the drawing."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The canvas, where the source lies on it, and the part of the source that was kept.

    `shape` is "wide", "tall" or "even".
    """

    width: int
    height: int
    source: Box
    kept: Box
    shape: str


def canvas_of(job: Job) -> Canvas | None:
    """None for a job whose image was never measured."""
    size = job.source.size
    if size is None:
        return None
    return canvas(size, job.offsets)


def canvas(size: Size, offsets: Offsets) -> Canvas:
    whole = offsets.applied_to(size)
    scale = LONGEST / max(whole.width, whole.height)
    source = _box(offsets.left, offsets.top, size.width, size.height, scale)
    left, top = max(offsets.left, 0), max(offsets.top, 0)
    right = min(offsets.left + size.width, whole.width)
    bottom = min(offsets.top + size.height, whole.height)
    return Canvas(
        width=max(1, round(whole.width * scale)),
        height=max(1, round(whole.height * scale)),
        source=source,
        kept=_box(left, top, max(right - left, 0), max(bottom - top, 0), scale),
        shape=_shape(whole),
    )


def _box(x: int, y: int, width: int, height: int, scale: float) -> Box:
    return Box(round(x * scale), round(y * scale), round(width * scale), round(height * scale))


def _shape(size: Size) -> str:
    if size.width > 1.8 * size.height:
        return "wide"
    return "tall" if size.height > 1.2 * size.width else "even"
