"""Keeps a library from loading what it offers beside what is used here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """Have the modules count as not installed for whatever the body imports."""
    there = {name: sys.modules[name] for name in names if name in sys.modules}
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own word for "is not to be found"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(there)
