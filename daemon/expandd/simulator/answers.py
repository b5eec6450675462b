"""Error answers in the vendor's shape, the refusal that handlers raise for them, and answers that a fault spoils."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from expandd.simulator.faults import Fault, FaultKind

_HTML = "<!doctype html><html><title>One moment</title><body><h1>One moment, please</h1></body></html>"
_TOO_LARGE = (
    "<html><head><title>413 Request Entity Too Large</title></head><body><center><h1>413 Request Entity Too Large</h1>"
    "</center><hr><center>nginx</center></body></html>"
)
_BOMB_BYTES = 64 << 20


@dataclass(eq=False)
class RefusalError(Exception):
    """A call is refused with this status; `errors` are those of a body as field → messages."""

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
    """The answer that a status, HTML, empty or garbage fault gives in place of the right one."""
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
