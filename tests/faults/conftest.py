"""The simulator and a house of hot folders for each test, as in tests/e2e, and whether limits can be set."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import house, server
from tests.support.mounting import works

__all__ = ["house", "server"]


@pytest.fixture(scope="session")
def own_namespace() -> None:
    """Skip what needs limits of its own where the system does not grant them."""
    if not works("unshare", "--user", "--map-root-user", "sh", "-c", "echo 1 > /proc/sys/user/max_inotify_watches"):
        pytest.skip("the system allows no user namespaces")
