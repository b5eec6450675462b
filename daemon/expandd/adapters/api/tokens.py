"""Chooses the token of each call, renews the token pair, and keeps it in `tokens.json`.

A refresh token that is sent twice makes the API revoke every token of its user. So the store marks it as sent before it
is sent, and only an answer that proves that the API did not process it removes the mark.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

from expandd.adapters.api import errors, replies
from expandd.adapters.api.errors import Endpoint
from expandd.adapters.api.http import MaybeReceivedError, NeverSentError
from expandd.adapters.json_text import read_as, read_json, written
from expandd.domain.errors import AccountAway, ExpanddError
from expandd.domain.pauses import PauseReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
    from pathlib import Path
    from typing import Any

    from expandd.adapters.api.http import Http, Reply
    from expandd.adapters.api.replies import Answer


LOCK_RETRY = 0.1
LOCK_TRIES = 1200
MODE = 0o600
REMEMBERED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A token pair in use, and the credentials that it descends from.

    `fingerprint` is that of the configured credentials. `obtained` and `expires` (None: unknown) are seconds since the
    epoch. `sent` has the sha256 of every refresh token that was ever sent, including the current one from just before
    it is sent: these tokens may be used up.
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
        """This pair with its refresh token marked as sent."""
        return replace(self, sent=(*self.sent, _digest(self.refresh_token))[-REMEMBERED:])


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class PairStore(Protocol):
    """Stores the pair under a lock. All methods raise OSError when the store cannot be used."""

    def locked(self) -> AbstractAsyncContextManager[None]:
        """Hold the lock, which keeps all others out."""
        ...

    async def load(self) -> Pair | None:
        """The stored pair; None when there is none. Raises ValueError for what cannot be read as a pair."""
        ...

    async def store(self, pair: Pair) -> None:
        """Replace the stored pair. Once this returns, it survives a power cut."""
        ...


class TokenFile:
    """Stores the pair in a file under a lock. All methods raise OSError when the state directory cannot be used."""

    def __init__(self, state_dir: Path, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._path = state_dir / "tokens.json"
        self._lock = state_dir / "tokens.lock"
        self._sleep = sleep

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep every other process out, by repeated tries: a thread waiting in flock could not be cancelled."""
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
                return parsed_pair(read_json(file))
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
            file.write(json.dumps(written(pair)).encode())
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


def parsed_pair(value: Any) -> Pair:
    """A pair of which every field was written: one that lacks those sent would be sent again. Raises ValueError."""
    if not isinstance(value, dict) or not {field.name for field in fields(Pair)} <= value.keys():
        raise ValueError("tokens.json does not hold a token pair")
    return read_as(Pair, value)


DAY = 86400.0
AHEAD_OF_EXPIRY = 3 * DAY
AGE_TO_RENEW = 20 * DAY
"""The age in seconds at which a pair of unknown expiry is renewed; pairs live 30 days."""
AHEAD_PAUSE = 600.0
LOGIN_PAUSE = 300.0
"""Seconds before a login that was refused is tried again with the same e-mail and password."""
PATH = "/tokens"
GATEWAY_LOST = frozenset({502, 504})


