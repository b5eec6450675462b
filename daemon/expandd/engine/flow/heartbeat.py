"""Heartbeats of the engine's loops: a loop whose count stands still is stuck."""

from __future__ import annotations

import asyncio


class Heartbeat:
    """One loop's count of rounds. A loop that waits for events has one, `wake`, that makes it do a round."""

    def __init__(self, allowance: float, wake: asyncio.Event | None = None) -> None:
        self.allowance = allowance
        """Seconds that one round may take before the loop counts as stuck."""
        self.rounds = 0
        self._wake = wake

    def __call__(self) -> None:
        """Count a round, or a step of a long one."""
        self.rounds += 1

    def nudge(self) -> None:
        """Wake an idle loop for a round."""
        if self._wake is not None:
            self._wake.set()


class Heartbeats:
    """All running loops, by name. The caller passes the time in."""

    def __init__(self) -> None:
        self._loops: dict[str, Heartbeat] = {}
        self._seen: dict[str, tuple[int, float]] = {}

    def follow(self, name: str, heartbeat: Heartbeat) -> None:
        self._loops[name] = heartbeat
        self._seen.pop(name, None)

    def forget(self, name: str, heartbeat: Heartbeat) -> None:
        """Forget a loop that has ended, unless another one has its name by now."""
        if self._loops.get(name) is heartbeat:
            del self._loops[name]
            self._seen.pop(name, None)

    def nudge(self) -> None:
        for heartbeat in self._loops.values():
            heartbeat.nudge()

    def stale(self, now: float) -> tuple[str, ...]:
        """The loops without a round for longer than allowed, measured between the calls of this method."""
        for name, heartbeat in self._loops.items():
            if self._seen.get(name, (-1, 0.0))[0] != heartbeat.rounds:
                self._seen[name] = (heartbeat.rounds, now)
        return tuple(name for name, heartbeat in self._loops.items() if now - self._seen[name][1] > heartbeat.allowance)
