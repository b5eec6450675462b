"""The ASGI application: finds the endpoint of a call, lets faults strike, counts, logs and answers.

Also what is around it: the line that all calls share, and the control below `/simulator`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal, InvalidOperation
from email.utils import formatdate
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from expandd.simulator.api import Api, Handler, Links
from expandd.simulator.faults import Endpoint, Fault, FaultKind, Moment, Subject, fault_from_json
from expandd.simulator.http import (
    DroppedError,
    RefusalError,
    gone,
    is_cut,
    pause,
    read_file,
    reset,
    spoiled,
    wrong_path,
    wrong_verb,
)
from expandd.simulator.state import State
from expandd.simulator.switches import with_json

_PIECE = 4096
"""Bytes after which another connection has its turn."""


class Line:
    """One direction of the line between clients and API, shared by all connections.

    `rate` tells bytes per second as they stand; 0 is no limit.
    """

    def __init__(self, rate: Callable[[], float]) -> None:
        self._rate = rate
        self._free = 0.0

    async def carry(self, body: bytes, cut: Callable[[], bool]) -> AsyncIterator[bytes]:
        """`body` in pieces, each once it has passed; what nobody waits for any more (`cut`) does not use the line."""
        passed = time.monotonic()
        step = _PIECE if self._rate() else len(body)
        for start in range(0, len(body), step or 1):
            piece, rate = body[start : start + step], self._rate()
            if rate and not cut():
                # After the piece before, not from now: what the loop is late by is no time of the line.
                passed = self._free = max(self._free, passed) + len(piece) / rate
                await asyncio.sleep(passed - time.monotonic())
            yield piece


def through(up: Line, down: Line, receive: Receive, send: Send, cut: Callable[[], bool]) -> tuple[Receive, Send]:
    """The two ends of one call, at the far end of the line."""

    async def received() -> Message:
        message = await receive()
        async for _ in up.carry(message.get("body", b""), cut):
            pass
        return message

    async def sent(message: Message) -> None:
        if not message.get("body"):
            await send(message)
            return
        left = len(message["body"])
        async for piece in down.carry(message["body"], cut):
            left -= len(piece)
            await send({**message, "body": piece, "more_body": bool(left) or message.get("more_body", False)})

    return received, sent


def _add_faults(state: State, value: Any) -> None:
    for fault in [fault_from_json(item) for item in (value if isinstance(value, list) else [value])]:
        state.faults.add(fault)


def _change_switches(state: State, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {value!r}")  # noqa: TRY004 - an edge: one error type
    state.switches = with_json(state.switches, value)


def _set_credits(state: State, value: Any) -> None:
    state.store.credits = Decimal(str(_field(value, "credits")))


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"expected an object with {name!r}, got {value!r}")
    return value[name]


_VIEWS: dict[str, Callable[[State], Any]] = {
    "faults": lambda state: [fault.as_json() for fault in state.faults.listed()],
    "switches": lambda state: state.switches.as_json(),
    "clock": lambda state: {"now": state.clock.now()},
    "credits": lambda state: {"credits": str(state.store.credits)},
    "counts": lambda state: state.counts.as_json(),
}
_CHANGES: dict[tuple[str, str], Callable[[State, Any], None]] = {
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): lambda state, _: state.faults.clear(),
    ("POST", "switches"): _change_switches,
    ("POST", "clock"): lambda state, value: state.clock.advance(float(_field(value, "advance"))),
    ("POST", "expire-tokens"): lambda state, _: state.tokens.expire_access(state.clock.now()),
    ("POST", "revoke-tokens"): lambda state, _: state.tokens.revoke_all(),
    ("POST", "credits"): _set_credits,
}


class Control:
    """What is below `/simulator`: a GET answers how things stand, any other verb changes them and then answers that.

    A body that cannot be used is refused with 400.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def handle(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/simulator/")
        change = _CHANGES.get((request.method, path))
        if change is None and not (request.method == "GET" and path in _VIEWS):
            raise wrong_path()
        try:
            value = json.loads(await request.body() or b"null")
            with self._state.lock:
                if change is not None:
                    change(self._state, value)
                return JSONResponse(_VIEWS[path](self._state) if path in _VIEWS else {})
        except (ValueError, TypeError, InvalidOperation) as error:
            raise RefusalError(400, str(error)) from error


_CONTROL = "/simulator/"


class Web:
    """Both hosts in one application, told apart by the port a call came in on."""

    def __init__(self, state: State, link_port: int, closing: asyncio.Event) -> None:
        self._state = state
        self._link_port = link_port
        self._closing = closing
        self._api = Api(state)
        self._control = Control(state)
        self._links = Links(state, closing)
        self._up = Line(lambda: state.switches.uplink)
        self._down = Line(lambda: state.switches.downlink)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(_CONTROL):
            call = Request(scope)
            receive, send = through(self._up, self._down, receive, send, lambda: is_cut(call))
        request = Request(scope, receive, send)
        request.state.arrived = time.monotonic()
        request.state.too_soon = False
        try:
            response = await self._answered(request)
            await response(scope, receive, send)
        except (DroppedError, ClientDisconnect):
            # Until the loop has told the server so, it would take the missing answer for a bug of ours.
            await gone(receive)

    async def _answered(self, request: Request) -> Response:
        """The answer, counted and logged; DroppedError, counted and logged too, when there is none."""
        endpoint: Endpoint | None = None
        try:
            endpoint, handler = self._route(request)
            response = await (self._struck(request, endpoint, handler) if endpoint else handler(request))
        except RefusalError as refusal:
            # A client still sending would see its connection break instead of reading why.
            await request.body()
            with self._state.lock:
                self._state.counts.note_errors(refusal.errors)
            response = refusal.answer()
        except (DroppedError, ClientDisconnect) as error:
            self._note(request, endpoint, str(error) or "dropped")
            raise
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
        verbs = self._api.routes().get(path.removeprefix("/api")) if path.startswith("/api/") else None
        if verbs is None:
            raise wrong_path()
        if request.method not in verbs:
            raise wrong_verb(", ".join(verbs))
        return verbs[request.method]

    async def _struck(self, request: Request, endpoint: Endpoint, handler: Handler) -> Response:
        """The handler's answer, or what the faults of this call make of it."""
        faults = self._state.faults
        self._note_authorization(request, endpoint)
        before = faults.take(endpoint, Moment.BEFORE)
        if endpoint is Endpoint.POLL and not (before and before.kind is FaultKind.UNAUTHORIZED):
            self._api.note_poll(request)
        if before is not None and before.kind is FaultKind.RESET:
            raise reset(request)  # while the client is still sending
        await request.body()
        subject = await self._subject(request, endpoint)
        if before is None and subject is not None:
            before = faults.take(endpoint, Moment.BEFORE, subject, choosing_only=True)
        spoilt = await self._spoilt(request, endpoint, before) if before else None
        if spoilt is not None:
            return spoilt
        # A refusal leaves here as an exception: what comes after is about work that was done.
        response = await handler(request)
        after = faults.take(endpoint, Moment.AFTER, subject)
        return (await self._spoilt(request, endpoint, after) if after else None) or response

    async def _subject(self, request: Request, endpoint: Endpoint) -> Subject | None:
        """The image that an upload or a paid call is about; None where there is none."""
        try:
            if endpoint is Endpoint.UPLOAD:
                return (await read_file(request)).subject
            if endpoint is Endpoint.GENERATE:
                fields = json.loads(await request.body())
                with self._state.lock:
                    source = self._state.store.stored(str(fields["id_image"]))
                return source.subject if source else None
        except (RefusalError, ValueError, TypeError, KeyError):
            pass  # the call itself will say what is wrong with it
        return None

    async def _spoilt(self, request: Request, endpoint: Endpoint, fault: Fault) -> Response | None:
        """What the fault answers; None when it only took time. DroppedError when it cut the connection."""
        self._state.log(f"fault: {endpoint.value} {fault.kind.value}{'-after' if fault.after else ''}")
        if fault.kind is FaultKind.RESET:
            raise reset(request)
        if fault.kind is not FaultKind.HANG:
            return spoiled(fault)
        if await pause(fault.seconds, self._closing, request.receive):
            return None
        raise reset(request, "dropped")

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
