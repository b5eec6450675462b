"""The ASGI application: finds the endpoint of a call, lets faults strike, counts, logs and answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from expandd.simulator.answers import RefusalError, spoiled, wrong_path, wrong_verb
from expandd.simulator.api import Api
from expandd.simulator.connection import DroppedError, gone, pause, reset
from expandd.simulator.control import Control
from expandd.simulator.faults import Endpoint, Fault, FaultKind, Moment
from expandd.simulator.links import Links
from expandd.simulator.state import State
from expandd.simulator.subjects import subject

Handler = Callable[[Request], Awaitable[Response]]

_CONTROL = "/practice/"


class Web:
    """Both hosts in one application, told apart by the port a call came in on."""

    def __init__(self, state: State, link_port: int, closing: asyncio.Event) -> None:
        self._state = state
        self._link_port = link_port
        self._closing = closing
        self._api = Api(state)
        self._control = Control(state)
        self._links = Links(state, closing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        request.state.arrived = time.monotonic()
        try:
            response = await self._answered(request)
            await response(scope, receive, send)
        except (DroppedError, ClientDisconnect):
            # Until the loop has told the server so, it would take the missing answer for a bug of ours.
            await gone(receive)

    async def _answered(self, request: Request) -> Response:
        endpoint: Endpoint | None = None
        try:
            endpoint, handler = self._route(request)
            response = await self._handled(request, endpoint, handler) if endpoint else await handler(request)
        except RefusalError as refusal:
            # A client still sending would see its connection break instead of reading why.
            await request.body()
            self._note_errors(refusal)
            response = refusal.answer()
        except ClientDisconnect as error:
            self._note(request, endpoint, "dropped")
            raise DroppedError("the client went away") from error
        # The server's own clock, as a client that compares clocks would see it.
        response.headers["Date"] = formatdate(self._state.clock.now(), usegmt=True)
        self._note(request, endpoint, str(response.status_code))
        return response

    def _route(self, request: Request) -> tuple[Endpoint | None, Handler]:
        """The endpoint and what serves it; RefusalError in the framework's words for a wrong path or verb."""
        path = request.url.path
        # The socket tells, not the Host header, which the client chooses.
        if request.scope["server"][1] == self._link_port:
            return Endpoint.LINK, self._links.get
        if path.startswith(_CONTROL):
            return None, self._control.handle
        verbs = self._table().get(path.removeprefix("/api")) if path.startswith("/api/") else None
        if verbs is None:
            raise wrong_path()
        if request.method not in verbs:
            raise wrong_verb(", ".join(verbs))
        return verbs[request.method]

    def _table(self) -> dict[str, dict[str, tuple[Endpoint, Handler]]]:
        with self._state.lock:
            generate_path = self._state.switches.generate_path
        return {
            "/expand/target": {"POST": (Endpoint.UPLOAD, self._api.upload)},
            generate_path: {"POST": (Endpoint.GENERATE, self._api.generate)},
            "/notification_by_name_json": {"POST": (Endpoint.POLL, self._api.poll)},
            "/notification/delete_json": {"DELETE": (Endpoint.DELETE, self._api.delete)},
            "/history": {"POST": (Endpoint.HISTORY, self._api.history)},
            "/me": {"GET": (Endpoint.ME, self._api.me)},
            "/tokens": {
                "POST": (Endpoint.LOGIN, self._api.login),
                "PUT": (Endpoint.REFRESH, self._api.refresh),
            },
        }

    async def _handled(self, request: Request, endpoint: Endpoint, handler: Handler) -> Response:
        self._note_authorization(request, endpoint)
        before = self._state.faults.take(endpoint, Moment.BEFORE)
        if endpoint is Endpoint.POLL and not (before and before.kind is FaultKind.UNAUTHORIZED):
            self._api.note_poll(request)
        if before is not None and before.kind is FaultKind.RESET:
            self._note(request, endpoint, "reset")
            raise reset(request)
        await request.body()
        about = await subject(self._state, request, endpoint) if self._state.faults.choosing else None
        if before is None and about is not None:
            before = self._state.faults.take_chosen(endpoint, about)
        if before is not None:
            spoilt = await self._spoilt(request, endpoint, before)
            if spoilt is not None:
                return spoilt
        # A refusal leaves here as an exception: what comes after is about work that was done.
        response = await handler(request)
        after = self._state.faults.take(endpoint, Moment.AFTER, about)
        return (await self._spoilt(request, endpoint, after) if after else None) or response

    async def _spoilt(self, request: Request, endpoint: Endpoint, fault: Fault) -> Response | None:
        """What the fault answers; None when it only took time. DroppedError when it cut the connection."""
        self._state.log(f"fault: {endpoint.value} {fault.kind.value}{'-after' if fault.after else ''}")
        if fault.kind is FaultKind.RESET:
            self._note(request, endpoint, "reset")
            raise reset(request)
        if fault.kind is not FaultKind.HANG:
            return spoiled(fault)
        if await pause(fault.seconds, self._closing, request.receive):
            return None
        self._note(request, endpoint, "dropped")
        raise reset(request)

    def _note_authorization(self, request: Request, endpoint: Endpoint) -> None:
        """Count a token sent where none belongs, whatever becomes of the call."""
        sent = "authorization" in request.headers
        with self._state.lock:
            self._state.counts.authorization_at_link_host += sent and endpoint is Endpoint.LINK
            self._state.counts.authorization_at_refresh += sent and endpoint is Endpoint.REFRESH

    def _note(self, request: Request, endpoint: Endpoint | None, status: str) -> None:
        if request.url.path.startswith(_CONTROL):
            return
        with self._state.lock:
            self._state.counts.note_call(endpoint.value if endpoint else "unknown", status)
            # The query of a link is its signature, which no log needs.
            self._state.log(f"{request.method} {request.url.path} {status}")

    def _note_errors(self, refusal: RefusalError) -> None:
        with self._state.lock:
            self._state.counts.note_errors(refusal.errors)
