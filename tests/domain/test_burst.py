from __future__ import annotations

from expandd.domain.settings import Burst
from expandd.domain.spending import Arrivals

BURST = Burst(files=3, within=60.0)


def test_what_was_released_counts_for_no_later_burst() -> None:
    arrivals = Arrivals()
    assert not any(arrivals.add(at, BURST) for at in (1.0, 2.0, 3.0))
    arrivals.forget(10.0)

    assert not any(arrivals.add(at, BURST) for at in (11.0, 12.0, 13.0))
    assert arrivals.add(14.0, BURST)
