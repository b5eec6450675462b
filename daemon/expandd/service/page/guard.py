"""Guards the page: Host, origin of forms, password; and the headers of each answer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from enum import Enum, auto
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from expandd.adapters.config.addresses import Address, is_ip, is_loopback
from expandd.domain.errors import ExpanddError
from expandd.service.observability.logs import Logger
from expandd.service.observability.redaction import safe_text

MOST = 4096
"""Bytes of the file that are read."""
FEW = 5
"""Wrong passwords of a peer before it is refused for a while."""
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
    """Checks passwords. A peer with too many wrong ones is refused for a while; a right one never waits."""

    patience = math.ceil(FORGOTTEN)
    """Seconds after which somebody who gave too many may give one more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guesses = Guesses()

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


HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it browsers send "Origin: null" with our own forms, and the check of it would be worth less.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
READING = frozenset({"GET", "HEAD"})
ALWAYS = frozenset({"localhost", "127.0.0.1", "::1"})
HEALTH = "/healthz"
"""The path that tells any client, without a password or host check, whether expandd works, and nothing else."""
ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104, compared with, not listened on


class Guard:
    """Passes permitted requests to `app`; others get a sentence."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        address: Address,
        hosts: Iterable[str],
        password: Password | None,
        log: Logger,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._app = app
        self._alive = alive
        self._names = {host.lower() for host in (*hosts, *ALWAYS, address.host) if host}
        self._any_address = address.host in ANYWHERE
        self._password = password
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def answer(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            at_once = self._health(scope) or await self._refusal(
                scope["method"], Headers(scope=scope), scope.get("client")
            )
            await (at_once or self._app)(scope, receive, answer)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as error:  # noqa: BLE001, the page may fail, the work goes on
            await self._failed(error, scope, receive, None if began else answer)

    def _health(self, scope: Scope) -> Response | None:
        if scope["path"] != HEALTH or scope["method"] not in READING:
            return None
        return PlainTextResponse("alive\n") if self._alive() else PlainTextResponse("a part of expandd is stuck\n", 503)

    async def _failed(self, error: Exception, scope: Scope, receive: Receive, answer: Send | None) -> None:
        if isinstance(error, ExpanddError | TimeoutError):
            self._log.warning("page.cannot_tell", why=str(error) or "a folder or disk does not answer")
        else:
            self._log.error("page.bug_found", exc_info=error)
        if answer is not None:
            why = safe_text(str(error)) if isinstance(error, ExpanddError) else "See the log of expandd."
            said = f"The page cannot show the state just now; the work goes on. {why}\n"
            await PlainTextResponse(said, 503)(scope, receive, answer)

    async def _refusal(self, method: str, headers: Headers, client: tuple[str, int] | None) -> Response | None:
        if not self._knows(headers.get("host", "")):
            return PlainTextResponse(
                "This page does not answer to that name. If the name is yours, add it to page.hosts in the "
                "configuration of expandd and restart it.\n",
                421,
            )
        if method not in READING and _from_elsewhere(headers):
            return PlainTextResponse("Refused: this was sent by another site. Nothing was changed.\n", 403)
        return await self._locked_out(headers, client[0] if client else "")

    async def _locked_out(self, headers: Headers, peer: str) -> Response | None:
        if self._password is None:
            return None
        try:
            verdict = await self._password.judge(headers.get("authorization"), peer)
        except PasswordAway as error:
            self._log.error("page.locked", why=str(error))
            return PlainTextResponse("Nobody can log in: see the log of expandd for its password file.\n", 503)
        if verdict is Verdict.TOO_MANY:
            again = {"Retry-After": str(self._password.patience), "Connection": "close"}
            return PlainTextResponse("Too many wrong passwords came from there.\n", 429, again)
        if verdict is Verdict.ASKED:
            challenge = {"WWW-Authenticate": 'Basic realm="expandd", charset="UTF-8"'}
            return PlainTextResponse("This page asks for its password; the user name is free.\n", 401, challenge)
        return None

    def _knows(self, host: str) -> bool:
        # A name can be made to lead here by anybody who owns it; an address leads where it leads.
        name = host_name(host)
        return name in self._names or (self._any_address and (is_ip(name) or is_loopback(name)))


def host_name(host: str) -> str:
    """The name or address in a Host header, without its port and brackets, in small letters."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _from_elsewhere(headers: Headers) -> bool:
    """Whether the browser says that another site sent this. What says nothing is no browser; it needs the token."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site != "same-origin":
        return True
    if origin is None or (origin == "null" and site == "same-origin"):
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True
