"""Owns sending to a webhook: one signed request, and what its answer means."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from http import HTTPStatus
from urllib.parse import urlsplit

from expandd.adapters.api.http import Http
from expandd.adapters.api.links import LinkRefusedError, LinkRule, host_of
from expandd.adapters.api.transport import TransportError
from expandd.domain.hook import Facts, HookFailed
from expandd.domain.settings import Hook

SIGNATURE = "X-Expandd-Signature"
TIMESTAMP = "X-Expandd-Timestamp"
EVENT = "X-Expandd-Event"

MOST_SECRET = 1 << 16

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


async def post(hook: Hook, facts: Facts, now: float) -> None:
    """POST the facts as JSON, signed at `now` (seconds since the epoch) with the secret as its file holds it now.

    Raises HookFailed: `again` when the network failed, or the server may take it later.
    """
    headers = {"Content-Type": "application/json", EVENT: facts.event, TIMESTAMP: str(int(now))}
    secret = await asyncio.to_thread(_secret, hook)
    if secret:
        headers[SIGNATURE] = signature(secret, headers[TIMESTAMP], facts.json)
    host = host_of(hook.url)
    try:
        status = await _status(hook, facts.json, headers)
    except TransportError as error:
        raise HookFailed(f"{error}.", again=True) from error
    except TimeoutError as error:
        raise HookFailed(f"{host} gave no answer within {hook.timeout:g} s.", again=True) from error
    except LinkRefusedError as error:
        raise HookFailed(f"The address of {host} is none that can be called.") from error
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        again = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER
        raise HookFailed(f"{host} answered with status {status}.", again=again)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What the receiver computes too: sha256=, then in hex the HMAC of the timestamp, a dot and the body."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _secret(hook: Hook) -> bytes:
    """The secret without white space around it; nothing when no file is named."""
    if hook.secret_file is None:
        return b""
    try:
        with hook.secret_file.open("rb") as file:
            secret = file.read(MOST_SECRET).strip()
    except OSError as error:
        raise HookFailed(f"The secret_file cannot be read: {os.strerror(error.errno or 0)}.", again=True) from error
    if not secret:
        raise HookFailed("The secret_file is empty: nothing is sent without a signature.", again=True)
    return secret


async def _status(hook: Hook, body: bytes, headers: dict[str, str]) -> int:
    parts = urlsplit(hook.url)
    path = parts._replace(scheme="", netloc="").geturl()
    base = f"{parts.scheme}://{parts.netloc}"
    async with (
        asyncio.timeout(hook.timeout),
        Http(base, timeout=hook.timeout, connections=1, rule=LinkRule(relaxed=False)) as http,
    ):
        # A connection of its own: one that is kept may be dead, and events are rare.
        return (await http.send("POST", path, headers=headers, body=body, once=True)).status
