"""The simulator and a house of hot folders for each test, as in tests/e2e."""

from __future__ import annotations

from tests.e2e.conftest import house, server

__all__ = ["house", "server"]