class Clock(Protocol):
    """The clock that tokens need."""

    def wall(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Secrets(Protocol):
    """The configured credentials; "" for each missing one."""

    @property
    def access_token(self) -> str: ...
    @property
    def refresh_token(self) -> str: ...
    @property
    def email(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def correct(self) -> str:
        """A sentence that says how to correct them."""


class Tokens:
    """The token pair of one account, shared by every call of this process and kept on disk for the next one.

    `credentials` is called again after each refused token, so that a corrected source takes effect by itself.
    """

    def __init__(self, http: Http, *, credentials: Callable[[], Secrets], pairs: PairStore, clock: Clock) -> None:
        self._http = http
        self._credentials = credentials
        self._clock = clock
        self._file = pairs
        self._lock = asyncio.Lock()
        self._pair: Pair | None = None
        self._unsaved: Pair | None = None
        self._tasks: set[asyncio.Task[Pair]] = set()
        self._ahead_from = 0.0
        self._refused_login = ("", 0.0)
        self._correct = ""

    def rejected(self, why: str) -> AccountAway:
        """The error for refused credentials, with the place to correct those last tried."""
        return errors.rejected(why, self._correct) if self._correct else errors.rejected(why)

    async def close(self) -> None:
        """Wait for a running refresh: its pair must reach the disk."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def access(self) -> str:
        """The current access token, renewed ahead of its expiry. Raises AccountAway."""
        pair = self._pair or await self._finished(self._obtain(refused=None))
        # A clock that stepped back must not delay this for years.
        pausing = 0 < self._ahead_from - self._clock.wall() <= AHEAD_PAUSE
        if self._ends_soon(pair) and not pausing:
            pair = await self._renewed_ahead(pair)
        return pair.access_token

    async def renewed(self, refused: str) -> str:
        """An access token other than `refused`, which the API did not accept. Raises AccountAway."""
        return (await self._finished(self._obtain(refused=refused))).access_token

    def _ends_soon(self, pair: Pair) -> bool:
        now = self._clock.wall()
        if pair.expires is not None:
            # A crash during a renewal costs the pair, so a short-lived one is not renewed all the time.
            return now > pair.expires - min(AHEAD_OF_EXPIRY, (pair.expires - pair.obtained) / 10)
        return now > pair.obtained + AGE_TO_RENEW

    async def _renewed_ahead(self, pair: Pair) -> Pair:
        self._ahead_from = self._clock.wall() + AHEAD_PAUSE
        try:
            return await self._finished(self._obtain(refused=pair.access_token))
        except AccountAway:
            return pair  # it is valid for days yet; the error is reported when it has expired

    async def _finished(self, work: Coroutine[Any, Any, Pair]) -> Pair:
        """Run `work` to its end even if the caller is cancelled: a refresh cut off half-way costs the pair."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _obtain(self, refused: str | None) -> Pair:
        try:
            async with self._lock, self._file.locked():
                configured = self._configured()
                pair = await self._inherited(configured)
                if not pair.access_token or pair.access_token == refused:
                    pair = await self._replaced(pair, configured)
                self._pair = pair
                return pair
        except OSError as error:
            raise AccountAway(
                PauseReason.STORAGE_UNAVAILABLE,
                f"The token pair cannot be kept in the state directory ({error.strerror or error}). Make room "
                "there, or make it writable; everything goes on by itself.",
            ) from error

    def _configured(self) -> Secrets:
        try:
            found = self._credentials()
        except (ExpanddError, OSError, ValueError) as error:
            raise errors.rejected(f"it cannot be read: {error}") from error
        self._correct = found.correct
        return found

    async def _inherited(self, configured: Secrets) -> Pair:
        """The pair to start from: the stored one if it descends from the configured credentials, else theirs.

        It also descends where the configured refresh token is among those sent: then the token is used up, and only
        something else has changed there, such as an added password.
        """
        if self._unsaved is not None and self._unsaved.fingerprint == configured.fingerprint:
            return await self._kept(self._unsaved)
        try:
            stored = await self._file.load()
        except ValueError:
            # The lost file may have recorded that the configured refresh token is used up.
            return await self._adopted(configured, refresh_token="", sent=())
        if stored is None:
            return await self._adopted(configured, configured.refresh_token, sent=())
        if stored.fingerprint == configured.fingerprint:
            return stored
        if configured.refresh_token and stored.has_sent(configured.refresh_token):
            return await self._kept(replace(stored, fingerprint=configured.fingerprint))
        return await self._adopted(configured, configured.refresh_token, stored.sent)

    async def _adopted(self, configured: Secrets, refresh_token: str, sent: tuple[str, ...]) -> Pair:
        texts = (configured.access_token, refresh_token)
        if any(text and not replies.sendable(text) for text in texts):
            raise self.rejected("the configured token holds characters that no token has")
        pair = Pair(
            access_token=configured.access_token,
            refresh_token=refresh_token,
            fingerprint=configured.fingerprint,
            obtained=self._clock.wall(),
            sent=sent,
        )
        return await self._kept(pair) if pair.access_token else pair

    async def _kept(self, pair: Pair) -> Pair:
        """Store the pair before anything may use it. A failed write is tried again next time."""
        self._unsaved = pair
        await self._file.store(pair)
        self._unsaved = None
        return pair

    async def _replaced(self, pair: Pair, configured: Secrets) -> Pair:
        """A new pair, from the refresh token while it may be sent, else from e-mail and password."""
        if pair.renewable:
            fresh = await self._refreshed(pair)
            if fresh is not None:
                return fresh
        if configured.email and configured.password:
            return await self._logged_in(configured, pair)
        raise self.rejected(_why_not(pair))

    async def _refreshed(self, pair: Pair) -> Pair | None:
        """The pair that replaces `pair`; None when the API refused the token, or may have used it up without an answer.

        Then the mark stays, and the refresh token is never sent again. Raises AccountAway when the API certainly did
        not process it.
        """
        marked = pair.marked()
        await self._file.store(marked)
        body = {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
        try:
            reply = await self._http.send("PUT", PATH, headers={}, body=body, once=True)
        except NeverSentError as error:
            await self._file.store(pair)
            raise errors.unreached(Endpoint.TOKENS, error) from error
        except MaybeReceivedError:
            return None
        answer = replies.read(reply.status, reply.body, packed=reply.packed, location=reply.headers.get("location", ""))
        if _by_a_proxy(answer):
            await self._file.store(pair)
            return None
        if _not_handled(answer):
            await self._file.store(pair)
            raise errors.fault(Endpoint.TOKENS, answer, self._retry_after(reply))
        return await self._taken(answer, marked)

    async def _taken(self, answer: Answer, before: Pair) -> Pair | None:
        given = replies.token_pair(answer) if answer.succeeded else None
        if given is None:
            return None
        pair = Pair(
            access_token=given.access_token,
            refresh_token=given.refresh_token,
            fingerprint=before.fingerprint,
            obtained=self._clock.wall(),
            expires=given.access_expiration,
            sent=before.sent,
        )
        return await self._kept(pair)

    async def _logged_in(self, configured: Secrets, before: Pair) -> Pair:
        fingerprint, since = self._refused_login
        # A clock that stepped back to before the refusal ends the wait, as above.
        if fingerprint == configured.fingerprint and 0 <= self._clock.wall() - since < LOGIN_PAUSE:
            raise self.rejected("e-mail and password were refused a moment ago")
        try:
            reply = await self._http.send("POST", PATH, headers=_basic(configured), once=True)
        except (NeverSentError, MaybeReceivedError) as error:
            raise errors.unreached(Endpoint.TOKENS, error) from error
        answer = replies.read(reply.status, reply.body, packed=reply.packed, location=reply.headers.get("location", ""))
        pair = await self._taken(answer, before)
        if pair is None:
            raise self._login_fault(answer, reply, configured)
        return pair

    def _login_fault(self, answer: Answer, reply: Reply, configured: Secrets) -> ExpanddError:
        if answer.status in (400, 401, 403, 422) and answer.shape is not replies.Shape.PAGE:
            self._refused_login = (configured.fingerprint, self._clock.wall())
            return self.rejected(f"it answered {errors.heard(answer)} to e-mail and password")
        if answer.succeeded:
            return errors.nonsense(Endpoint.TOKENS, answer)
        return errors.fault(Endpoint.TOKENS, answer, self._retry_after(reply))

    def _retry_after(self, reply: Reply) -> float | None:
        return errors.retry_after(reply.headers.get("retry-after", ""), self._clock.wall())


def _by_a_proxy(answer: Answer) -> bool:
    """Whether a web page, not the API, refused the refresh. Then sending the token again does no harm."""
    return answer.status in (400, 401, 403, 407) and answer.shape is replies.Shape.PAGE


def _not_handled(answer: Answer) -> bool:
    """Whether an answer to a refresh proves that the token was not used up.

    It does where the request never reached the API, or where the API reported its own failure. A gateway's report of
    an upstream without an answer proves nothing.
    """
    status = answer.status
    if status in (404, 405):
        return errors.complaint(answer) is errors.Complaint.PATH
    reported_failure = status >= 500 and answer.shape is replies.Shape.JSON and bool(answer.texts)  # noqa: PLR2004 - as above
    redirected = 300 <= status < 400  # noqa: PLR2004 - as above
    return status in (429, 503) or redirected or (reported_failure and status not in GATEWAY_LOST)


def _basic(configured: Secrets) -> Mapping[str, str]:
    plain = f"{configured.email}:{configured.password}".encode("utf-8", "surrogateescape")
    return {"Authorization": f"Basic {base64.b64encode(plain).decode('ascii')}"}


def _why_not(pair: Pair) -> str:
    if not pair.access_token:
        return "there is none"
    return "the access token was refused, and no refresh token could renew it"
