"""Error answers in the vendor's shape, and the refusal that handlers raise for them."""

import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from expandd.simulator.faults import Fault, FaultKind

BAD_IMAGE_ID = "The image id is not valid or expired for the user."
_WRONG_PATH = (
    "The requested URL was not found on the server. If you entered the URL manually please check your"
    " spelling and try again."
)
_WRONG_VERB = "The method is not allowed for the requested URL."
_MEGABYTE = 1 << 20
_BOMB_MEGABYTES = 64
_GZIP = 16 + zlib.MAX_WBITS
_HTML = "<!doctype html><html><title>One moment</title><body><h1>One moment, please</h1></body></html>"
_TOO_LARGE = (
    "<html><head><title>413 Request Entity Too Large</title></head><body><center><h1>413 Request Entity Too Large</h1>"
    "</center><hr><center>nginx</center></body></html>"
)


class RefusalError(Exception):
    """A call is refused with this status; `errors` are a body's mistakes as field → messages."""

    def __init__(
        self,
        status: int,
        description: str,
        *,
        message: str | None = None,
        where: str = "json",
        errors: Mapping[str, list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.status = status
        self.errors = dict(errors or {})
        self._description = description
        self._message = message or HTTPStatus(status).phrase
        self._where = where
        self._headers = headers

    def answer(self) -> Response:
        body: dict[str, Any] = {
            "code": self.status,
            "message": self._message,
            "description": self._description,
        }
        if self.errors:
            body["errors"] = {self._where: self.errors}
        return JSONResponse(body, self.status, self._headers)


def wrong_path() -> RefusalError:
    return RefusalError(404, _WRONG_PATH)


def wrong_verb(allowed: str) -> RefusalError:
    return RefusalError(405, _WRONG_VERB, headers={"Allow": allowed})


def bad_image_id() -> RefusalError:
    return RefusalError(405, BAD_IMAGE_ID)


def invalid(errors: Mapping[str, list[str]], where: str = "json") -> RefusalError:
    """A 400 for a body that does not fit its schema."""
    return RefusalError(
        400,
        "The server found one or more errors in the information that you sent.",
        message="Validation Error",
        where=where,
        errors=errors,
    )


def spoiled(fault: Fault) -> Response:
    """The answer that a status, HTML, empty or garbage fault gives in place of the right one."""
    if fault.kind is FaultKind.HTML:
        return Response(_HTML, media_type="text/html")
    if fault.kind is FaultKind.TOO_LARGE_PAGE:
        return Response(_TOO_LARGE, 413, media_type="text/html")
    if fault.kind in {FaultKind.BOMB, FaultKind.BOMB_IN_A_BOMB}:
        return _bomb(twice=fault.kind is FaultKind.BOMB_IN_A_BOMB)
    if fault.kind is FaultKind.EMPTY:
        return Response(b"")
    if fault.kind is FaultKind.GARBAGE:
        return Response(b'{"id_image": "6776', media_type="application/json")
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else None
    return RefusalError(int(fault.kind.value), "A fault set on the practice server.", headers=headers).answer()


def _bomb(*, twice: bool) -> Response:
    """A few bytes that unpack to tens of megabytes, which nobody has asked to be packed."""
    body = _packed(bytes(_MEGABYTE) for _ in range(_BOMB_MEGABYTES))
    encoding = "gzip, gzip" if twice else "gzip"
    body = _packed(iter((body,))) if twice else body
    return Response(body, media_type="application/json", headers={"Content-Encoding": encoding})


def _packed(pieces: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(wbits=_GZIP)
    return b"".join([*map(packer.compress, pieces), packer.flush()])
