"""Answers the endpoints of the contract and the links of results."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from expandd.simulator.faults import Endpoint, Fault, FaultKind, Moment
from expandd.simulator.http import (
    Chunks,
    Field,
    RefusalError,
    Schema,
    bad_image_id,
    close,
    invalid,
    is_cut,
    pause,
    read_file,
    read_form,
    reset,
    wrong_path,
    wrong_verb,
)
from expandd.simulator.images import BadImageError, make_result, measure
from expandd.simulator.state import (
    UNKNOWN_FIELD,
    DeleteSeen,
    Job,
    Notification,
    Offsets,
    Outcome,
    RefreshRefusedError,
    Source,
    State,
    Upload,
    UploadSeen,
)
from expandd.simulator.switches import (
    Duplicates,
    Foreign,
    GenerateAnswer,
    HistoryAnswer,
    HistoryShape,
    Naming,
    Order,
    Switches,
    UploadId,
    json_or_text,
)

_ELSEWHERE = "https://images.example.com/other.jpg"
_NAMES = {
    Naming.BOTH: ("id_image", "address"),
    Naming.ID_IMAGE: ("id_image",),
    Naming.ADDRESS: ("address",),
    Naming.NEITHER: (),
}


def link(job: Job, base: str) -> str:
    """The address of a result, which opens only with its signature."""
    return f"{base}/results/{job.id_image}/{job.id_task}?signature={job.signature}"


def history_json(jobs: list[Job], shape: HistoryShape, base: str) -> dict[str, Any]:
    return {
        "history": [_history_link(link(job, base), shape) for job in jobs],
        "info_list": [{"id_task": job.id_task, "timestamp": job.finishes} for job in jobs],
    }


def _history_link(address: str, shape: HistoryShape) -> Any:
    if shape is HistoryShape.STRINGS:
        return address
    return {"l": address} if shape is HistoryShape.OBJECTS else [{"l": address}]


def notification_json(notification: Notification, switches: Switches, base: str) -> Any:
    entry = {"id": notification.id, "name": notification.name, "timestamp": notification.timestamp}
    if notification.foreign is not None:
        return _foreign(entry, notification.id_image, notification.foreign)
    names = dict.fromkeys(_NAMES[switches.naming], notification.id_image)
    data: dict[str, Any] | None = None
    if notification.name == "error":
        data = {"tasks": "expand_generate", "msg": "The image could not be expanded."}
        data |= names if switches.error_has_id else {}
    elif notification.job is not None and names:
        data = {**names, "links": [{"l": link(notification.job, base)}]}
    return entry | {"data": data}


def _foreign(entry: dict[str, Any], id_image: str, kind: Foreign) -> Any:
    names = {"id_image": id_image, "address": id_image}
    data: dict[Foreign, Any] = {
        Foreign.FAILED: {"tasks": "expand_generate", "msg": "Another client's image could not be expanded."},
        Foreign.PROGRESS: {"task": "expand_generate", "msg": "working", "progress": 0.5},
        Foreign.DATA_NULL: None,
        Foreign.DATA_LIST: [names],
        Foreign.NO_LINKS: names,
        Foreign.EMPTY_LINKS: names | {"links": []},
        Foreign.LINK_IS_TEXT: names | {"links": _ELSEWHERE},
    }
    if kind is Foreign.NOT_AN_OBJECT:
        return "expand_generate"
    if kind is Foreign.NO_DATA:
        return entry
    if kind is Foreign.NO_ID:
        del entry["id"]
    return entry | {"data": data.get(kind, names | {"links": [{"l": _ELSEWHERE}]})}


Handler = Callable[[Request], Awaitable[Response]]
Form = dict[str, Any]

_SIDES = ("top", "bottom", "left", "right")
_GENERATE = {"id_image": Field(str)} | dict.fromkeys(_SIDES, Field(int))
_POLL = dict.fromkeys(("name_list", "id_image", "id_task"), Field(str, required=False))
_HISTORY = {"id_image": Field(str), "app": Field(str)}
_PAIR = {"access_token": Field(str), "refresh_token": Field(str)}
_OUTCOMES = {
    FaultKind.JOB_FAILS: Outcome.FAILED,
    FaultKind.JOB_STUCK: Outcome.STUCK,
    FaultKind.NOTIFICATION_LOST: Outcome.UNANNOUNCED,
}
_UPLOAD_KEYS = {UploadId.BOTH: ("id_image", "image_id"), UploadId.NEITHER: ()}
_ODD_ANSWERS: dict[GenerateAnswer, Any] = {
    GenerateAnswer.EMPTY_OBJECT: {},
    GenerateAnswer.NULLS: {"status": None, "id_task": None, "id_image": None},
    GenerateAnswer.LIST: [],
    GenerateAnswer.TEXT: "processing",
    GenerateAnswer.NUMBER: 0,
}


class Api:
    """One method per endpoint, called with the lock held unless it is async; each may raise RefusalError."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> dict[str, dict[str, tuple[Endpoint, Handler]]]:
        """Path → verb → endpoint and handler, by the present switches."""
        switches = self._state.switches
        generate = _GENERATE | dict.fromkeys(switches.extra_fields, Field(object, required=False))
        return {
            "/expand/target": {"POST": (Endpoint.UPLOAD, self._upload)},
            switches.generate_path: {"POST": (Endpoint.GENERATE, self._reading(generate, self._generate))},
            "/notification_by_name_json": {"POST": (Endpoint.POLL, self._reading(_POLL, self._poll))},
            "/notification/delete_json": {
                "DELETE": (Endpoint.DELETE, self._reading({"id": Field(int)}, self._delete)),
            },
            "/history": {"POST": (Endpoint.HISTORY, self._reading(_HISTORY, self._history))},
            "/me": {"GET": (Endpoint.ME, self._me)},
            "/tokens": {"POST": (Endpoint.LOGIN, self._login), "PUT": (Endpoint.REFRESH, self._refresh)},
        }

    def note_poll(self, request: Request) -> None:
        """Measure a poll on arrival, before any fault, so that no fault hides one that came too soon.

        Only the account's own polls count, those with a valid token.
        """
        state, arrived = self._state, float(request.state.arrived)
        with state.lock:
            if not self._has_token(request):
                return
            if state.last_poll is not None:
                gap = arrived - state.last_poll
                state.counts.poll_gaps.append(gap)
                request.state.too_soon = gap < state.switches.poll_limit
                state.counts.polls_too_close += request.state.too_soon
            state.last_poll = arrived

    def _reading(self, schema: Schema, answer: Callable[[Form], Response]) -> Handler:
        """The handler of a call with a token and a JSON body."""

        async def handle(request: Request) -> Response:
            self._admit(request)
            form = await read_form(request, schema)
            with self._state.lock:
                return answer(form)

        return handle

    def _admit(self, request: Request) -> None:
        if not self._has_token(request):
            text = "The access token is missing, expired or revoked."
            raise RefusalError(401, text, headers={"WWW-Authenticate": "Bearer"})
        if request.state.too_soon:
            raise RefusalError(429, "Too many requests for notifications.")

    def _has_token(self, request: Request) -> bool:
        scheme, _, access = request.headers.get("authorization", "").partition(" ")
        with self._state.lock:
            return scheme.lower() == "bearer" and self._state.tokens.valid(access.strip(), self._state.clock.now())

    async def _upload(self, request: Request) -> Response:
        self._admit(request)
        upload = await read_file(request)
        id_image: str | None = None
        try:
            size = await _measured(upload, self._state.switches)
            with self._state.lock:
                id_image = self._state.store.add_source(upload, size, self._state.settled()).id_image
        finally:
            what = (upload.subject.sha256, upload.subject.size, upload.part, upload.filename)
            with self._state.lock:
                self._state.counts.uploads.append(UploadSeen(*what, id_image, request.state.arrived))
        key = self._state.switches.upload_id
        return JSONResponse(dict.fromkeys(_UPLOAD_KEYS.get(key, (key.value,)), id_image))

    def _generate(self, form: Form) -> Response:
        state, switches = self._state, self._state.switches
        now = state.settled()
        source = state.store.source(form["id_image"], now, switches)
        if source is None:
            raise bad_image_id()
        offsets = Offsets(**{side: form[side] for side in _SIDES})
        _require_possible(offsets, source, switches)
        if state.store.credits < switches.price:
            raise RefusalError(switches.no_credits_status, "Insufficient credits.")
        state.store.credits -= switches.price
        seconds = switches.generation(state.random.random())
        fault = state.faults.take(Endpoint.GENERATE, Moment.JOB, source.subject)
        outcome = _OUTCOMES[fault.kind] if fault else Outcome.FINISHED
        finishes = float("inf") if outcome is Outcome.STUCK else now + seconds
        job = Job(source.id_image, offsets, finishes, outcome, switches.pro)
        state.store.accept(job)
        extras = {name: value for name, value in form.items() if name not in _GENERATE}
        state.counts.note_generate(source.id_image, source.subject.sha256, state.store.in_flight, seconds, extras)
        if switches.generate_answer is GenerateAnswer.EMPTY_BODY:
            return Response(b"")
        full = {"status": "processing", "id_task": job.id_task, "id_image": job.id_image}
        return JSONResponse(_ODD_ANSWERS.get(switches.generate_answer, full))

    def _poll(self, form: Form) -> Response:
        state, switches = self._state, self._state.switches
        now = state.settled()
        state.store.ensure_foreign(switches.foreign, now, switches.notification_life)
        names = {name.strip() for name in form["name_list"].split(",")} if "name_list" in form else None
        found = state.store.notifications(names, form.get("id_image"), form.get("id_task"))
        found *= 2 if switches.duplicates is Duplicates.SAME_ID else 1
        if switches.order is Order.SHUFFLED:
            state.random.shuffle(found)
        elif switches.order is Order.NEWEST_FIRST:
            found.reverse()
        entries = [notification_json(one, switches, state.link_url) for one in found]
        return JSONResponse(entries if switches.bare_list else {"notifications_list": entries})

    def _delete(self, form: Form) -> Response:
        self._state.settled()
        gone = self._state.store.delete_notification(form["id"])
        if gone is None:
            raise RefusalError(404, "The notification does not exist.")
        counts = self._state.counts
        downloaded = gone.id_task in counts.tasks_downloaded
        counts.deletes.append(DeleteSeen(gone.id, gone.name, gone.id_image, gone.foreign is not None, downloaded))
        return JSONResponse({"status": "ok"})

    def _history(self, form: Form) -> Response:
        now, switches = self._state.settled(), self._state.switches
        source = self._state.store.source(form["id_image"], now, switches)
        if source is None or form["app"] != "expand" or switches.history is HistoryAnswer.UNKNOWN:
            raise bad_image_id()
        jobs = [] if switches.history is HistoryAnswer.EMPTY else self._state.store.results(source.id_image)
        return JSONResponse(history_json(jobs, switches.history_shape, self._state.link_url))

    async def _me(self, request: Request) -> Response:
        self._admit(request)
        with self._state.lock:
            switches, credits_left = self._state.switches, self._state.store.credits
        me = {
            "username": switches.email.partition("@")[0],
            "email": switches.email,
            "name": "SimulatorProcess",
            "surname": "User",
            "affiliation": "",
            "credits": json_or_text(switches.credits_said) if switches.credits_said else str(credits_left),
            "verified": "true",
            "contract": "pro" if switches.pro else "free",
            "app_name": "expand",
        }
        # Not Starlette's JSON: it refuses NaN, which some servers write although JSON has none.
        return Response(json.dumps(me, ensure_ascii=False), media_type="application/json")

    async def _login(self, request: Request) -> Response:
        with self._state.lock:
            switches = self._state.switches
            if _basic(request) != f"{switches.email}:{switches.password}":
                raise RefusalError(401, "Invalid email or password.", headers={"WWW-Authenticate": "Form"})
            return JSONResponse(self._state.tokens.issue(self._state.clock.now(), switches.token_life).as_json())

    async def _refresh(self, request: Request) -> Response:
        form = await read_form(request, _PAIR)
        state = self._state
        life, grace = state.switches.token_life, state.switches.old_access_grace
        with state.lock:
            try:
                pair = state.tokens.rotate(form["access_token"], form["refresh_token"], state.clock.now(), life, grace)
            except RefreshRefusedError as error:
                state.counts.refresh_reused += str(error) == "reused"
                raise RefusalError(401, f"The refresh token is {error}.") from error
        return JSONResponse(pair.as_json())


