"""What all tests share: kept byte code, how many examples are tried, and that the longest tests begin first."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.support.examples import EVERY_DAY, examples
from tests.support.hanging_share import fuse
from tests.support.mounting import mounts
from tests.support.task_limit import task_limits

if TYPE_CHECKING:
    from tests.support.postgres import Server

__all__ = ["fuse", "mounts", "task_limits"]
"""Fixtures that skip what this machine cannot do: it is tried when a test asks for it, not while they are collected."""

LONG = (
    "tests/systemd/",
    "tests/cluster/",
    "tests/storm/",
    "tests/engine/test_long_outages.py",
    "tests/e2e/test_bad_images.py",
    "tests/e2e/test_page.py",
    "tests/e2e/test_kills",
    "tests/trust/test_a_day_of_swaps.py",
    "tests/trust/test_two_users_at_the_program.py::test_swaps_",
    "tests/faults/test_hanging_shares.py::test_a_stop_and_a_start_",
)
"""Beginnings of names: what takes half of the time of all tests together, and is left out but with EXPANDD_CI=1."""

LONGEST = (
    "tests/systemd/test_service.py",
    "tests/storm/",
    "tests/e2e/test_kills",
    "tests/e2e/test_page.py",
    "tests/systemd/test_install.py",
    "tests/systemd/test_sandbox.py",
    "tests/engine/test_model.py",
    "tests/adapters/images/",
    "tests/adapters/api/",
    "tests/contract/",
    "tests/test_house.py",
    "tests/test_docs.py",
)
"""Beginnings of names. A long test that begins last is waited for by all but one worker."""

WAITING = ("tests/e2e/", "tests/faults/", "tests/trust/test_two_users_at_")
"""What waits for processes most of its time. Each of these tests is followed by its share of those of WORKING."""

WORKING = ("tests/engine/",)
"""What keeps a core busy all of its time."""

TOGETHER = (
    "tests/systemd/test_service.py",
    "tests/systemd/",
    "tests/service/test_samples.py",
    "tests/trust/test_a_day_of_swaps.py",
    "tests/e2e/test_page.py",
    "tests/test_house.py",
    "tests/test_docs.py",
)
"""Folders and files whose tests share what is dear to make: a machine with expandd installed, images, a browser, the
parsed source.

The machine is made twice, side by side: all of its tests in one row would be waited for at the end."""


FILE_BY_FILE = ("tests/adapters/", "tests/contract/", "tests/domain/", "tests/simulator/")
"""Whose tests are quick, or share the decoders of a module: to deal out each by itself takes as long as it does."""


class Together(LoadScopeScheduling):
    """Deals the tests out one by one, and by file or folder where that is said above.

    The mark xdist_group would say the same beside the tests; pytest 9 ignores the names by which xdist 3.8 keeps it.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(FILE_BY_FILE):
            return nodeid.partition("::")[0]
        return next((shared for shared in TOGETHER if nodeid.startswith(shared)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    # They are in the order in which they are to begin: the largest file is not the longest.
    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_configure() -> None:
    # Hundreds of processes are started from the same source: without byte code each compiles all of it again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Of what collecting makes, nothing is garbage: to look through it again and again is a third of its time.
    gc.disable()
    # A busy machine is no reason to fail: the slow examples are found by the time-out of the whole test.
    settings.register_profile("expandd", max_examples=examples(EVERY_DAY), deadline=None)
    settings.load_profile("expandd")


def pytest_collection_finish() -> None:
    gc.freeze()
    # Engines, event loops and their tasks come and go by the thousand, and hardly any is held by a cycle: to look for
    # cycles less often spares some 5 % of the engine tests' time. What is not closed is still found, a little later.
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real one, for all tests of this process; `postgres.database()` is the address of a new job database."""
    from tests.support.postgres import running  # noqa: PLC0415 - few tests need its client

    with running() as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not {"EXPANDD_CI", "EXPANDD_STORM"} & os.environ.keys():
        for item in items:
            if item.nodeid.startswith(LONG):
                item.add_marker(pytest.mark.skip(reason="takes long; EXPANDD_CI=1 runs it"))
    long = [item for begins in LONGEST for item in items if item.nodeid.startswith(begins)]
    left = [item for item in items if not item.nodeid.startswith(LONGEST)]
    groups = [[item for item in left if item.nodeid.startswith(begins)] for begins in (WAITING, WORKING)]
    beside = {item: at / len(group) for group in groups for at, item in enumerate(group)}
    items[:] = [*long, *sorted(beside, key=beside.__getitem__), *(item for item in left if item not in beside)]
