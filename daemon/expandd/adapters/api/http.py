"""The HTTP client, and the only module that knows httpx: sends, uploads and downloads without judging answers.

It speaks HTTP/1.1 only and never decompresses: limits count the received bytes. It repeats only free calls whose
kept-alive connection turned out to be dead. The environment sets a proxy (`HTTPS_PROXY`, `NO_PROXY`), except for an
API on this machine or network.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin

from expandd.adapters.api.links import LinkRefusedError, LinkRule, host_of, is_local, proxy_for
from expandd.adapters.api.transfer import opened_sink
from expandd.adapters.lean_import import absent, later
from expandd.domain.errors import ExpanddError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    import httpx

    from expandd.adapters.api.links import LinkRule
    from expandd.adapters.api.transfer import FilePart, Sink

if not TYPE_CHECKING:
    httpx = later("httpx")


class TransportError(ExpanddError):
    """HTTP itself failed; the message names the host and the cause, never a whole link."""


class NeverSentError(TransportError):
    """No byte of the request was sent: no name, no connection, no TLS, no free connection."""


class MaybeReceivedError(TransportError):
    """The request, or a part of it, was sent, and the answer was lost: a time-out, a reset, a broken protocol.

    `status` is that of an answer whose head arrived and whose body was lost; None where no head arrived.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TooLargeError(MaybeReceivedError):
    """The answer is larger than anything that this program requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def packed(self) -> bool:
        """Whether the body is compressed, although that was not requested; it is never decompressed."""
        return self.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """The outcome of a download. With status 200 the target has `size` bytes, synced; otherwise there is no target.

    `head` is the start of the body.
    """

    status: int
    size: int = 0
    sha256: str = ""
    head: bytes = b""


class Attempt:
    """The facts of one attempt: whether it opened a connection, whether anything was sent, which status came back.

    The first two come from httpcore's trace.
    """

    __slots__ = ("_rule", "connected", "sent", "status")

    def __init__(self, rule: LinkRule | None = None) -> None:
        self._rule = rule
        self.connected = False
        self.sent = False
        self.status: int | None = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.sent = True
        elif event == "connection.connect_tcp.complete":
            self.connected = True
            await self._verify(info["return_value"])

    async def _verify(self, stream: Any) -> None:
        if self._rule is None:
            return
        try:
            self._rule.check_peer(str(stream.get_extra_info("server_addr")[0]))
        except LinkRefusedError:
            await stream.aclose()
            raise


REPLY_LIMIT = 4 * 1024 * 1024
DOWNLOAD_LIMIT = 512 * 1024 * 1024
FLOOR_RATE = 8 * 1024
"""Bytes a second, each way, that all transfers together must move: a studio's share of a DSL or mobile line on a bad
day. A slower transfer counts as hung."""
GRACE = 3
"""Time-outs that a call may take in total before its transfer must keep the floor rate."""
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
KEEP_ALIVE = 15.0


class _Use(Enum):
    """The uses of connections; a call waits only for connections of its own use."""

    CALLS = "calls"
    SINGLE_CALLS = "calls on a connection of their own"
    """Calls that must not be repeated, or only at a high cost: on a kept connection, a server that just closed it looks
    like one that lost the answer."""
    UPLOADS = "uploads"
    """Separate, so that a paid call never waits for an upload."""
    LINKS = "result links"


class Http:
    """Connections to the API and, separately, to the hosts of result links. Use as an async context manager.

    Calls to the API name a path below `base_url`, so that no token goes elsewhere. `timeout` (seconds) bounds each
    connect, read, write and wait for a free connection; a whole call may take three times as long, and a transfer even
    longer while it keeps the floor rate. At most `connections` uploads and as many downloads run at once; further ones
    wait without a limit.
    """

    def __init__(
        self, base_url: str, *, timeout: float, connections: int, rule: LinkRule, floor_rate: float = FLOOR_RATE
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._connections = connections
        self._rule = rule
        self._up, self._down = (
            _Direction(connections, timeout, floor_rate),
            _Direction(connections, timeout, floor_rate),
        )
        self._proxies = not is_local(base_url)
        self._stack = AsyncExitStack()
        self._prepared: asyncio.Task[ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        # httpx logs every URL at INFO and httpcore every answer's headers at DEBUG, with signed links and cookies.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._clients: dict[tuple[_Use, str | None], httpx.AsyncClient] = {}
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def prepare(self) -> ssl.SSLContext:
        """Prepare the first call, which takes time: load httpx and the trusted certificates."""
        if self._prepared is None:
            self._prepared = asyncio.create_task(_loaded())
            self._stack.callback(self._prepared.cancel)
        try:
            return await asyncio.shield(self._prepared)
        except Exception:
            self._prepared = None
            raise

    def _proxy(self, url: str) -> str | None:
        return proxy_for(url) if self._proxies else None

    async def _client(self, use: _Use, url: str) -> httpx.AsyncClient:
        tls, proxy = await self.prepare(), self._proxy(url)
        if (use, proxy) not in self._clients:
            self._clients[use, proxy] = self._connecting(tls, proxy, kept=use is _Use.CALLS)
        return self._clients[use, proxy]

    def _of_transfers(self) -> httpx.Timeout:
        # The deadline bounds their reads and writes.
        return httpx.Timeout(self._timeout, read=None, write=None)

    def _connecting(self, tls: ssl.SSLContext, proxy: str | None, *, kept: bool) -> httpx.AsyncClient:
        limits = httpx.Limits(
            max_connections=self._connections,
            max_keepalive_connections=self._connections if kept else 0,
            keepalive_expiry=KEEP_ALIVE,
        )
        client = httpx.AsyncClient(
            auth=httpx.Auth(),  # sends nothing; without it, a URL's user name would become a header
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            headers={"User-Agent": "expandd", "Accept": "*/*", "Accept-Encoding": "identity"},
            limits=limits,
            proxy=proxy,
            timeout=self._timeout,
            trust_env=False,
            verify=tls,
        )
        self._stack.push_async_callback(client.aclose)
        return client

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: object = None,
        once: bool = False,
        repeat: bool = True,
    ) -> Reply:
        """Make one call, with `body` as JSON unless it is None; bytes are sent unchanged, with their type in `headers`.

        `once`: never repeated, on a connection of its own.

        Without `repeat` it uses a kept connection and is not repeated even where that turns out to be dead.

        Raises NeverSentError, MaybeReceivedError.
        """
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {**headers, "Content-Type": "application/json"}
        request = _Request(method, self._base_url + path, headers, body)
        attempt = Attempt()
        try:
            return await self._exchange(_Use.SINGLE_CALLS if once else _Use.CALLS, request, attempt)
        except MaybeReceivedError as error:
            dead = not attempt.connected and isinstance(error.__cause__, httpx.NetworkError | httpx.ProtocolError)
            if once or not repeat or not dead:
                raise
        return await self._exchange(_Use.SINGLE_CALLS, request, Attempt())

    async def _exchange(self, use: _Use, request: _Request, attempt: Attempt) -> Reply:
        client = await self._client(use, request.url)
        async with (
            _translated(request.url, attempt, self._proxy),
            asyncio.timeout(GRACE * self._timeout),
            client.stream(
                request.method,
                request.url,
                headers=request.headers,
                content=request.content,
                extensions={"trace": attempt.trace},
            ) as response,
        ):
            attempt.status = response.status_code
            return await _reply(response)

    async def upload(self, path: str, part: FilePart, *, headers: Mapping[str, str]) -> Reply:
        """POST a file as the part `file`. The time for its answer grows with its size.

        Sent bytes may still be on their way, and a proxy may forward them only when it has all.
        Raises NeverSentError, MaybeReceivedError, Later when the file cannot be read.
        """
        url = self._base_url + path
        client, attempt = await self._client(_Use.UPLOADS, url), Attempt()
        async with (
            _translated(url, attempt, self._proxy),
            self._up.deadline() as deadline,
            client.stream(
                "POST",
                url,
                headers={**headers, **part.headers},
                content=_handed_over(part, deadline),
                timeout=self._of_transfers(),
                extensions={"trace": attempt.trace},
            ) as response,
        ):
            return await _reply(response)

    async def download(self, url: str, target: Path, *, limit: int = DOWNLOAD_LIMIT) -> Download:
        """Download a link into `target` and sync it: no token, no cookie, each hop checked by the link rule.

        Raises LinkRefusedError, NeverSentError, MaybeReceivedError; OSError when `target` cannot be written.
        """
        for _ in range(MOST_REDIRECTS + 1):
            found = await self._hop(url, target, limit)
            if isinstance(found, Download):
                return found
            url = _led_to(url, found)
        raise LinkRefusedError("The link of the result leads from one place to the next without end.")

    async def _hop(self, url: str, target: Path, limit: int) -> Download | str:
        """Make one request of a download; returns its outcome, or the link of the next hop."""
        proxy = self._proxy(url)
        attempt = Attempt(None if proxy else self._rule)
        async with _translated(url, attempt, self._proxy), self._down.deadline() as deadline:
            client = await self._admitted(url, proxy)
            trace = {"trace": attempt.trace}
            async with client.stream("GET", url, timeout=self._of_transfers(), extensions=trace) as response:
                location: str = response.headers.get("location", "")
                if response.status_code in REDIRECTS and location:
                    return location
                if response.status_code != httpx.codes.OK:
                    return Download(status=response.status_code)
                return await _save(response, target, limit, deadline)

    async def _admitted(self, url: str, proxy: str | None) -> httpx.AsyncClient:
        """The client for a link that the rule allows."""
        try:
            await self._rule.check(url, proxied=proxy is not None)
        except OSError as error:
            raise NeverSentError(f"{host_of(url)} cannot be found: {error.strerror or error}") from error
        return await self._client(_Use.LINKS, url)


def _led_to(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise LinkRefusedError("The link of the result leads to what is not a link.") from error


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None


class _Direction:
    """One direction of the line, shared by the running transfers."""

    def __init__(self, places: int, timeout: float, floor_rate: float) -> None:
        self._places = asyncio.Semaphore(places)
        self._timeout = timeout
        self._floor_rate = floor_rate
        self._under_way: set[_Deadline] = set()

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[_Deadline]:
        """Wait until another transfer may begin; yields its deadline."""
        async with self._places, asyncio.timeout(GRACE * self._timeout) as end:
            mine = _Deadline(end, self._timeout, self._floor_rate)
            self._under_way.add(mine)
            try:
                for each in self._under_way:
                    each.shared_by(len(self._under_way))
                yield mine
            finally:
                self._under_way.discard(mine)


class _Deadline:
    """Ends a transfer that does not move, or that is slower overall than its share of the floor rate."""

    def __init__(self, end: asyncio.Timeout, timeout: float, floor_rate: float) -> None:
        self._end = end
        self._timeout = timeout
        self._floor_rate = floor_rate
        self._now = asyncio.get_running_loop().time
        self._in_all = self._now() + GRACE * timeout
        self._waits_for = 0
        self._shares = 1

    def moved(self, size: int) -> None:
        """Note that `size` bytes have moved, or are about to be sent."""
        self._in_all += self._seconds(size)
        self._wait(size)

    def answer(self, size: int) -> None:
        """Note that all of `size` is sent, though perhaps only to a buffer, and that the answer is awaited."""
        self._in_all = float("inf")
        self._wait(size)

    def shared_by(self, transfers: int) -> None:
        """Note how many transfers share the line now, as each then takes longer."""
        more, self._shares = transfers - self._shares, transfers
        when = self._end.when()
        if more > 0 and self._waits_for and when is not None and not self._end.expired():
            self._in_all += more * self._waits_for / self._floor_rate
            self._end.reschedule(when + more * self._waits_for / self._floor_rate)

    def _wait(self, size: int) -> None:
        self._waits_for = size
        self._end.reschedule(min(self._in_all, self._now() + self._timeout + self._seconds(size)))

    def _seconds(self, size: int) -> float:
        return size * self._shares / self._floor_rate


async def _handed_over(part: FilePart, deadline: _Deadline) -> AsyncIterator[bytes]:
    async for piece in part.body(deadline.moved):
        yield piece
    deadline.answer(part.size)


async def _reply(response: httpx.Response) -> Reply:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > REPLY_LIMIT:
            message = f"{response.url.host} answered with more than {REPLY_LIMIT} bytes"
            raise TooLargeError(message, response.status_code)
    headers = MappingProxyType({name.lower(): value for name, value in response.headers.items()})
    return Reply(status=response.status_code, headers=headers, body=bytes(body))


async def _save(response: httpx.Response, target: Path, limit: int, deadline: _Deadline) -> Download:
    head = b""
    async with opened_sink(target) as sink:
        async for piece in response.aiter_raw():
            deadline.moved(len(piece))
            head = (head + piece)[:16]
            await _bounded(sink, piece, limit, response.url.host)
        await sink.sync()
        return Download(status=response.status_code, size=sink.size, sha256=sink.sha256, head=head)


async def _bounded(sink: Sink, chunk: bytes, limit: int, host: str) -> None:
    if sink.size + len(chunk) > limit:
        raise TooLargeError(f"{host} sends more than {limit} bytes for one result")
    await sink.write(chunk)


async def _loaded() -> ssl.SSLContext:
    tls = await asyncio.to_thread(trusted)
    import anyio  # noqa: PLC0415 - httpx connects with it

    # It loads half of itself only with the first call.
    await anyio.lowlevel.checkpoint()
    return tls


@functools.cache
def trusted() -> ssl.SSLContext:
    """The trusted certificates of this machine, more than a hundred, read once for all clients of a process."""
    tls = ssl.create_default_context()
    # Importing httpx's command line would load rich and pygments.
    with absent("httpx._main"):
        httpx.AsyncHTTPTransport(verify=tls)
    return tls


def _in_words(error: BaseException) -> str:
    """The cause in the system's words, because "no attempt succeeded" does not help."""
    system, cause = "", error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            system = getattr(cause, "verify_message", "") or (cause.reason or "").replace("_", " ").lower()
        elif isinstance(cause, OSError) and cause.errno:
            # Name resolution has error numbers of its own; asyncio's messages contain addresses in Python's notation.
            system = os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        several = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else None
        cause = several or cause.__cause__ or cause.__context__
    return system or str(error).strip()


@asynccontextmanager
async def _translated(url: str, attempt: Attempt, proxy_of: Callable[[str], str | None]) -> AsyncIterator[None]:
    """Translate httpx's errors, by whether any byte was sent."""
    try:
        yield
    except (httpx.InvalidURL, UnicodeError) as error:
        raise LinkRefusedError("The link of the result is not a link.") from error
    except (httpx.HTTPError, TimeoutError) as error:
        why = "no answer in time" if isinstance(error, httpx.TimeoutException | TimeoutError) else _in_words(error)
        # At most a CONNECT for a proxy was sent then.
        on_the_way = isinstance(error, httpx.ProxyError | httpx.ConnectError | httpx.ConnectTimeout)
        left = attempt.sent and not on_the_way
        verb = "broke off" if left else "cannot be reached"
        proxy = proxy_of(url)
        through = f" through the proxy {host_of(proxy)}" if proxy else ""
        message = f"{host_of(url)} {verb}{through}: {why or type(error).__name__}"
        raise (MaybeReceivedError(message, attempt.status) if left else NeverSentError(message)) from error
