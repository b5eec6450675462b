"""Owns the page's password: HTTP Basic, whatever the user name, read from its file at each use."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from pathlib import Path

MOST = 4096
"""Bytes of the file that are read."""


class PasswordAway(Exception):
    """The file cannot be read or is empty: nobody comes in."""


class Password:
    """What lets people in. A wrong one costs `delay` seconds, one after the other, which no right one waits for."""

    def __init__(self, path: Path, delay: float = 1.0) -> None:
        self._path = path
        self._delay = delay
        self._turn = asyncio.Lock()

    async def accepts(self, header: str | None) -> bool:
        """Whether an Authorization header holds the password. Raises PasswordAway."""
        expected = await asyncio.to_thread(self._read)
        given = _given(header)
        if given is None:
            return False
        # Digests have one length, so that the comparison tells nothing of the password's.
        if hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest()):
            return True
        async with self._turn:
            await asyncio.sleep(self._delay)
        return False

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
