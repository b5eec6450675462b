"""Access and refresh tokens of the one account: issue, check, rotate, revoke."""

import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum


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


class RefreshRefusal(Enum):
    """Why a refresh was refused. REUSED has also revoked every token."""

    UNKNOWN = "unknown"
    REUSED = "reused"
    EXPIRED = "expired"


class Tokens:
    """All pairs of the account. Not thread-safe: the owner holds a lock."""

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

    def rotate(self, access: str, refresh: str, now: float, life: float, grace: float) -> TokenPair | RefreshRefusal:
        """A new pair for an unspent one, whose access token lives on for `grace` seconds."""
        pair = self._pairs.get(refresh)
        if pair is not None and pair.spent:
            self._pairs.clear()
            return RefreshRefusal.REUSED
        if pair is None or pair.access != access:
            return RefreshRefusal.UNKNOWN
        if now >= pair.refresh_expires:
            return RefreshRefusal.EXPIRED
        self._pairs[refresh] = replace(pair, spent=True, access_expires=min(pair.access_expires, now + grace))
        return self.issue(now, life)

    def expire_access(self, now: float) -> None:
        """End every access token now; refresh tokens stay good."""
        self._pairs = {key: replace(pair, access_expires=now) for key, pair in self._pairs.items()}

    def revoke_all(self) -> None:
        self._pairs.clear()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
