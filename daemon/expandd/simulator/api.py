"""The endpoints of the contract: what each takes, checks and answers."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from expandd.simulator.answers import RefusalError, bad_image_id, invalid
from expandd.simulator.counts import UNKNOWN_FIELD, DeleteSeen, UploadSeen
from expandd.simulator.faults import Endpoint, FaultKind, Moment
from expandd.simulator.forms import Form, Kind, read_form
from expandd.simulator.picture import BadPictureError, measure
from expandd.simulator.shapes import history_json, notification_json
from expandd.simulator.state import State
from expandd.simulator.store import Notification, Offsets, Outcome, Source
from expandd.simulator.subjects import Upload, one_file
from expandd.simulator.switches import Duplicates, GenerateAnswer, HistoryAnswer, Order, UploadId
from expandd.simulator.tokens import RefreshRefusal, TokenPair

_OUTCOMES = {
    FaultKind.JOB_FAILS: Outcome.FAILED,
    FaultKind.JOB_STUCK: Outcome.STUCK,
    FaultKind.NOTIFICATION_LOST: Outcome.UNANNOUNCED,
}
_GENERATE = {"id_image": Kind.TEXT} | dict.fromkeys(("top", "bottom", "left", "right"), Kind.INTEGER)
_POLL = dict.fromkeys(("name_list", "id_image", "id_task"), Kind.OPTIONAL_TEXT)
_PAIR = dict.fromkeys(("access_token", "refresh_token"), Kind.TEXT)


class Api:
    """One method per endpoint; each may raise RefusalError. The body has been read when they are called."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def upload(self, request: Request) -> Response:
        self._require_token(request)
        upload = await one_file(request)
        try:
            size = await self._checked(upload)
        except RefusalError:
            self._note_upload(request, upload, None)
            raise
        with self._state.lock:
            now = self._state.settled()
            source = self._state.store.add_source(upload.data, upload.sha256, size, now)
            self._note_upload(request, upload, source.id_image)
            return JSONResponse(_upload_answer(source.id_image, self._state.switches.upload_id))

    async def generate(self, request: Request) -> Response:
        self._require_token(request)
        with self._state.lock:
            extras = self._state.switches.extra_fields
        form = await _form(request, _GENERATE, extras)
        with self._state.lock:
            return self._accept(form)

    async def poll(self, request: Request) -> Response:
        self._require_token(request)
        if request.state.too_soon:
            raise RefusalError(429, "Too many requests for notifications.")
        form = await _form(request, _POLL)
        with self._state.lock:
            return JSONResponse(self._listed(form))

    def note_poll(self, request: Request) -> None:
        """Measure a poll on arrival, whatever becomes of it, so that no fault hides one that came too soon.

        Only the account's own polls count: a call without a valid token is nobody's.
        """
        request.state.too_soon = False
        arrived = float(request.state.arrived)
        with self._state.lock:
            if not self._has_token(request):
                return
            if self._state.last_poll is not None:
                gap = arrived - self._state.last_poll
                self._state.counts.poll_gaps.append(gap)
                request.state.too_soon = gap < self._state.switches.poll_limit
                self._state.counts.polls_too_close += request.state.too_soon
            self._state.last_poll = arrived

    async def delete(self, request: Request) -> Response:
        self._require_token(request)
        form = await _form(request, {"id": Kind.INTEGER})
        with self._state.lock:
            self._state.settled()
            gone = self._state.store.delete_notification(form.integers["id"])
            if gone is None:
                raise RefusalError(404, "The notification does not exist.")
            self._note_delete(gone)
        return JSONResponse({"status": "ok"})

    async def history(self, request: Request) -> Response:
        self._require_token(request)
        form = await _form(request, {"id_image": Kind.TEXT, "app": Kind.TEXT})
        with self._state.lock:
            now, switches = self._state.settled(), self._state.switches
            source = self._state.store.source(form.texts["id_image"], now, switches)
            if source is None or form.texts["app"] != "expand" or switches.history is HistoryAnswer.UNKNOWN:
                raise bad_image_id()
            jobs = [] if switches.history is HistoryAnswer.EMPTY else self._state.store.results(source.id_image)
            return JSONResponse(history_json(jobs, switches.history_shape, self._state.link_url))

    async def me(self, request: Request) -> Response:
        self._require_token(request)
        with self._state.lock:
            switches, credits_left = self._state.switches, self._state.store.credits
        # NaN is in no JSON, but in what some servers write.
        return _loose_json(
            {
                "username": switches.email.partition("@")[0],
                "email": switches.email,
                "name": "Practice",
                "surname": "User",
                "affiliation": "",
                "credits": _loosely(switches.credits_said) if switches.credits_said else str(credits_left),
                "verified": "true",
                "contract": "pro" if switches.pro else "free",
                "app_name": "expand",
            }
        )

    async def login(self, request: Request) -> Response:
        with self._state.lock:
            switches = self._state.switches
            if _basic(request) != (switches.email, switches.password):
                raise RefusalError(401, "Invalid email or password.", headers={"WWW-Authenticate": "Form"})
            return JSONResponse(self._state.tokens.issue(self._state.clock.now(), switches.token_life).as_json())

    async def refresh(self, request: Request) -> Response:
        form = await _form(request, _PAIR)
        with self._state.lock:
            return self._rotate(form.texts["access_token"], form.texts["refresh_token"])

    def _require_token(self, request: Request) -> None:
        if not self._has_token(request):
            text = "The access token is missing, expired or revoked."
            raise RefusalError(401, text, headers={"WWW-Authenticate": "Bearer"})

    def _has_token(self, request: Request) -> bool:
        scheme, _, access = request.headers.get("authorization", "").partition(" ")
        with self._state.lock:
            return scheme.lower() == "bearer" and self._state.tokens.valid(access.strip(), self._state.clock.now())

    async def _checked(self, upload: Upload) -> tuple[int, int]:
        with self._state.lock:
            switches = self._state.switches
        if upload.part != "file":
            raise invalid({upload.part: [UNKNOWN_FIELD]}, "files")
        if len(upload.data) > switches.max_file_bytes:
            raise RefusalError(413, f"A file may have {switches.max_file_bytes} bytes.")
        try:
            return await run_in_threadpool(measure, upload.data, switches.min_side, switches.max_side)
        except BadPictureError as error:
            raise RefusalError(switches.bad_image_status, str(error)) from error

    def _note_upload(self, request: Request, upload: Upload, id_image: str | None) -> None:
        began = float(request.state.arrived)
        seen = UploadSeen(upload.sha256, len(upload.data), upload.part, upload.filename, id_image, began)
        with self._state.lock:
            self._state.counts.uploads.append(seen)

    def _accept(self, form: Form) -> Response:
        state, switches = self._state, self._state.switches
        now = state.settled()
        source = state.store.source(form.texts["id_image"], now, switches)
        if source is None:
            raise bad_image_id()
        offsets = Offsets(**form.integers)
        _require_possible(offsets, source, switches.max_result_side, switches.max_result_pixels)
        if state.store.credits < switches.price:
            raise RefusalError(switches.no_credits_status, "Insufficient credits.")
        state.store.credits -= switches.price
        seconds = switches.generation(state.random.random())
        fault = state.faults.take(Endpoint.GENERATE, Moment.JOB, source.subject)
        outcome = _OUTCOMES[fault.kind] if fault else Outcome.FINISHED
        job = state.store.accept(source, offsets, now, seconds, outcome, pro=switches.pro)
        state.counts.note_generate(source.id_image, source.sha256, state.store.in_flight, form.extras)
        state.counts.generation_seconds.append(seconds)
        return _generate_answer(switches.generate_answer, job.id_task, job.id_image)

    def _listed(self, form: Form) -> Any:
        state, switches = self._state, self._state.switches
        now = state.settled()
        state.store.ensure_foreign(switches.foreign, now, switches.notification_life)
        names = form.texts.get("name_list")
        found = state.store.notifications(
            None if names is None else {name.strip() for name in names.split(",")},
            form.texts.get("id_image"),
            form.texts.get("id_task"),
        )
        found = found * 2 if switches.duplicates is Duplicates.SAME_ID else found
        entries = [notification_json(one, switches, state.link_url) for one in self._ordered(found)]
        return entries if switches.bare_list else {"notifications_list": entries}

    def _ordered(self, found: list[Notification]) -> list[Notification]:
        order = self._state.switches.order
        if order is Order.SHUFFLED:
            return self._state.random.sample(found, len(found))
        return found[::-1] if order is Order.NEWEST_FIRST else found

    def _note_delete(self, gone: Notification) -> None:
        downloaded = gone.id_task in self._state.counts.tasks_downloaded
        seen = DeleteSeen(gone.id, gone.name, gone.id_image, gone.foreign is not None, downloaded)
        self._state.counts.deletes.append(seen)

    def _rotate(self, access: str, refresh: str) -> Response:
        switches, now = self._state.switches, self._state.clock.now()
        outcome: TokenPair | RefreshRefusal = self._state.tokens.rotate(
            access, refresh, now, switches.token_life, switches.old_access_grace
        )
        if isinstance(outcome, TokenPair):
            return JSONResponse(outcome.as_json())
        self._state.counts.refresh_reused += outcome is RefreshRefusal.REUSED
        raise RefusalError(401, f"The refresh token is {outcome.value}.")


