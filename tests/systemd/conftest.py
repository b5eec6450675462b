"""A machine for the tests of the service, with expandd installed in it as systemd/README.md says.

Each process that runs such tests boots one; the first to need the program installs it, and the others take a copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import Machine, boot, copy_source, impossible_because
from tests.systemd.service import Service, index, install

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    why = impossible_because()
    if why and os.environ.get("EXPANDD_CI"):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    machine = boot(tmp_path_factory.mktemp("machine"))
    try:
        copy_source(ROOT, machine.directory / "share" / "expandd")
        install(machine, index(), _shared(tmp_path_factory) / "expandd")
        yield machine
    finally:
        machine.stop()


def _shared(factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of this run see."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """expandd.service, configured and stopped, with empty folders."""
    service = Service(machine)
    service.reset()
    yield service
    service.end()
