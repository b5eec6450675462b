"""A workshop for each test that asks for one, on a file system whose syncs cost nothing."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.workshop import Workshop

MEMORY = Path("/dev/shm")


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory in memory where there is one: an engine test makes thousands of syncs and is about none of them."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
async def make_workshop(ground: Path) -> AsyncIterator[Callable[..., Workshop]]:
    """Builds a workshop; the test starts it. An engine that died, or met a bug, fails the test at its end."""
    async with AsyncExitStack() as stack:

        def make(**options: object) -> Workshop:
            workshop = Workshop(ground, **options)  # type: ignore[arg-type]  # keywords of any type
            stack.push_async_callback(workshop.close)
            return workshop

        yield make


@pytest.fixture
def workshop(make_workshop: Callable[..., Workshop]) -> Workshop:
    return make_workshop()
