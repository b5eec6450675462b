"""Checks numbers that come from outside: one out of range counts as missing, and is never an error further in.

Every number that others wrote (file facts, API answers, sidecars, forms) passes through here.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

MOST_DIGITS = 40
"""Characters of a number written as text; a longer one is no number that anybody means."""

MOST_AMOUNT = Decimal(10) ** 15
"""The largest amount of money or credits that is believed."""

LAST_MOMENT = 253_402_300_799.0
"""The last second of the year 9999, in seconds since the epoch: calendars of this language end there."""

_WORD = 64


def word(value: int) -> int:
    """`value` as a signed number of 64 bits, as databases keep them. Numbers less than 2**64 apart stay different.

    Clocks and file systems reach further: the nanoseconds of the year 2300 do not fit.
    """
    half = 1 << (_WORD - 1)
    return (value + half) % (1 << _WORD) - half


def whole_number(value: object, least: int, most: int) -> int | None:
    """`value` where it is a whole number from `least` to `most`; None for everything else, also for true and false."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if least <= value <= most else None


def amount(value: object) -> Decimal | None:
    """`value`, a number or its text, where it is finite and no larger than MOST_AMOUNT either way; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, int) and abs(value) > MOST_AMOUNT:
        return None
    try:
        text = str(value).strip()
        found = Decimal(text) if len(text) <= MOST_DIGITS and text.isascii() else Decimal("NaN")
    except (InvalidOperation, ValueError):
        return None
    # By the exponent first: reckoning with one of many digits overflows, or never ends.
    return found if found.is_finite() and _short(found) and found.copy_abs() <= MOST_AMOUNT else None


def _short(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and abs(exponent) <= MOST_DIGITS


def moment(value: object) -> float | None:
    """`value` where it is a time in seconds since the epoch that a calendar can show; None otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN compares as neither.
    return float(value) if 0 <= value <= LAST_MOMENT else None


def shown(value: float) -> float:
    """`value` as a time that a calendar can show: the first one, where it is none."""
    return moment(value) or 0.0


WallTime = Annotated[float, shown]
"""Seconds since the epoch, UTC. A value that was stored passes the function when it is read."""
