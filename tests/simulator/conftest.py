"""The simulator for each test that asks for one."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.simulator.desk import Desk


@pytest.fixture
def make_desk() -> Iterator[Callable[..., Desk]]:
    """Starts a server with the switches given. Polls are not limited unless asked for."""
    with ExitStack() as stack:

        def make(**switches: Any) -> Desk:
            server = stack.enter_context(Simulator(Switches(**{"poll_limit": 0.0} | switches)))
            return stack.enter_context(closing(Desk(server)))

        yield make


@pytest.fixture(autouse=True)
def no_error_inside_the_server(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """An error of the server itself reaches a client only as a 500 or a cut, as some faults do."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


@pytest.fixture
def desk(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk()
