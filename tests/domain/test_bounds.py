"""Numbers from outside: in range they pass, else they are not told, whatever they are."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.domain.bounds import LAST_MOMENT, amount, moment, whole_number, word

ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.lists(st.none())


@given(st.integers(-(2**70), 2**70))
def test_a_word_always_fits_and_what_fits_is_kept(value: int) -> None:
    assert -(2**63) <= word(value) < 2**63
    assert word(value) == value or not -(2**63) <= value < 2**63


@given(st.integers(), st.integers(1, 2**64 - 1))
def test_words_of_two_numbers_that_are_near_stay_different(value: int, apart: int) -> None:
    assert word(value) != word(value + apart)


@pytest.mark.parametrize(
    "value", ["1e30", "9" * 30, "1e99999999", "1e-99999999", "NaN", "-inf", "9" * 10_000, 10**400, float("nan"), 1e300]
)
def test_an_amount_out_of_range_is_not_told(value: object) -> None:
    assert amount(value) is None


@pytest.mark.parametrize(
    ("value", "expected"), [("12.50", "12.50"), (7, "7"), (0.1, "0.1"), (" 3 ", "3"), ("-2", "-2"), (True, None)]
)
def test_an_amount_in_range_is_what_it_says(value: object, expected: str | None) -> None:
    assert amount(value) == (Decimal(expected) if expected else None)


@given(ANYTHING)
def test_anything_at_all_is_an_amount_that_can_be_reckoned_with_or_none(value: object) -> None:
    found = amount(value)

    assert found is None or abs(found + 1) <= Decimal(10) ** 15 + 1


@given(ANYTHING)
def test_anything_at_all_is_a_moment_that_a_calendar_shows_or_none(value: object) -> None:
    found = moment(value)

    assert found is None or datetime.fromtimestamp(found, UTC).year <= 9999


def test_the_ends_of_each_range_are_in_it() -> None:
    assert moment(0) == 0.0
    assert moment(LAST_MOMENT) == LAST_MOMENT
    assert moment(LAST_MOMENT + 1) is None
    assert whole_number(5, 5, 5) == 5
    assert whole_number(6, 5, 5) is None
    assert whole_number(True, 0, 5) is None
