"""Times, durations, counts, names and states as the page shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from expandd.domain.job import Job, JobState
from expandd.domain.offsets import Offsets

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

_STATES = {
    JobState.CLAIMED: "waits for its upload",
    JobState.UPLOADED: "uploaded, not paid for yet",
    JobState.SUBMITTING: "is being ordered",
    JobState.ACCEPTED: "paid for, being drawn",
    JobState.UNKNOWN: "the answer to the paid call was lost; expandd finds out by asking",
    JobState.RENDERED: "the result is being fetched",
    JobState.DOWNLOADED: "the result is safe, being delivered",
    JobState.DELIVERED: "delivered, the original is being archived",
    JobState.DONE: "done",
    JobState.FAILED: "on its way to the error folder",
    JobState.RETURNED: "on its way back to the inbox",
}
_SIDES = (("top", "above"), ("bottom", "below"), ("left", "left"), ("right", "right"))


def clock(at: float, now: float) -> str:
    """When, in local time: the day only where it is another one than today."""
    then, today = time.localtime(at), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b %H:%M" if then.tm_year == today.tm_year else "%d %b %Y", then).lstrip("0")


def machine_time(at: float) -> str:
    """The same for the datetime attribute, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def month_of(at: float) -> str:
    """The month as the ledger names it."""
    return time.strftime("%Y-%m", time.localtime(at))


def month_name(month: str) -> str:
    """For people."""
    return time.strftime("%b %Y", time.strptime(month, "%Y-%m"))


def lasting(seconds: float) -> str:
    """A duration in its one or two largest units."""
    if seconds < MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    if seconds < DAY:
        hours, minutes = divmod(round(seconds / MINUTE), 60)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"  # noqa: PLR2004, then minutes say nothing
    days, hours = divmod(round(seconds / HOUR), 24)
    return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"  # noqa: PLR2004, as above


def number(count: float) -> str:
    """With thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u202f")


def counted(count: int, one: str, more: str = "") -> str:
    return f"{number(count)} {one if count == 1 else more or one + 's'}"


def state_words(job: Job) -> str:
    if job.lost_result:
        return "paid for; its result cannot be fetched"
    return "it is unknown whether it was paid for" if job.held else _STATES[job.state]


def added(offsets: Offsets) -> str:
    """What was added and cut, such as "adds 514 px above and below; cuts 12 px left"."""
    parts = [f"{verb} {_sides(amounts)}" for verb, amounts in _amounts(offsets) if amounts]
    return "; ".join(parts)


def _amounts(offsets: Offsets) -> Iterator[tuple[str, dict[str, int]]]:
    sides = {where: getattr(offsets, side) for side, where in _SIDES}
    yield "adds", {where: px for where, px in sides.items() if px > 0}
    yield "cuts", {where: -px for where, px in sides.items() if px < 0}


def _sides(amounts: Mapping[str, int]) -> str:
    """The amounts in words, with equal ones in one phrase."""
    if len(amounts) == len(_SIDES) and len(set(amounts.values())) == 1:
        return f"{next(iter(amounts.values()))} px all around"
    by_px: dict[int, list[str]] = {}
    for where, px in amounts.items():
        by_px.setdefault(px, []).append(where)
    return ", ".join(f"{px} px {listed(places)}" for px, places in by_px.items())


def listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
