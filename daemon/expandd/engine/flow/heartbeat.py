"""Heartbeats of the engine's loops: a loop whose count stands still is stuck."""

from __future__ import annotations

import asyncio


class Heartbeat:
    """One loop's count. A loop that rests until something happens has an event, `wake`, by which it makes a round."""

    def __init__(self, allowance: float, wake: asyncio.Event | None = None) -> None:
        self.allowance = allowance
        """Seconds that one round may take before the loop counts as stuck."""
        self.rounds = 0
        self._wake = wake

    def __call__(self) -> None:
        """A round is made, or a step of a long one."""
        self.rounds += 1

    def nudge(self) -> None:
        """Ask a loop that has nothing to do for a round."""
        if self._wake is not None:
            self._wake.set()


class Heartbeats:
    """All loops that run now, by name. It has no clock: the caller says what time it is."""

    def __init__(self) -> None:
        self._loops: dict[str, Heartbeat] = {}
        self._seen: dict[str, tuple[int, float]] = {}

    def follow(self, name: str, heartbeat: Heartbeat) -> None:
        self._loops[name] = heartbeat
        self._seen.pop(name, None)

    def forget(self, name: str, heartbeat: Heartbeat) -> None:
        """The loop has ended; unless another one has its name by now."""
        if self._loops.get(name) is heartbeat:
            del self._loops[name]
            self._seen.pop(name, None)

    def nudge(self) -> None:
        for heartbeat in self._loops.values():
            heartbeat.nudge()

    def stale(self, now: float) -> tuple[str, ...]:
        """The loops that have made no round for longer than they may, by the times of the calls of this."""
        for name, heartbeat in self._loops.items():
            if self._seen.get(name, (-1, 0.0))[0] != heartbeat.rounds:
                self._seen[name] = (heartbeat.rounds, now)
        return tuple(name for name, heartbeat in self._loops.items() if now - self._seen[name][1] > heartbeat.allowance)