async def _form(request: Request, schema: Mapping[str, Kind], extras: tuple[str, ...] = ()) -> Form:
    return read_form(await request.body(), request.headers.get("content-type", ""), schema, extras)


def _upload_answer(id_image: str, key: UploadId) -> dict[str, str]:
    keys = {
        UploadId.ID_IMAGE: ("id_image",),
        UploadId.IMAGE_ID: ("image_id",),
        UploadId.BOTH: ("id_image", "image_id"),
        UploadId.NEITHER: (),
    }
    return dict.fromkeys(keys[key], id_image)


def _generate_answer(kind: GenerateAnswer, id_task: str, id_image: str) -> Response:
    if kind is GenerateAnswer.EMPTY_BODY:
        return Response(b"")
    odd: dict[GenerateAnswer, Any] = {
        GenerateAnswer.EMPTY_OBJECT: {},
        GenerateAnswer.NULLS: {"status": None, "id_task": None, "id_image": None},
        GenerateAnswer.LIST: [],
        GenerateAnswer.TEXT: "processing",
        GenerateAnswer.NUMBER: 0,
    }
    return JSONResponse(odd.get(kind, {"status": "processing", "id_task": id_task, "id_image": id_image}))


def _loose_json(value: Any) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json")


def _loosely(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _require_possible(offsets: Offsets, source: Source, max_side: int, max_pixels: int) -> None:
    width, height = offsets.result_size(source.width, source.height)
    if min(width, height) < 1:
        raise RefusalError(400, f"The result would be {width}x{height} pixels; at least 1x1 is needed.")
    if max(width, height) > max_side or width * height > max_pixels:
        raise RefusalError(400, f"The result would be {width}x{height} pixels, which is too large.")


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(coded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password
