"""The measuring of a process and all its descendants: processor time, memory and wake-ups, from /proc."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", int, float)

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = 0.1
"""Seconds between two looks at the memory."""


@dataclass(slots=True)
class Usage:
    """What a process tree used while it was watched."""

    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of processor time, of children that have ended too."""
    peak: int = 0
    """Bytes: the largest sum of the proportional set sizes seen. What processes share counts once."""
    wakeups: int = 0

    @property
    def megabytes(self) -> float:
        return self.peak / 1e6


def family(root: int) -> list[int]:
    """The process and all its descendants that live now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += parents.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """Processor time of the tree so far: of the living, and of the dead that somebody in it has waited for."""
    ticks = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(pid)[11:15])
    return ticks / TICKS


def memory(root: int) -> int:
    """Bytes that the tree has in memory now, shared pages counted once among those who share them."""
    total = 0
    for pid in family(root):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return total


def wakeups(root: int) -> int:
    """How often a thread of the tree has gone to sleep of its own accord, which is how often one was woken."""
    total = 0
    for pid in family(root):
        for task in Path(f"/proc/{pid}/task").glob("*/status"):
            with contextlib.suppress(OSError):
                lines = task.read_text(encoding="utf-8", errors="replace").splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
    return total


@contextmanager
def watched(root: int, *also: int) -> Iterator[Usage]:
    """Measure these trees from here to the end of the block, which must come before they die."""
    usage, roots = Usage(), (root, *also)
    over = threading.Event()

    def sample() -> None:
        while True:
            usage.peak = max(usage.peak, _sum(memory, roots))
            if over.wait(SAMPLE):
                return

    began, cpu, woken = time.monotonic(), _sum(cpu_seconds, roots), _sum(wakeups, roots)
    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield usage
    finally:
        usage.seconds = time.monotonic() - began
        usage.cpu = _sum(cpu_seconds, roots) - cpu
        usage.wakeups = _sum(wakeups, roots) - woken
        over.set()
        sampler.join()


def _sum(measure: Callable[[int], N], roots: tuple[int, ...]) -> N:
    return sum(measure(root) for root in roots)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: parent at 1, processor times at 11 to 14."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
