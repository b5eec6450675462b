"""Standard error is a full disk, a closed pipe, or one that nobody reads: the work goes on, and ends as it should."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import House, names, simulator_login
from tests.support.forked import Forked, source
from tests.support.images import an_image

PATIENCE = 30.0


def full() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


def closed() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def unread() -> Iterator[int]:
    reading, writing = os.pipe()
    # Full from the begin: the first line already finds no room.
    os.set_blocking(writing, False)
    try:
        while os.write(writing, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)


def told(house: House) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(house.call("status", "--json").stdout)
    return status


@pytest.mark.parametrize("log", [full, closed, unread], ids=lambda log: str(log.__name__))
def test_the_work_goes_on_where_no_line_can_be_written(
    house: House, server: Simulator, log: Callable[[], Iterator[int]]
) -> None:
    hot = house.folder()
    for number in range(3):
        (hot / "inbox" / f"{number}.png").write_bytes(an_image("png", 200, 160, seed=number))
    descriptors = log()
    arguments = ["expandd", "run", "--verbose", "--config", str(house.config)]
    streams = (0, 1, next(descriptors))
    process = Forked(source(), source().fork(arguments, {**os.environ, **simulator_login()}, streams))
    try:
        deadline = time.monotonic() + PATIENCE
        while len(names(hot / "done")) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        done = names(hot / "done")
        while not (lost := told(house)["lost_log_lines"]) and time.monotonic() < deadline and log is not unread:
            time.sleep(0.05)
        said = house.call("status").stdout
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        next(descriptors, None)

    # One that nobody reads is waited for: its lines are lost once too many wait.
    assert (lost > 0 and "Lines of the log lost" in said) or log is unread
    assert done == ["0.png", "1.png", "2.png"]
    assert code == 0
    assert server.counts().calls["generate"] == {"200": 3}
