"""The endpoints of the contract: what each takes, checks and answers."""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from expandd.simulator.answers import RefusalError, bad_image_id, invalid
from expandd.simulator.counts import UNKNOWN_FIELD, DeleteSeen, UploadSeen
from expandd.simulator.faults import Endpoint, FaultKind, Moment
from expandd.simulator.forms import Field, Schema, read_file, read_form
from expandd.simulator.images import BadImageError, measure
from expandd.simulator.notifications import history_json, notification_json
from expandd.simulator.state import RefreshRefusedError, State
from expandd.simulator.store import Job, Offsets, Outcome, Source, Upload
from expandd.simulator.switches import (
    Duplicates,
    GenerateAnswer,
    HistoryAnswer,
    Order,
    Switches,
    UploadId,
    json_or_text,
)

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
        """Path → verb → endpoint and what answers it, as the switches stand."""
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
        """Measure a poll on arrival, whatever becomes of it, so that no fault hides one that came too soon.

        Only the account's own polls count: a call without a valid token is nobody's.
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
        """The handler of a call that takes a token and a JSON body."""

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
            "name": "Practice",
            "surname": "User",
            "affiliation": "",
            "credits": json_or_text(switches.credits_said) if switches.credits_said else str(credits_left),
            "verified": "true",
            "contract": "pro" if switches.pro else "free",
            "app_name": "expand",
        }
        # Not Starlette's JSON: NaN is in no JSON, but in what some servers write.
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
    """The `user:password` of the Authorization header; None when there is none that can be read."""
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    try:
        return base64.b64decode(coded, validate=True).decode() if scheme.lower() == "basic" else None
    except ValueError:
        return None
