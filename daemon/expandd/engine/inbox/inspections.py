"""Looks into the candidates of one inbox beside each other, so that a slow one holds up no other.

Each is looked into for a short time first; what takes longer goes on by itself, one after the other. A folder has only
so many looks under way, whatever lies in it: the decoders serve all folders.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from expandd.domain.settle import Look
from expandd.engine.inbox.candidates import Candidate, Candidates, Examined
from expandd.engine.ports import Clock, Images

SHORT = 2
"""Short looks under way at once."""
LONG = 1
"""Long ones beside them."""

WAIT = 5.0
"""Seconds after which one that waits for a place is looked at in any case: whoever was let in first may be gone."""

NEVER = float("inf")


class Looks:
    """The looks of one inbox. What one has found lies with its candidate, which is due then; `wake` is called."""

    def __init__(self, candidates: Candidates, images: Images, clock: Clock, wake: Callable[[], None]) -> None:
        self._candidates = candidates
        self._images = images
        self._clock = clock
        self._wake = wake
        self._begun: dict[Path, Candidate] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._short = _Queue(SHORT)
        self._long = _Queue(LONG)

    @property
    def begun(self) -> int:
        """How many are under way, or have found something that nobody has heeded yet."""
        self._begun = {
            relative: one
            for relative, one in self._begun.items()
            if (one.looking or one.examined is not None) and self._candidates.get(relative) is one
        }
        return len(self._begun)

    def begin(self, candidate: Candidate, path: Path, look: Look) -> None:
        """Look into it, as soon as there is a place."""
        queue = self._queue(candidate)
        if queue.under_way >= queue.most:
            queue.waiting[candidate.relative] = candidate
            candidate.due = self._clock.monotonic() + WAIT
            return
        candidate.due = NEVER
        queue.under_way += 1
        queue.waiting.pop(candidate.relative, None)
        candidate.looking = True
        self._begun[candidate.relative] = candidate
        task = asyncio.get_running_loop().create_task(self._look(candidate, path, look))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._over(candidate, queue)

        # Also where it is given up before it has begun.
        task.add_done_callback(over)

    def end(self) -> None:
        """Give up all that are under way."""
        for task in self._tasks:
            task.cancel()

    def _queue(self, candidate: Candidate) -> _Queue:
        return self._long if candidate.slow else self._short

    async def _look(self, candidate: Candidate, path: Path, look: Look) -> None:
        try:
            found = await self._images.examine(path, thorough=candidate.slow)
            candidate.examined = Examined(look, found)
        except Exception as error:  # noqa: BLE001, whoever asked for the look is given it
            candidate.examined = Examined(look, error)

    def _over(self, candidate: Candidate, queue: _Queue) -> None:
        candidate.looking = False
        queue.under_way -= 1
        candidate.due = self._clock.monotonic()
        self._let_in(queue)
        self._wake()

    def _let_in(self, queue: _Queue) -> None:
        while queue.waiting:
            relative, candidate = queue.waiting.popitem(last=False)
            if self._candidates.get(relative) is candidate:
                candidate.due = min(candidate.due, self._clock.monotonic())
                return


class _Queue:
    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way = 0
        self.waiting: OrderedDict[Path, Candidate] = OrderedDict()
