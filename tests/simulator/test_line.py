"""The line of the simulator: how long transfers take that share it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from expandd.simulator.switches import Switches
from tests.simulator.desk import Desk, an_image


def test_two_uploads_share_the_uplink_and_small_calls_pass_between_them(make_desk: Callable[..., Desk]) -> None:
    data = an_image(300, 200, noise=True)
    desk = make_desk(uplink=len(data) / 0.2)
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        sent = [pool.submit(desk.send, data) for _ in range(2)]
        polled = desk.poll().elapsed.total_seconds()
        assert [each.result().status_code for each in sent] == [200, 200]
        both = time.monotonic() - began
    assert both >= 0.4
    assert polled < both / 2


def test_a_result_takes_its_time_on_the_downlink_and_comes_whole(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(generate_min=0.0, generate_max=0.0)
    link = desk.link(an_image(300, 200, noise=True))
    whole = desk.plain.get(link).content
    desk.control("switches", {"downlink": len(whole) / 0.3})
    began = time.monotonic()
    assert desk.plain.get(link).content == whole
    assert time.monotonic() - began >= 0.3


def test_a_line_that_is_slower_than_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="uplink"):
        Switches(uplink=-1.0)
    with pytest.raises(ValueError, match="downlink"):
        Switches(downlink=-1.0)
