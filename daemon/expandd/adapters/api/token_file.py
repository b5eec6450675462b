"""Owns `tokens.json` in the state directory: the pair in use, written durably, under a lock between processes."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from expandd.adapters.json_text import read_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

LOCK_RETRY = 0.1
LOCK_TRIES = 1200
MODE = 0o600
REMEMBERED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A token pair in use, and whose it is.

    `fingerprint` is that of the configured credentials it descends from. `obtained` and `expires` (None: unknown)
    are seconds since the epoch. `sent` holds the sha256 of every refresh token that was ever sent, this one's from
    just before it is: such a token may be used up.
    """

    access_token: str
    refresh_token: str
    fingerprint: str
    obtained: float
    expires: float | None = None
    sent: tuple[str, ...] = ()

    @property
    def renewable(self) -> bool:
        """Whether the refresh token may be sent."""
        return bool(self.access_token and self.refresh_token) and not self.has_sent(self.refresh_token)

    def has_sent(self, refresh_token: str) -> bool:
        return _digest(refresh_token) in self.sent

    def marked(self) -> Pair:
        """This pair with its refresh token among those sent."""
        return replace(self, sent=(*self.sent, _digest(self.refresh_token))[-REMEMBERED:])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class TokenFile:
    """The file and its lock. All raise OSError when the state directory cannot be used."""

    def __init__(self, state_dir: Path, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._path = state_dir / "tokens.json"
        self._lock = state_dir / "tokens.lock"
        self._sleep = sleep

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep every other process out. Tried again and again: a thread waiting in flock could not be cancelled."""
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
        try:
            for _ in range(LOCK_TRIES):
                if _locked(fd):
                    break
                await self._sleep(LOCK_RETRY)
            else:
                raise TimeoutError("another process does not let go of tokens.lock")
            yield
        finally:
            os.close(fd)

    async def load(self) -> Pair | None:
        """The stored pair; None when there is none. Raises ValueError for a file that cannot be read as a pair."""
        return await asyncio.to_thread(self._load)

    def _load(self) -> Pair | None:
        try:
            with self._path.open("rb") as file:
                return _parsed(read_json(file))
        except FileNotFoundError:
            return None

    async def store(self, pair: Pair) -> None:
        """Replace the stored pair. Once this returns, it survives a power cut."""
        await asyncio.to_thread(self._store, pair)

    def _store(self, pair: Pair) -> None:
        temporary = self._path.with_suffix(".new")
        with suppress(FileNotFoundError):
            temporary.unlink()
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(asdict(pair)).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
        _sync_directory(self._path.parent)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _parsed(value: Any) -> Pair:
    if not isinstance(value, dict) or not {field.name for field in fields(Pair)} <= value.keys():
        raise ValueError("tokens.json does not hold a token pair")
    texts = [value[key] for key in ("access_token", "refresh_token", "fingerprint")]
    moments = [value["obtained"], value["expires"] or 0.0]
    texts += value["sent"] if isinstance(value["sent"], list) else [None]
    if not all(isinstance(text, str) for text in texts) or not all(type(at) in (int, float) for at in moments):
        raise ValueError("tokens.json does not hold a token pair")
    return Pair(
        access_token=texts[0],
        refresh_token=texts[1],
        fingerprint=texts[2],
        obtained=moments[0],
        expires=value["expires"],
        sent=tuple(value["sent"]),
    )
