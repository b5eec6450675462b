from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.domain.backoff import ACCOUNT, FOLDER, JOB, QUIET_HISTORY, Backoff

ALL = [JOB, ACCOUNT, FOLDER, QUIET_HISTORY]


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"),
    [
        (1, 0.5, 1.0),  # between half and all of the base
        (2, 1.0, 2.0),  # twice as long
        (3, 2.0, 4.0),
        (6, 16.0, 32.0),
        (7, 30.0, 60.0),  # 64 is over the cap
        (1000, 30.0, 60.0),  # and stays there, however many there were
    ],
)
def test_waits_double_up_to_the_cap(failures: int, shortest: float, longest: float) -> None:
    backoff = Backoff(base=1.0, cap=60.0)

    assert backoff.wait(failures, 0.0) == shortest
    assert backoff.wait(failures, 1.0) == longest


@given(failures=st.integers(1, 10**9), randomness=st.floats(0, 1, exclude_max=True), backoff=st.sampled_from(ALL))
def test_a_wait_is_never_nothing_and_never_over_the_cap(failures: int, randomness: float, backoff: Backoff) -> None:
    assert backoff.base / 2 <= backoff.wait(failures, randomness) <= backoff.cap


@given(failures=st.integers(1, 60), randomness=st.floats(0, 1, exclude_max=True), backoff=st.sampled_from(ALL))
def test_with_the_same_luck_a_later_wait_is_not_shorter(failures: int, randomness: float, backoff: Backoff) -> None:
    assert backoff.wait(failures + 1, randomness) >= backoff.wait(failures, randomness)
