"""The Magic Expand API behind the engine's port: seven calls, each with a value or an error of the domain."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from expandd.adapters.api import errors, replies
from expandd.adapters.api.errors import Complaint, Endpoint
from expandd.adapters.api.http import DOWNLOAD_LIMIT, Http, MaybeReceivedError, NeverSentError, TransportError
from expandd.adapters.api.links import LinkRefusedError, LinkRule, host_of, is_local
from expandd.adapters.api.replies import Shape
from expandd.adapters.api.tokens import PairStore, TokenFile, Tokens
from expandd.adapters.api.transfer import opened_part
from expandd.adapters.bulkheads import Run, in_thread
from expandd.adapters.files.folder_errors import remedy
from expandd.adapters.files.roots import OpenFile, open_plainly
from expandd.domain.api_types import Account, Fetched, History, Uploaded
from expandd.domain.errors import AccountAway, Later, LinkDead
from expandd.domain.pauses import PauseReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from expandd.adapters.api.http import Download, Reply
    from expandd.adapters.api.replies import Answer
    from expandd.adapters.api.tokens import Clock, Secrets
    from expandd.domain.api_types import Notification
    from expandd.domain.offsets import Offsets
    from expandd.domain.settings import ApiSettings

    Send = Callable[[Mapping[str, str]], Awaitable[Reply]]
    Judge = Callable[[Reply], int]

UNAUTHORIZED = 401
WANTED = "expand_generate,error"
CONNECTIONS = 10
GZIP = b"\x1f\x8b"
WORTH_ANOTHER_TRY = frozenset({408, 425, 429})


class MagicExpand:
    """The Magic Expand API over HTTP; implements the engine's `Api`. Use as an async context manager.

    `credentials` is called at the first use and after each refused token. `state_dir` has the token pair. `open_file`
    opens the files to upload.
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        credentials: Callable[[], Secrets],
        state_dir: Path,
        clock: Clock,
        open_file: OpenFile = open_plainly,
        run: Run = in_thread,
        pairs: PairStore | None = None,
    ) -> None:
        self._run = run
        self.most_bytes = DOWNLOAD_LIMIT
        """Bytes of the largest result that is downloaded."""
        self._settings = settings
        self._clock = clock
        self._open_file = open_file
        relaxed = settings.allow_private_links or is_local(settings.base_url)
        rule = LinkRule(relaxed=relaxed)
        self._http = Http(settings.base_url, timeout=settings.timeout, connections=CONNECTIONS, rule=rule)
        pairs = pairs or TokenFile(state_dir, clock.sleep)
        self._tokens = Tokens(self._http, credentials=credentials, pairs=pairs, clock=clock)
        self._stack = AsyncExitStack()
        # Whether the API has accepted a paid call with the added fields.
        self._extra_taken = False

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._http)
        self._stack.push_async_callback(self._tokens.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def prepare(self) -> None:
        """Prepare the first call, which takes time."""
        await self._http.prepare()

    async def upload(self, source: Path, name: str) -> Uploaded:
        """Upload the file's bytes under a neutral name: the file's own name stays private.

        `name` is not sent; it is part of the port. Raises FileFault, AccountAway, Later.
        """
        del name
        digest = ""

        async def send(headers: Mapping[str, str]) -> Reply:
            nonlocal digest
            async with opened_part(source, self._open_file, self._run) as part:
                reply = await self._http.upload("/expand/target", part, headers=headers)
                digest = part.sha256
            return reply

        reply = await self._waited(Endpoint.UPLOAD, send)
        answer = _read(reply)
        self._require(Endpoint.UPLOAD, answer, reply)
        image_id = replies.upload_id(answer)
        if not image_id:
            raise errors.nonsense(Endpoint.UPLOAD, answer)
        return Uploaded(image_id=image_id, sha256=digest)

    async def generate(self, image_id: str, offsets: Offsets) -> str:
        """Make the paid call. It is sent once, and again only after a 401, which proves that nothing was made.

        Any 2xx is an acceptance, with any body or none. Returns the task id or "". Raises FileFault, ImageIdRefused and
        AccountAway where nothing was made, OutcomeUnknown where something may have been.
        """
        body = self._order(image_id, offsets)
        path = "/" + self._settings.generate_path.lstrip("/")

        async def send(headers: Mapping[str, str]) -> Reply:
            return await self._http.send("POST", path, headers=headers, body=body, once=True)

        try:
            reply = await self._authorised(send, judge=_bare_status)
        except NeverSentError as error:
            raise errors.unreached(Endpoint.GENERATE, error) from error
        except MaybeReceivedError as error:
            if error.status is not None and replies.is_success(error.status):
                return ""
            raise errors.lost(str(error)) from error
        return self._accepted(reply)

    def _order(self, image_id: str, offsets: Offsets) -> dict[str, object]:
        """The body of a paid call: five fields and the configured ones; never a null, which the API refuses."""
        five: dict[str, object] = {"id_image": image_id, **asdict(offsets)}
        extra = self._settings.generate_extra.items()
        return five | {key: value for key, value in extra if key not in five and value is not None}

    def _accepted(self, reply: Reply) -> str:
        answer = _read(reply)
        if replies.is_success(reply.status):
            self._extra_taken = True
            return replies.task_id(answer)
        refused_field = errors.refused_field(answer, self._settings.generate_extra, taken=self._extra_taken)
        if refused_field:
            raise errors.request_refused(answer, refused_field)
        raise errors.fault(Endpoint.GENERATE, answer, self._retry_after(reply))

    async def notifications(self, image_id: str = "") -> Sequence[Notification]:
        """Poll once, never twice: the caller keeps the interval. Raises AccountAway, and Later after a 401.

        An image that the API no longer knows has none.
        """
        body = {"name_list": WANTED} | ({"id_image": image_id} if image_id else {})
        endpoint = Endpoint.NOTIFICATIONS
        reply = await self._ask(endpoint, "POST", "/notification_by_name_json", body, repeat=False)
        answer = _read(reply)
        if image_id and _declines_image(answer):
            return ()
        self._require(endpoint, answer, reply)
        found = replies.notifications(answer)
        if found is None:
            raise errors.nonsense(endpoint, answer)
        return found

    async def delete_notification(self, number: int) -> None:
        """Delete one notification; it may have gone already. Raises AccountAway, Later."""
        reply = await self._ask(Endpoint.DELETE, "DELETE", "/notification/delete_json", {"id": number})
        answer = _read(reply)
        if answer.status not in errors.PATH_OR_IMAGE:
            self._require(Endpoint.DELETE, answer, reply)

    async def history(self, image_id: str) -> History:
        """The results of an image. `known` is False where the answer is ambiguous. Raises AccountAway."""
        body = {"id_image": image_id, "app": "expand"}
        reply = await self._ask(Endpoint.HISTORY, "POST", "/history", body)
        answer = _read(reply)
        if _declines(answer):
            return History(known=False)
        self._require(Endpoint.HISTORY, answer, reply)
        if answer.shape is not Shape.JSON or not isinstance(answer.value, dict | list | None):
            raise errors.nonsense(Endpoint.HISTORY, answer)
        return replies.history(answer)

    async def account(self) -> Account:
        """Credits and the server's clock. Raises AccountAway."""
        reply = await self._ask(Endpoint.ACCOUNT, "GET", "/me", None)
        answer = _read(reply)
        self._require(Endpoint.ACCOUNT, answer, reply)
        if not isinstance(answer.value, dict):
            raise errors.nonsense(Endpoint.ACCOUNT, answer)
        return Account(credits=replies.credits_of(answer), server_time=errors.http_date(reply.headers.get("date", "")))

    async def download(self, link: str, target: Path) -> Fetched:
        """Write a result to `target` and sync it, without a token. Raises LinkDead, Later, AccountAway (no room)."""
        try:
            found = await self._http.download(link, target, limit=self.most_bytes)
        except LinkRefusedError as error:
            raise LinkDead(str(error)) from error
        except TransportError as error:
            raise Later(f"The result cannot be fetched just now: {error}.") from error
        except OSError as error:
            raise AccountAway(
                PauseReason.STORAGE_UNAVAILABLE,
                f"The result cannot be stored in the state directory: {error.strerror or error}. To correct this, "
                f"{remedy(error)}; it is fetched by itself.",
            ) from error
        return _fetched(found, host_of(link), target)

    async def _authorised(self, send: Send, *, repeat: bool = True, judge: Judge | None = None) -> Reply:
        """Send with the current token, and after a 401 once more with another one. Raises AccountAway for a second 401.

        Raises Later instead of sending again where `repeat` is False. `judge` returns the status of an answer.
        """
        status = judge or _status
        token = await self._tokens.access()
        reply = await send(_bearer(token))
        if status(reply) != UNAUTHORIZED:
            return reply
        renewed = await self._tokens.renewed(token)
        if not repeat:
            raise Later("the token was renewed; the next call uses the new one")
        reply = await send(_bearer(renewed))
        if status(reply) == UNAUTHORIZED:
            raise self._tokens.rejected(f"a new token was refused too: {errors.heard(_read(reply))}")
        return reply

    async def _ask(
        self, endpoint: Endpoint, method: str, path: str, body: Mapping[str, object] | None, *, repeat: bool = True
    ) -> Reply:
        async def send(headers: Mapping[str, str]) -> Reply:
            return await self._http.send(method, path, headers=headers, body=body, repeat=repeat)

        return await self._waited(endpoint, send, repeat=repeat)

    async def _waited(self, endpoint: Endpoint, send: Send, *, repeat: bool = True) -> Reply:
        try:
            return await self._authorised(send, repeat=repeat)
        except TransportError as error:
            raise errors.unreached(endpoint, error) from error

    def _require(self, endpoint: Endpoint, answer: Answer, reply: Reply) -> None:
        if not answer.succeeded:
            raise errors.fault(endpoint, answer, self._retry_after(reply))
        if answer.shape is Shape.PAGE:
            raise errors.nonsense(endpoint, answer)

    def _retry_after(self, reply: Reply) -> float | None:
        server = errors.http_date(reply.headers.get("date", ""))
        now = self._clock.wall() if server is None else server
        return errors.retry_after(reply.headers.get("retry-after", ""), now)


def _status(reply: Reply) -> int:
    return _read(reply).status


def _bare_status(reply: Reply) -> int:
    """The HTTP status without the body, as a paid call with any 2xx was accepted."""
    return reply.status


def _read(reply: Reply) -> Answer:
    return replies.read(reply.status, reply.body, packed=reply.packed, location=reply.headers.get("location", ""))


def _bearer(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _declines(answer: Answer) -> bool:
    """Whether the API itself refuses to answer for this one image."""
    if answer.status in errors.PATH_OR_IMAGE:
        return errors.complaint(answer) is not Complaint.PATH
    return answer.status in errors.FILE_AT_FAULT and answer.shape is Shape.JSON


def _declines_image(answer: Answer) -> bool:
    return answer.status in errors.PATH_OR_IMAGE and errors.complaint(answer) is Complaint.IMAGE


def _fetched(found: Download, host: str, target: Path) -> Fetched:
    if found.status != replies.HTTP_OK:
        kind = Later if found.status in WORTH_ANOTHER_TRY or found.status >= 500 else LinkDead  # noqa: PLR2004 - statuses
        raise kind(f"{host} answered {found.status} instead of the result.")
    packed = found.head.startswith(GZIP)
    if not found.size or packed or found.head.lstrip()[:1] in (b"<", b"{"):
        target.unlink(missing_ok=True)
        what = "a packed file" if packed else "a page" if found.size else "nothing"
        raise (LinkDead if found.size else Later)(f"{host} sent {what} instead of the result.")
    return Fetched(bytes=found.size, sha256=found.sha256)
