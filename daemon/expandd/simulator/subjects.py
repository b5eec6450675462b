"""What a call is about: the file of an upload, and the picture that a fault may have chosen."""

import hashlib
import json
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Message, Receive

from expandd.simulator.answers import RefusalError, invalid
from expandd.simulator.faults import Endpoint, Subject
from expandd.simulator.state import State


@dataclass(frozen=True, slots=True)
class Upload:
    """The one file of an upload, and the part that it came in."""

    part: str
    filename: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


async def one_file(request: Request) -> Upload:
    """The only part, which must be a file; RefusalError 400 for none, a second or one without a file name."""
    try:
        async with request.form() as form:
            parts = form.multi_items()
            name, file = parts[0] if len(parts) == 1 else ("", "")
            if not isinstance(file, UploadFile):
                raise invalid({"file": ["One file is required, and nothing else."]}, "files")
            return Upload(name, file.filename or "", await file.read())
    except MultiPartException as error:
        raise invalid({"file": [error.message]}, "files") from error


async def subject(state: State, request: Request, endpoint: Endpoint) -> Subject | None:
    """The picture that an upload or a paid call is about; None where there is none. The body has been read."""
    body = await request.body()
    try:
        if endpoint is Endpoint.UPLOAD:
            # A second reading of the body: the first one's file would be closed for whoever serves the call.
            upload = await one_file(Request(request.scope, _replay(body)))
            return Subject(len(upload.data), upload.sha256)
        if endpoint is Endpoint.GENERATE:
            return _source(state, json.loads(body))
    except (RefusalError, ValueError):
        return None  # the call itself will say what is wrong with it
    return None


def _source(state: State, named: object) -> Subject | None:
    id_image = named.get("id_image") if isinstance(named, dict) else None
    with state.lock:
        source = state.store.stored(str(id_image))
    return source.subject if source else None


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