async def _measured(upload: Upload, switches: Switches) -> tuple[int, int]:
    if upload.part != "file":
        raise invalid({upload.part: [UNKNOWN_FIELD]}, "files")
    if len(upload.data) > switches.max_file_bytes:
        raise RefusalError(413, f"A file may have {switches.max_file_bytes} bytes.")
    try:
        return await run_in_threadpool(measure, upload.data, switches.min_side, switches.max_side)
    except BadImageError as error:
        raise RefusalError(switches.bad_image_status, str(error)) from error


def _require_possible(offsets: Offsets, source: Source, switches: Switches) -> None:
    width, height = offsets.result_size(source.width, source.height)
    if min(width, height) < 1:
        raise RefusalError(400, f"The result would be {width}x{height} pixels; at least 1x1 is needed.")
    if max(width, height) > switches.max_result_side or width * height > switches.max_result_pixels:
        raise RefusalError(400, f"The result would be {width}x{height} pixels, which is too large.")


def _basic(request: Request) -> str | None:
    """The `user:password` of the Authorization header; None when it is missing or unreadable."""
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(coded, validate=True).decode() if scheme.lower() == "basic" else None
    except ValueError:
        return None


_CHUNK = 64 * 1024
_KEPT_RESULTS = 16


class Links:
    """Answers `GET /results/<id_image>/<id_task>?signature=…`. Rendered results are kept for a while."""

    def __init__(self, state: State, closing: asyncio.Event) -> None:
        self._state = state
        self._closing = closing
        self._rendered: dict[tuple[str, bool, Switches], tuple[bytes, str]] = {}

    async def get(self, request: Request) -> Response:
        if request.method != "GET":
            raise wrong_verb("GET")
        with self._state.lock:
            job, source = self._found(request)
        fault = self._state.faults.take(Endpoint.LINK, Moment.RESULT, source.subject)
        kind = fault.kind if fault else None
        hop = int(request.query_params.get("hop", "0"))
        if kind is FaultKind.REDIRECT_LOOP or hop < self._state.switches.redirects:
            following = 0 if kind is FaultKind.REDIRECT_LOOP else hop + 1
            return RedirectResponse(str(request.url.include_query_params(hop=following)), 302)
        if kind is FaultKind.ENDLESS:
            return Chunks(self._endless(request), "image/png", {})
        data, media_type = await self._render(job, source, wrong_size=kind is FaultKind.WRONG_SIZE)
        if kind is FaultKind.SHORT:
            return Response(data[: len(data) * 3 // 5], media_type=media_type)
        return Chunks(self._sent(request, job, data, fault), media_type, {"Content-Length": str(len(data))})

    def _found(self, request: Request) -> tuple[Job, Source]:
        now = self._state.settled()
        job = self._state.store.job(request.url.path.rpartition("/")[2])
        source = self._state.store.stored(job.id_image) if job else None
        if job is None or source is None or request.url.path != f"/results/{job.id_image}/{job.id_task}":
            raise wrong_path()
        if not job.has_result or not job.finishes <= now < job.finishes + self._state.switches.link_life:
            raise wrong_path()
        if request.query_params.get("signature") != job.signature:
            raise RefusalError(403, "The signature of the link does not match.")
        return job, source

    async def _render(self, job: Job, source: Source, *, wrong_size: bool) -> tuple[bytes, str]:
        switches = self._state.switches
        key = (job.id_task, wrong_size, switches)
        if key not in self._rendered:
            sides = job.offsets
            offsets = Offsets(sides.top, sides.bottom, sides.left, sides.right + wrong_size)
            result = await run_in_threadpool(make_result, source.data, offsets, switches, watermark=not job.pro)
            while len(self._rendered) >= _KEPT_RESULTS:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[key] = result
        return self._rendered[key]

    async def _sent(self, request: Request, job: Job, data: bytes, fault: Fault | None) -> AsyncIterator[bytes]:
        start = 0
        if fault is not None and fault.kind in {FaultKind.TRUNCATED, FaultKind.STALL}:
            start = len(data) // 2
            yield data[:start]
            if fault.kind is FaultKind.TRUNCATED:
                raise close(request)
            if not await pause(fault.seconds, self._closing, request.receive):
                raise reset(request)
        while len(data) - start > _CHUNK:
            yield data[start : start + _CHUNK]
            start += _CHUNK
        # Recorded before the last chunk is sent, because the client may act on it before this code runs again.
        # Writing to a client that has gone raises no error, so its connection is checked.
        if not (fault and fault.kind is FaultKind.WRONG_SIZE) and not is_cut(request):
            with self._state.lock:
                self._state.counts.note_download(job.id_image, job.id_task)
        yield data[start:]

    async def _endless(self, request: Request) -> AsyncIterator[bytes]:
        yield b"\x89PNG\r\n\x1a\n"
        chunk = os.urandom(_CHUNK)
        while not self._closing.is_set() and not is_cut(request):
            yield chunk
            # Lets the loop notice that a client has gone; without it one download starves all others.
            await asyncio.sleep(0)
        raise reset(request)
