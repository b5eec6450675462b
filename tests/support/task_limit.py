"""A limit of threads and processes for a program and what it starts, as TasksMax= of a unit makes it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PATIENCE = 10.0
LOOK = 0.02

_PLACES = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))


@cache
def _place() -> Path | None:
    """Where groups can be made whose tasks are limited."""
    for place in _PLACES:
        group = place / f"expandd-try-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            limited = (group / "pids.max").exists()
            group.rmdir()
            if limited:
                return place
    return None


@pytest.fixture(scope="session")
def task_limits() -> None:
    if _place() is None:
        pytest.skip("limiting tasks needs root and a group of the kernel's")


needs_task_limit = pytest.mark.usefixtures("task_limits")


@dataclass(frozen=True, slots=True)
class TaskLimit:
    group: Path

    def around(self, program: Sequence[str]) -> list[str]:
        """The command line that runs the program under this limit."""
        return ["sh", "-c", f'echo $$ > {self.group}/cgroup.procs; exec "$@"', "sh", *program]

    def leave(self, more: int) -> None:
        """Let so many be started beside those that there are."""
        self.most(int((self.group / "pids.current").read_text()) + more)

    def most(self, number: int | None) -> None:
        (self.group / "pids.max").write_text("max" if number is None else str(number))


@contextmanager
def task_limit() -> Iterator[TaskLimit]:
    """No limit yet; gone again at the end, when all that ran under it must have ended."""
    place = _place()
    assert place is not None
    group = place / f"expandd-{os.getpid()}"
    group.mkdir()
    try:
        yield TaskLimit(group)
    finally:
        deadline = time.monotonic() + PATIENCE
        # A decoder ends a moment after its daemon.
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(LOOK)
        group.rmdir()
