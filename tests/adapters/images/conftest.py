"""Decoders that the tests of a module share, as the images of a daemon do: a start takes longer than most tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from expandd.adapters.images.decoders import PillowImages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def images() -> AsyncIterator[PillowImages]:
    """Only for tests in the loop of their module."""
    async with PillowImages() as pillow:
        yield pillow
