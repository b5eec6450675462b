"""Reads requests strictly, writes errors in the vendor's shape, and cuts connections."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from expandd.simulator.faults import Fault, FaultKind
from expandd.simulator.state import NOT_TEXT, NULL_FIELD, UNKNOWN_FIELD, Upload

# Lingering on, with zero seconds: close() sends a reset instead of an orderly end.
_LINGER_RESET = struct.pack("ii", 1, 0)


class DroppedError(Exception):
    """The connection was cut, so no answer can be sent. The text is the status to count."""


def reset(request: Request, status: str = "reset") -> DroppedError:
    """Cut the connection by a TCP reset; returns the error to raise, because no answer can follow."""
    transport = _transport(request)
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        transport.abort()
    return DroppedError(status)


def close(request: Request) -> DroppedError:
    """End the connection after all written bytes are sent: orderly, but too early."""
    _transport(request).close()
    return DroppedError("reset")


def is_cut(request: Request) -> bool:
    """Whether the connection has ended or is about to."""
    return _transport(request).is_closing()


def _transport(request: Request) -> asyncio.Transport:
    connection: Any = request.state.connection
    transport: asyncio.Transport = connection.transport
    return transport


async def pause(seconds: float, closing: asyncio.Event, receive: Receive) -> bool:
    """Wait, at most until the client or the server ends. Returns whether both are still there.

    The request's body must be read before.
    """
    waits = [asyncio.create_task(closing.wait()), asyncio.create_task(gone(receive))]
    _, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return len(pending) == len(waits)


async def gone(receive: Receive) -> None:
    """Wait until the connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Chunks(Response):
    """An answer sent in pieces, each of which may cut the connection. It never reads from the client.

    Starlette's own streaming is not used, because it listens for the client's end, as `pause` does.
    """

    def __init__(self, chunks: AsyncIterator[bytes], media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(media_type=media_type, headers=headers)
        self._chunks = chunks
        if "Content-Length" not in headers:
            del self.headers["Content-Length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_HTML = "<!doctype html><html><title>One moment</title><body><h1>One moment, please</h1></body></html>"
_TOO_LARGE = (
    "<html><head><title>413 Request Entity Too Large</title></head><body><center><h1>413 Request Entity Too Large</h1>"
    "</center><hr><center>nginx</center></body></html>"
)
_BOMB_BYTES = 64 << 20


@dataclass(eq=False)
class RefusalError(Exception):
    """Refuses a call with this status; `errors` are those of a body as field → messages."""

    status: int
    description: str
    message: str = ""
    where: str = "json"
    errors: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] | None = None

    def answer(self) -> Response:
        message = self.message or HTTPStatus(self.status).phrase
        body = {"code": self.status, "message": message, "description": self.description}
        errors = {"errors": {self.where: self.errors}} if self.errors else {}
        return JSONResponse(body | errors, self.status, self.headers)


def wrong_path() -> RefusalError:
    return RefusalError(
        404,
        "The requested URL was not found on the server. If you entered the URL manually please check your spelling and"
        " try again.",
    )


def wrong_verb(allowed: str) -> RefusalError:
    return RefusalError(405, "The method is not allowed for the requested URL.", headers={"Allow": allowed})


def bad_image_id() -> RefusalError:
    return RefusalError(405, "The image id is not valid or expired for the user.")


def invalid(errors: Mapping[str, list[str]], where: str = "json") -> RefusalError:
    """A 400 for a body that does not fit its schema."""
    description = "The server found one or more errors in the information that you sent."
    return RefusalError(400, description, "Validation Error", where, errors)


def spoiled(fault: Fault) -> Response:
    """The answer of a status, HTML, empty or garbage fault in place of the right one."""
    match fault.kind:
        case FaultKind.HTML:
            return Response(_HTML, media_type="text/html")
        case FaultKind.TOO_LARGE_PAGE:
            return Response(_TOO_LARGE, 413, media_type="text/html")
        case FaultKind.EMPTY:
            return Response(b"")
        case FaultKind.GARBAGE:
            return Response(b'{"id_image": "6776', media_type="application/json")
        case FaultKind.BOMB:
            return _packed(gzip.compress(bytes(_BOMB_BYTES)), "gzip")
        case FaultKind.BOMB_IN_A_BOMB:
            return _packed(gzip.compress(gzip.compress(bytes(_BOMB_BYTES))), "gzip, gzip")
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
    return RefusalError(int(fault.kind.value), "A fault set on the simulator.", headers=headers).answer()


def _packed(body: bytes, encoding: str) -> Response:
    return Response(body, media_type="application/json", headers={"Content-Encoding": encoding})


_WRONG_TYPE = {str: NOT_TEXT, int: "Not a valid integer."}


class Field(NamedTuple):
    """The type of a field; `object` is any. Booleans and quoted numbers are not integers."""

    kind: type
    required: bool = True


Schema = Mapping[str, Field]


async def read_form(request: Request, schema: Schema) -> dict[str, Any]:
    """Read the body's fields. Raises RefusalError 400, which names every error at once."""
    values = _read_object(await request.body(), request.headers.get("content-type", ""))
    errors = {name: _error(schema.get(name), name, values) for name in {**schema, **values}}
    if any(errors.values()):
        raise invalid({name: [error] for name, error in errors.items() if error})
    return values


def _read_object(body: bytes, content_type: str) -> dict[str, Any]:
    # The framework reads a body only when its type is JSON; otherwise every field is missing.
    if not body or content_type.partition(";")[0].strip().lower() != "application/json":
        return {}
    try:
        values = json.loads(body)
    except ValueError as error:
        raise invalid({"json": ["Invalid JSON body."]}) from error
    if not isinstance(values, dict):
        raise invalid({"_schema": ["Invalid input type."]})
    return values


def _error(field: Field | None, name: str, values: Mapping[str, Any]) -> str | None:
    if field is None:
        return UNKNOWN_FIELD
    if name not in values:
        return "Missing data for required field." if field.required else None
    if field.kind in {object, type(values[name])}:
        return None
    return NULL_FIELD if values[name] is None else _WRONG_TYPE[field.kind]


async def read_file(request: Request) -> Upload:
    """Read the only part, a file. Raises RefusalError 400 for none, a second one, or one without a file name."""
    if not hasattr(request.state, "upload"):
        request.state.upload = await _read_file(request)
    upload: Upload = request.state.upload
    return upload


async def _read_file(request: Request) -> Upload:
    try:
        async with request.form() as form:
            parts = form.multi_items()
            name, file = parts[0] if len(parts) == 1 else ("", "")
            if not isinstance(file, UploadFile):
                raise invalid({"file": ["One file is required, and nothing else."]}, "files")
            return Upload(name, file.filename or "", await file.read())
    except MultiPartException as error:
        raise invalid({"file": [error.message]}, "files") from error
