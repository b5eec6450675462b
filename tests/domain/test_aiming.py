from __future__ import annotations

import math
import random

import pytest

from expandd.domain.poll_forecast import FEWEST, LONGEST, MOST, PollForecast, borne_out

INTERVAL = 3.0
EXACT = INTERVAL / 48


def knowing(*seconds: float) -> PollForecast:
    aim = PollForecast()
    for each in seconds:
        aim = aim.learnt(each)
    return aim


TEN = knowing(*[10.0] * FEWEST)


def test_too_little_is_known_at_first() -> None:
    assert knowing(*[10.0] * (FEWEST - 1)).pause([8.0], INTERVAL) == 0.0


@pytest.mark.parametrize("age", [0.0, 3.0, 7.0, 7.5, 8.0, 9.25, 9.9])
def test_one_image_is_polled_for_when_it_ends(age: float) -> None:
    assert 10.0 < age + TEN.pause([age], INTERVAL) <= 10.0 + EXACT


def test_those_that_began_one_after_the_other_are_polled_for_together() -> None:
    ages = [9.0 - 0.05 * number for number in range(16)]

    assert 10.0 < min(ages) + TEN.pause(ages, INTERVAL) <= 10.0 + EXACT


def test_a_straggler_does_not_hold_up_the_others() -> None:
    assert TEN.pause([9.5] * 8 + [7.1], INTERVAL) == pytest.approx(0.5, abs=EXACT)


def test_two_groups_further_apart_than_the_interval_each_have_their_poll() -> None:
    assert TEN.pause([9.0] * 8 + [5.5] * 8, INTERVAL) == pytest.approx(1.0, abs=EXACT)


def test_ends_that_come_all_the_time_are_polled_for_all_the_time() -> None:
    assert TEN.pause([number / 8 for number in range(80)], INTERVAL) == 0.0


def test_times_that_differ_much_are_not_aimed_at() -> None:
    dice = random.Random(3)
    aim = knowing(*(dice.uniform(5.0, 15.0) for _ in range(MOST)))

    assert aim.pause([dice.uniform(0.0, 12.0) for _ in range(16)], INTERVAL) == 0.0


def test_nothing_expected_for_long_is_looked_for_all_the_same() -> None:
    """The API may have become faster, and tells of errors early."""
    assert knowing(*[600.0] * FEWEST).pause([1.0, 2.0], INTERVAL) <= LONGEST + INTERVAL


def test_a_result_that_may_be_there_is_looked_for_at_once() -> None:
    assert TEN.pause([1.0, math.inf], INTERVAL) == 0.0


def test_one_that_takes_longer_than_any_before_is_looked_for_at_once() -> None:
    assert TEN.pause([11.0], INTERVAL) == 0.0


def test_what_was_learnt_long_ago_is_forgotten() -> None:
    aim = knowing(*[10.0] * MOST, *[20.0] * MOST)

    assert aim.lately == (20.0,) * MOST


def test_no_aim_is_further_than_an_interval_beyond_the_longest() -> None:
    dice = random.Random(1)
    for _ in range(300):
        aim = knowing(*(dice.uniform(-5.0, 60.0) for _ in range(dice.randrange(40))))
        ages = [dice.uniform(-10.0, 90.0) for _ in range(dice.randrange(70))]

        assert 0.0 <= aim.pause(ages, INTERVAL) <= LONGEST + INTERVAL


@pytest.mark.parametrize(("announced", "believed"), [(6.9, False), (7.1, True), (10.0, True), (10.1, False)])
def test_the_clock_of_the_api_is_used_as_far_as_polls_confirm_it(announced: float, believed: bool) -> None:
    assert borne_out(announced, missing=7.0, there=10.0) is believed
