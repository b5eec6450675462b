"""All that one simulator knows, behind one lock."""

import random
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from expandd.simulator.counts import Counts
from expandd.simulator.faults import FaultBox
from expandd.simulator.store import Store
from expandd.simulator.switches import Switches

Log = Callable[[str], None]


def silent(_: str) -> None:
    """A log that keeps nothing."""


class PracticeClock:
    """Seconds since the epoch plus an offset that a test can move. Safe to use from any thread."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward by so many seconds; ValueError for a step backwards."""
        # Stored lifetimes are pruned in order of time, which a step back would break.
        if not seconds >= 0:
            raise ValueError(f"the clock only moves forward, not by {seconds} s")
        with self._lock:
            self._offset += seconds


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access and a refresh token with their ends, in epoch seconds."""

    access: str
    refresh: str
    access_expires: float
    refresh_expires: float
    spent: bool = False

    def as_json(self) -> dict[str, str]:
        return {
            "access_token": self.access,
            "refresh_token": self.refresh,
            "access_expiration": _iso(self.access_expires),
            "refresh_expiration": _iso(self.refresh_expires),
        }


class RefreshRefusedError(Exception):
    """A refresh token is unknown, expired or reused; a reused one has also revoked every token."""


class Tokens:
    """All token pairs of the account. Not thread-safe: the owner holds a lock."""

    def __init__(self) -> None:
        self._pairs: dict[str, TokenPair] = {}

    def install(self, access: str, refresh: str, now: float, life: float) -> TokenPair:
        pair = TokenPair(access, refresh, now + life, now + life)
        self._pairs[refresh] = pair
        return pair

    def issue(self, now: float, life: float) -> TokenPair:
        # Random, not seeded: a client that kept a pair of an earlier server must not find it good here.
        return self.install(secrets.token_hex(20), secrets.token_hex(20), now, life)

    def valid(self, access: str, now: float) -> bool:
        return any(pair.access == access and now < pair.access_expires for pair in self._pairs.values())

    def rotate(self, access: str, refresh: str, now: float, life: float, grace: float) -> TokenPair:
        """A new pair for an unspent one, whose access token lives on for `grace` seconds; RefreshRefusedError."""
        pair = self._pairs.get(refresh)
        if pair is not None and pair.spent:
            self._pairs.clear()
            raise RefreshRefusedError("reused")
        if pair is None or pair.access != access:
            raise RefreshRefusedError("unknown")
        if now >= pair.refresh_expires:
            raise RefreshRefusedError("expired")
        self._pairs[refresh] = replace(pair, spent=True, access_expires=min(pair.access_expires, now + grace))
        return self.issue(now, life)

    def expire_access(self, now: float) -> None:
        """End every access token now; refresh tokens stay good."""
        self._pairs = {key: replace(pair, access_expires=now) for key, pair in self._pairs.items()}

    def revoke_all(self) -> None:
        self._pairs.clear()


class State:
    """What requests, the control door and a test in the same process share.

    Hold `lock` while reading or changing anything but `clock` and `faults`, which lock themselves.
    """

    def __init__(self, switches: Switches, log: Log = silent) -> None:
        self.lock = threading.RLock()
        self.switches = switches
        self.clock = PracticeClock()
        self.faults = FaultBox(switches.seed)
        self.counts = Counts()
        self.store = Store(switches.credits)
        self.tokens = Tokens()
        self.random = random.Random(switches.seed)  # noqa: S311 - repeatable on purpose
        self.link_url = ""
        self.last_poll: float | None = None
        self.log = log
        if switches.access_token is not None and switches.refresh_token is not None:
            self.tokens.install(switches.access_token, switches.refresh_token, self.clock.now(), switches.token_life)

    def settled(self) -> float:
        """The time now, after everything due by then has happened."""
        now = self.clock.now()
        self.store.settle(now, self.switches)
        return now


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
