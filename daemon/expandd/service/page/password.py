"""Owns the page's password: HTTP Basic, whatever the user name, read from its file at each use."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

MOST = 4096
"""Bytes of the file that are read."""
FEW = 5
"""Wrong passwords that a peer may give before it is told to come later."""
FORGOTTEN = 10.0
"""Seconds after which one of them is forgotten."""
MOST_PEERS = 256


class Verdict(Enum):
    """What a request's password is worth."""

    RIGHT = auto()
    ASKED = auto()
    """None, or a wrong one: a person is asked for it."""
    TOO_MANY = auto()
    """A wrong one, after too many of the same peer."""


class PasswordAway(Exception):
    """The file cannot be read or is empty: nobody comes in."""


class Guesses:
    """How many wrong passwords each peer has given of late; of the peers that have, only the latest are known."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until: OrderedDict[str, float] = OrderedDict()

    def one_more(self, peer: str) -> bool:
        """Count a wrong password; whether these are too many now."""
        now = self._now()
        until = max(now, self._until.pop(peer, now)) + FORGOTTEN
        too_many = until > now + FEW * FORGOTTEN
        self._until[peer] = until - FORGOTTEN if too_many else until
        if len(self._until) > MOST_PEERS:
            self._until.popitem(last=False)
        return too_many


class Password:
    """What lets people in. Wrong ones beyond a few are told so; a right one waits for none of them."""

    patience = math.ceil(FORGOTTEN)
    """Seconds after which somebody who gave too many may give one more."""

    def __init__(self, path: Path, guesses: Guesses | None = None) -> None:
        self._path = path
        self._guesses = guesses or Guesses()

    async def judge(self, header: str | None, peer: str) -> Verdict:
        """What an Authorization header of `peer` is worth. Raises PasswordAway."""
        expected = await asyncio.to_thread(self._read)
        given = _given(header)
        if given is None:
            return Verdict.ASKED
        # Digests have one length, so that the comparison tells nothing of the password's.
        if hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest()):
            return Verdict.RIGHT
        return Verdict.TOO_MANY if self._guesses.one_more(peer) else Verdict.ASKED

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                found = file.read(MOST)
        except OSError as error:
            raise PasswordAway(f"the password file cannot be read: {error.strerror}") from error
        password = found.splitlines()[0] if found.strip() else b""
        if not password:
            raise PasswordAway("the first line of the password file is empty")
        return password


def _given(header: str | None) -> bytes | None:
    scheme, _, credentials = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return password if colon else None
