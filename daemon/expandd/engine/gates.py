"""Owns the gates: reasons for which everything, or one folder, waits, and the gentle probing that opens them again."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from expandd.domain.backoff import ACCOUNT, FOLDER, Backoff
from expandd.domain.errors import (
    AccountAway,
    FileFault,
    FolderAway,
    GateReason,
    ImageIdRefused,
    OutcomeUnknown,
)
from expandd.domain.events import GateOpened, GateShut
from expandd.engine.ports import Chance, Clock, Emit

T = TypeVar("T")

PATIENCE = 3
"""Failures in a row, of whatever jobs, after which the service counts as unreachable for all."""

_SPENDING = frozenset({GateReason.CREDITS, GateReason.WRONG_PATH, GateReason.CANNOT_STORE})


@dataclass(frozen=True, slots=True)
class Shut:
    """Why and since when a gate is shut: wall time for people, monotonic seconds for the next probe."""

    reason: GateReason
    why: str
    since: float
    since_monotonic: float
    probe_at: float


class Gate:
    """Open, or shut until a probe gets through. While it is shut, one caller at a time may probe, ever more rarely."""

    def __init__(self, name: str, backoff: Backoff, clock: Clock, chance: Chance, emit: Emit) -> None:
        self.name = name
        self.shut: Shut | None = None
        self._backoff = backoff
        self._clock = clock
        self._chance = chance
        self._emit = emit
        self._failures = 0

    def wait(self) -> float:
        """Seconds until the caller may go ahead; 0 when it may now."""
        if self.shut is None:
            return 0.0
        return max(0.0, self.shut.probe_at - self._clock.monotonic())

    def enter(self) -> None:
        """Pass, as the probe if the gate is shut: the others wait for its outcome."""
        if self.shut is not None:
            self._probe_later(self.shut, self._backoff.cap)

    def failed(self, reason: GateReason, why: str, retry_after: float | None = None) -> None:
        """Count a failure. Some reasons shut the gate at once, an unreachable service only when it persists."""
        self._failures += 1
        if reason is GateReason.UNREACHABLE and self._failures < PATIENCE and self.shut is None:
            return
        seconds = self._backoff.wait(self._failures, self._chance.fraction())
        if retry_after is not None:
            seconds = max(retry_after, seconds)
        self._close(reason, why, seconds)

    def passed(self) -> None:
        """A call went well: what waited goes on."""
        self._failures = 0
        if self.shut is not None:
            waited = self._clock.monotonic() - self.shut.since_monotonic
            reason, self.shut = self.shut.reason, None
            self._emit(GateOpened(self.name, reason, waited))

    def _close(self, reason: GateReason, why: str, seconds: float) -> None:
        now = self._clock.monotonic()
        if self.shut is None or self.shut.reason is not reason:
            self.shut = Shut(reason, why, self._clock.wall(), now, now + seconds)
            self._emit(GateShut(self.name, reason, why))
        else:
            self._probe_later(self.shut, seconds)

    def _probe_later(self, shut: Shut, seconds: float) -> None:
        probe_at = self._clock.monotonic() + seconds
        self.shut = Shut(shut.reason, shut.why, shut.since, shut.since_monotonic, probe_at)


class Gates:
    """All gates: the service (every call), spending (uploads and paid calls), and one for each hot folder.

    `draining` is True from the start until the first poll, while an earlier run's paid results may wait to be
    fetched: nothing is paid before they are known. `stopping` ends all new work.
    """

    def __init__(self, clock: Clock, chance: Chance, emit: Emit) -> None:
        self._made = (clock, chance, emit)
        self.service = Gate("service", ACCOUNT, *self._made)
        self.spending = Gate("spending", ACCOUNT, *self._made)
        self._folders: dict[Path, Gate] = {}
        self.draining = False
        self.stopping = False

    def folder(self, inbox: Path) -> Gate:
        if inbox not in self._folders:
            self._folders[inbox] = Gate(f"folder {inbox}", FOLDER, *self._made)
        return self._folders[inbox]

    def account_failed(self, error: AccountAway) -> None:
        gate = self.spending if error.reason in _SPENDING else self.service
        gate.failed(error.reason, str(error), error.retry_after)

    def folder_failed(self, inbox: Path, error: FolderAway) -> None:
        self.folder(inbox).failed(error.reason, str(error))

    @staticmethod
    def enter(*gates: Gate) -> float:
        """Seconds until the caller may pass all of `gates`; 0 when it may now, as their probe if they are shut."""
        seconds = max(gate.wait() for gate in gates)
        if seconds == 0.0:
            for gate in gates:
                gate.enter()
        return seconds

    async def through(self, call: Awaitable[T]) -> T:
        """The outcome of an API call; whatever shows that the service serves opens its gate."""
        try:
            answer = await call
        except OutcomeUnknown as error:
            self.service.failed(GateReason.UNREACHABLE, str(error))
            raise
        except (FileFault, ImageIdRefused):
            self.service.passed()
            raise
        self.service.passed()
        return answer

    def claim_wait(self, inbox: Path) -> float:
        """Seconds until a file of this folder may be claimed."""
        return max(self.service.wait(), self.spending.wait(), self.folder(inbox).wait())

    def shut(self) -> tuple[Gate, ...]:
        gates = (self.service, self.spending, *self._folders.values())
        return tuple(gate for gate in gates if gate.shut is not None)
