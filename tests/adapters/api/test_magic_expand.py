"""Every call of the API, judged by the bytes that a server saw and by what its answers amount to."""

from __future__ import annotations

import hashlib
import inspect
import os
import socket
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from expandd.adapters.api.magic_expand import MagicExpand
from expandd.domain.api_types import Account, Announcement, Fetched, History, Notification
from expandd.domain.errors import AccountAway, FaultCode, FileFault, ImageIdRefused, Later, LinkDead, OutcomeUnknown
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import ApiSettings
from expandd.engine.ports import Api
from tests.support.api_client import (
    ACCESS_ONLY,
    EMPTY_POLL,
    PAIR,
    UNAUTHORIZED,
    Source,
    StoppedClock,
    client,
    pair_answer,
)
from tests.support.scripted_server import Drip, Hang, Reset, Say, ScriptedServer, answer, answer_json, answer_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UPLOAD = "POST /expand/target"
GENERATE = "POST /edit/generate"
POLL = "POST /notification_by_name_json"
DELETE = "DELETE /notification/delete_json"
HISTORY = "POST /history"
ACCOUNT = "GET /me"
REFRESH = "PUT /tokens"
OFFSETS = Offsets(top=100, bottom=0, left=-25, right=10)
JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 60
HTML = b"<html><body>404 image id expired</body></html>"
STOCK_405 = {
    "code": 405,
    "message": "Method Not Allowed",
    "description": "The method is not allowed for the requested URL.",
}
EXPIRED = {"code": 405, "message": "Method Not Allowed", "description": "Image not valid or expired for the user"}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        yield running


@pytest.fixture
async def api(request: pytest.FixtureRequest, server: ScriptedServer, tmp_path: Path) -> AsyncIterator[MagicExpand]:
    step = request.node.callspec.params.get("step") if hasattr(request.node, "callspec") else None
    async with client(server, tmp_path, timeout=answer_timeout(step)) as running:
        yield running


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "Müller & Söhne (geheim).JPG"
    path.write_bytes(JPEG)
    return path


def error_json(status: int, text: str = "No.") -> Say:
    return answer_json({"code": status, "message": "Error", "description": text}, status)


async def test_it_fulfils_the_port(api: MagicExpand) -> None:
    port: Api = api
    for name, wanted in inspect.getmembers(Api, inspect.isfunction):
        if not name.startswith("_"):
            assert (
                list(inspect.signature(getattr(port, name)).parameters)
                == list(inspect.signature(wanted).parameters)[1:]
            )


# --- upload


async def test_upload(server: ScriptedServer, api: MagicExpand, image: Path) -> None:
    server.on(UPLOAD, answer_json({"image_id": 67762577}))
    uploaded = await api.upload(image, image.name)
    assert uploaded.image_id == "67762577"
    assert uploaded.sha256 == hashlib.sha256(JPEG).hexdigest()
    (seen,) = server.seen
    assert seen.header("authorization") == "Bearer access-0"
    assert seen.body.count(b"Content-Disposition") == 1
    assert b'Content-Disposition: form-data; name="file"; filename="image.jpg"\r\n' in seen.body
    assert b"\r\nContent-Type: image/jpeg\r\n\r\n" + JPEG + b"\r\n--" in seen.body
    assert b"M\xc3\xbcller" not in seen.raw


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", b'filename="image.png"\r\nContent-Type: image/png'),
        (b"RIFF\x10\0\0\0WEBPVP8 ", b'filename="image.webp"\r\nContent-Type: image/webp'),
        (b"GIF89a", b'filename="image"\r\nContent-Type: application/octet-stream'),
    ],
)
async def test_the_type_is_by_content(
    server: ScriptedServer, api: MagicExpand, tmp_path: Path, head: bytes, expected: bytes
) -> None:
    server.on(UPLOAD, answer_json({"id_image": "a"}))
    (tmp_path / "a.jpg").write_bytes(head)
    await api.upload(tmp_path / "a.jpg", "a.jpg")
    assert expected in server.seen[0].body


async def test_the_body_is_whole_again_after_a_401(server: ScriptedServer, api: MagicExpand, tmp_path: Path) -> None:
    content = JPEG + os.urandom(700_000)
    (tmp_path / "big.jpg").write_bytes(content)
    server.on(UPLOAD, UNAUTHORIZED, answer_json({"id_image": "a"}))
    server.on(REFRESH, pair_answer(1))
    uploaded = await api.upload(tmp_path / "big.jpg", "big.jpg")
    first, second = server.requests(UPLOAD)
    assert content in first.body
    assert content in second.body
    assert second.header("authorization") == "Bearer access-1"
    assert uploaded.sha256 == hashlib.sha256(content).hexdigest()


async def test_a_missing_source_is_for_later(server: ScriptedServer, api: MagicExpand, tmp_path: Path) -> None:
    with pytest.raises(Later):
        await api.upload(tmp_path / "gone.jpg", "gone.jpg")
    assert server.connections == 0


@pytest.mark.parametrize("status", [400, 405, 415, 422])
async def test_an_upload_that_is_refused_is_the_files_fault(
    server: ScriptedServer, api: MagicExpand, image: Path, status: int
) -> None:
    server.on(UPLOAD, error_json(status, "The image is a drawing."))
    with pytest.raises(FileFault, match=rf"refused this image: {status}, The image is a drawing") as caught:
        await api.upload(image, "x")
    assert caught.value.fault.code is FaultCode.REFUSED_BY_API
    assert caught.value.fault.what_to_do


async def test_a_refusal_may_hide_in_a_200(server: ScriptedServer, api: MagicExpand, image: Path) -> None:
    server.on(UPLOAD, answer_json({"code": 413, "message": "Too big"}))
    with pytest.raises(FileFault, match="413, Too big"):
        await api.upload(image, "x")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (answer(400, HTML), PauseReason.API_UNREACHABLE),
        (answer(200, HTML), PauseReason.API_UNREACHABLE),
        (answer(200), PauseReason.API_UNREACHABLE),
        (answer(200, b"ok"), PauseReason.API_UNREACHABLE),
        (answer_json({}), PauseReason.API_UNREACHABLE),
        (answer_json([]), PauseReason.API_UNREACHABLE),
        (answer_json({"code": 500, "message": "x"}), PauseReason.API_UNREACHABLE),
        (answer(500), PauseReason.API_UNREACHABLE),
        (answer(302, headers={"Location": "/x"}), PauseReason.API_UNREACHABLE),
        (answer(403, HTML), PauseReason.API_UNREACHABLE),
        (answer(408), PauseReason.API_UNREACHABLE),
        (Reset(), PauseReason.API_UNREACHABLE),
        (Hang(), PauseReason.API_UNREACHABLE),
        (answer(405), PauseReason.ENDPOINT_NOT_FOUND),
        (answer_json(STOCK_405, 405), PauseReason.ENDPOINT_NOT_FOUND),
        (answer(405, HTML), PauseReason.ENDPOINT_NOT_FOUND),
        (error_json(404, "no such image"), PauseReason.ENDPOINT_NOT_FOUND),
        (error_json(402), PauseReason.NO_CREDITS),
        (error_json(403), PauseReason.NO_CREDITS),
        (error_json(429), PauseReason.RATE_LIMITED),
    ],
)
async def test_an_upload_that_fails_for_everybody(
    server: ScriptedServer, api: MagicExpand, image: Path, step: Any, reason: PauseReason
) -> None:
    server.on(UPLOAD, step)
    with pytest.raises(AccountAway) as caught:
        await api.upload(image, "x")
    assert caught.value.reason is reason
    assert (reason is PauseReason.ENDPOINT_NOT_FOUND) == ("`api.base_url`" in str(caught.value))


# --- generate


@pytest.mark.parametrize(
    ("step", "task"),
    [
        (answer_json({"status": "queued", "id_task": 77, "id_image": "a"}), "77"),
        (answer_json({"task_id": "t"}), "t"),
        (answer_json({}), ""),
        (answer_json({"msg": "ok", "code": 200}, 201), ""),
        (Say(b"HTTP/1.1 204 No Content\r\n\r\n"), ""),
        # Any 2xx is an acceptance, whatever its body, and whether or not that comes.
        (answer(200), ""),
        (answer(200, b" \n", headers={"Content-Type": "text/html"}), ""),
        (answer(202), ""),
        (answer(299), ""),
        (answer(200, HTML), ""),
        (answer(200, b"queued"), ""),
        (answer(200, b'{"id_task": '), ""),
        (answer(200, b"[" * 100_000), ""),
        (answer(200, b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), ""),
        (answer(200, b" " * 5_000_000), ""),
        (answer_json([]), ""),
        (answer_json("ok"), ""),
        (answer_json(None), ""),
        (answer_json(5), ""),
        (answer_json({"code": 500, "message": "x"}), ""),
        (answer_json({"code": 400, "message": "x", "id_task": 10**400}), ""),
        (answer_json(EXPIRED), ""),
        (Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"), ""),
        (Hang(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"), ""),
        (Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n"), ""),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", close=True), ""),
        (Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense", close=True), ""),
    ],
)
async def test_generate_is_accepted(server: ScriptedServer, api: MagicExpand, step: Any, task: str) -> None:
    server.on(GENERATE, step)
    assert await api.generate("67762577", OFFSETS) == task
    (seen,) = server.seen
    assert seen.body == b'{"id_image": "67762577", "top": 100, "bottom": 0, "left": -25, "right": 10}'
    assert seen.header("authorization") == "Bearer access-0"
    assert seen.header("content-type") == "application/json"


async def test_generate_with_extra_fields_on_another_path(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("POST /expand/generate", answer_json({}))
    extra = MappingProxyType({"flag_watermark": 0, "seed": None, "top": 5})
    async with client(server, tmp_path, generate_path="expand/generate", generate_extra=extra) as api:
        await api.generate("a", OFFSETS)
    five = {"id_image": "a", "top": 100, "bottom": 0, "left": -25, "right": 10}
    assert server.seen[0].json == five | {"flag_watermark": 0}


@pytest.mark.parametrize(
    "step",
    [
        Reset(),
        Hang(),
        Drip(b"HTTP/1.1 200 OK\r\nX: "),
        Say(b"", close=True),
        Say(b"\x16\x03\x01garbage\r\n\r\n", close=True),
        answer(500),
        error_json(500),
        answer(502, HTML),
        answer(503, headers={"Retry-After": "5"}),
        answer(504),
        answer(302, headers={"Location": "/login"}),
        error_json(408),
        error_json(409),
        error_json(423),
        error_json(424),
        answer(499),
    ],
)
async def test_a_generate_whose_outcome_is_not_known_is_sent_once(
    server: ScriptedServer, api: MagicExpand, step: Any
) -> None:
    server.on(POLL, EMPTY_POLL)
    await api.notifications()  # leaves a kept-alive connection behind
    server.on(GENERATE, step, answer(200))
    with pytest.raises(OutcomeUnknown, match="may have been paid for"):
        await api.generate("a", OFFSETS)
    assert len(server.requests(GENERATE)) == 1


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("Unknown field: flag_watermark", True),
        ("flag_watermark must be a boolean", True),
        ("flag_watermarks must be a boolean", False),
        ("The image is corrupt", False),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
async def test_a_field_that_was_added_and_is_refused_is_no_images_fault(
    server: ScriptedServer, tmp_path: Path, said: str, refused: bool, status: int
) -> None:
    server.on(GENERATE, error_json(status, said))
    async with client(server, tmp_path, generate_extra=MappingProxyType({"flag_watermark": 0})) as api:
        with pytest.raises(AccountAway if refused else FileFault) as caught:
            await api.generate("a", OFFSETS)
    if isinstance(caught.value, AccountAway):
        assert caught.value.reason is PauseReason.REQUEST_REFUSED
        assert "`api.generate_extra`" in str(caught.value)


async def test_a_field_named_in_a_validation_report_counts_too(server: ScriptedServer, tmp_path: Path) -> None:
    report = {"code": 400, "message": "Bad Request", "errors": {"json": {"flag_watermark": ["Unknown field."]}}}
    server.on(GENERATE, answer_json(report, 400))
    async with client(server, tmp_path, generate_extra=MappingProxyType({"flag_watermark": 0})) as api:
        with pytest.raises(AccountAway) as caught:
            await api.generate("a", OFFSETS)
    assert caught.value.reason is PauseReason.REQUEST_REFUSED


@pytest.mark.parametrize("step", [answer(413, HTML), answer(413), error_json(413), answer(413, b"too big")])
async def test_a_413_in_any_shape_is_about_the_file(
    server: ScriptedServer, api: MagicExpand, image: Path, step: Any
) -> None:
    server.on(UPLOAD, step)
    server.on(GENERATE, step)
    with pytest.raises(FileFault, match="too large for the API"):
        await api.upload(image, "x")
    with pytest.raises(FileFault, match="too large for the API"):
        await api.generate("a", OFFSETS)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (error_json(400, "top: Not an integer"), FileFault),
        (error_json(413), FileFault),
        (error_json(415), FileFault),
        (error_json(422), FileFault),
        (error_json(405, "Offsets too large"), FileFault),
        (answer_json(EXPIRED, 405), ImageIdRefused),
        (error_json(404, "Image not found"), ImageIdRefused),
    ],
)
async def test_a_generate_that_is_refused(
    server: ScriptedServer, api: MagicExpand, step: Any, kind: type[Exception]
) -> None:
    server.on(GENERATE, step, answer(200))
    with pytest.raises(kind):
        await api.generate("a", OFFSETS)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (error_json(402, "Insufficient credits"), PauseReason.NO_CREDITS),
        (error_json(403), PauseReason.NO_CREDITS),
        (answer(402), PauseReason.NO_CREDITS),
        (answer(403, HTML), PauseReason.API_UNREACHABLE),
        (answer(429), PauseReason.RATE_LIMITED),
        (answer(429, HTML), PauseReason.RATE_LIMITED),
        (answer(400, HTML), PauseReason.API_UNREACHABLE),
        (answer(425), PauseReason.API_UNREACHABLE),
        (answer(431), PauseReason.API_UNREACHABLE),
        (answer_json(STOCK_405, 405), PauseReason.ENDPOINT_NOT_FOUND),
        (answer(405), PauseReason.ENDPOINT_NOT_FOUND),
        (answer(404, HTML), PauseReason.ENDPOINT_NOT_FOUND),
        (error_json(404, "The requested URL was not found on the server."), PauseReason.ENDPOINT_NOT_FOUND),
    ],
)
async def test_a_generate_that_certainly_made_nothing(
    server: ScriptedServer, api: MagicExpand, step: Any, reason: PauseReason
) -> None:
    server.on(GENERATE, step, answer(200))
    with pytest.raises(AccountAway) as caught:
        await api.generate("a", OFFSETS)
    assert caught.value.reason is reason
    assert (reason is PauseReason.ENDPOINT_NOT_FOUND) == ("`api.generate_path`" in str(caught.value))
    assert len(server.seen) == 1


async def test_a_generate_that_never_left_made_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = ApiSettings(base_url=f"http://127.0.0.1:{port}", timeout=20)
    async with MagicExpand(settings, credentials=Source(PAIR), state_dir=tmp_path, clock=StoppedClock()) as api:
        with pytest.raises(AccountAway, match="cannot be reached") as caught:
            await api.generate("a", OFFSETS)
    assert caught.value.reason is PauseReason.API_UNREACHABLE


async def test_a_generate_is_repeated_after_a_401_and_only_then(server: ScriptedServer, api: MagicExpand) -> None:
    server.on(GENERATE, UNAUTHORIZED, Reset(), answer(200))
    server.on(REFRESH, pair_answer(1))
    with pytest.raises(OutcomeUnknown):
        await api.generate("a", OFFSETS)
    first, second = server.requests(GENERATE)
    assert first.body == second.body
    assert second.header("authorization") == "Bearer access-1"


async def test_a_401_inside_a_200_counts(server: ScriptedServer, api: MagicExpand) -> None:
    server.on(ACCOUNT, answer_json({"code": 401, "message": "Unauthorized"}), answer_json({"credits": "3"}))
    server.on(REFRESH, pair_answer(1))
    await api.account()
    assert len(server.requests(ACCOUNT)) == 2


@pytest.mark.parametrize("status", [200, 202])
async def test_a_401_inside_a_2xx_of_a_paid_call_sends_it_no_second_time(
    server: ScriptedServer, api: MagicExpand, status: int
) -> None:
    server.on(GENERATE, answer_json({"code": 401, "message": "Unauthorized"}, status))
    server.on(REFRESH, pair_answer(1))
    assert await api.generate("a", OFFSETS) == ""
    assert len(server.requests(GENERATE)) == 1
    assert not server.requests(REFRESH)


@pytest.mark.parametrize("location", ["http://[", "http://xn--/", "//["])
async def test_a_result_led_to_what_is_no_link(
    server: ScriptedServer, api: MagicExpand, tmp_path: Path, location: str
) -> None:
    server.on("GET /r", answer(302, headers={"Location": location}))
    with pytest.raises(LinkDead):
        await api.download(f"{server.url}/r", tmp_path / "result")


async def test_a_link_to_no_possible_host(api: MagicExpand, tmp_path: Path) -> None:
    with pytest.raises(LinkDead):
        await api.download("http://xn--/", tmp_path / "result")


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("The image size is invalid", False),
        ("Unknown field: size", True),
        ("Size: additional properties are not permitted", True),
        ("size: not a valid choice", True),
    ],
)
async def test_once_taken_a_field_is_refused_only_where_it_is_named_as_one(
    server: ScriptedServer, tmp_path: Path, said: str, refused: bool
) -> None:
    server.on(GENERATE, answer(200), error_json(400, said))
    async with client(server, tmp_path, generate_extra=MappingProxyType({"size": 1})) as api:
        await api.generate("a", OFFSETS)
        with pytest.raises(AccountAway if refused else FileFault):
            await api.generate("b", OFFSETS)


# --- notifications


async def test_a_poll_for_all(server: ScriptedServer, api: MagicExpand) -> None:
    item = {
        "id": 1,
        "name": "expand_generate",
        "timestamp": 1.5,
        "data": {"address": "a", "links": [{"l": "https://c/r"}]},
    }
    server.on(POLL, answer_json({"notifications_list": [item]}))
    found = await api.notifications()
    assert found == (Notification(id=1, kind=Announcement.RESULT, image_id="a", link="https://c/r", at=1.5),)
    assert server.seen[0].body == b'{"name_list": "expand_generate,error"}'


async def test_a_poll_for_one(server: ScriptedServer, api: MagicExpand) -> None:
    server.on(POLL, answer_json([]))
    assert await api.notifications("a") == ()
    assert server.seen[0].json == {"name_list": "expand_generate,error", "id_image": "a"}


async def test_a_poll_for_an_image_that_expired_finds_nothing(server: ScriptedServer, api: MagicExpand) -> None:
    server.on(POLL, answer_json(EXPIRED, 405))
    assert await api.notifications("a") == ()
    with pytest.raises(AccountAway):
        await api.notifications()


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (answer(200, HTML), PauseReason.API_UNREACHABLE),
        (answer(200), PauseReason.API_UNREACHABLE),
        (answer_json("x"), PauseReason.API_UNREACHABLE),
        (answer(500), PauseReason.API_UNREACHABLE),
        (error_json(400), PauseReason.API_UNREACHABLE),
        (answer(404), PauseReason.ENDPOINT_NOT_FOUND),
        (answer_json(STOCK_405, 405), PauseReason.ENDPOINT_NOT_FOUND),
        (error_json(403), PauseReason.NO_CREDITS),
    ],
)
@pytest.mark.parametrize("image_id", ["", "a"])
async def test_a_poll_that_fails(
    server: ScriptedServer, api: MagicExpand, step: Any, reason: PauseReason, image_id: str
) -> None:
    server.on(POLL, step)
    with pytest.raises(AccountAway) as caught:
        await api.notifications(image_id)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "86400"}, 3600.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:20 GMT"}, 20.0),
    ],
)
async def test_slowed(
    server: ScriptedServer, api: MagicExpand, headers: dict[str, str], expected: float | None
) -> None:
    server.on(POLL, answer(429, headers=headers))
    with pytest.raises(AccountAway) as caught:
        await api.notifications()
    assert (caught.value.reason, caught.value.retry_after) == (PauseReason.RATE_LIMITED, expected)


async def test_a_server_that_hung_up_between_two_questions_is_no_outage(
    server: ScriptedServer, api: MagicExpand
) -> None:
    server.on(HISTORY, EMPTY_POLL, Reset(), EMPTY_POLL)
    await api.history("x")
    await api.history("x")
    assert len(server.seen) == 3


async def test_a_poll_is_never_followed_by_another_on_its_own_account(server: ScriptedServer, api: MagicExpand) -> None:
    """Whoever keeps the interval must see each poll, also one that met a dead connection or an old token."""
    server.on(POLL, EMPTY_POLL, Reset(), UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    await api.notifications()
    with pytest.raises(AccountAway):
        await api.notifications()
    with pytest.raises(Later):
        await api.notifications()
    await api.notifications()
    assert len(server.requests(POLL)) == 4
    assert server.requests(POLL)[3].header("authorization") == "Bearer access-1"


# --- delete


@pytest.mark.parametrize("step", [answer(200), answer(200, b"deleted"), answer(204), answer(404), answer(405, HTML)])
async def test_delete(server: ScriptedServer, api: MagicExpand, step: Any) -> None:
    server.on(DELETE, step)
    await api.delete_notification(5)
    assert server.seen[0].body == b'{"id": 5}'
    assert server.seen[0].header("authorization") == "Bearer access-0"


async def test_a_delete_that_fails(server: ScriptedServer, api: MagicExpand) -> None:
    server.on(DELETE, error_json(400), answer(500), answer(200, HTML))
    with pytest.raises(Later):
        await api.delete_notification(5)
    for _ in range(2):
        with pytest.raises(AccountAway):
            await api.delete_notification(5)


# --- history


async def test_history(server: ScriptedServer, api: MagicExpand) -> None:
    server.on(HISTORY, answer_json({"history": [{"l": "https://c/r"}], "info_list": []}), answer_json({"history": []}))
    assert await api.history("a") == History(known=True, links=("https://c/r",))
    assert await api.history("a") == History(known=True)
    assert server.seen[0].body == b'{"id_image": "a", "app": "expand"}'


@pytest.mark.parametrize(
    "step",
    [
        answer_json(EXPIRED, 405),
        error_json(404, "unknown image"),
        error_json(400, "id_image"),
        error_json(405, "app"),
        answer_json({}),
        answer_json({"history": None}),
    ],
)
async def test_a_history_that_does_not_answer_for_the_image(
    server: ScriptedServer, api: MagicExpand, step: Any
) -> None:
    server.on(HISTORY, step)
    assert await api.history("a") == History(known=False)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (answer(404, HTML), PauseReason.ENDPOINT_NOT_FOUND),
        (answer_json(STOCK_405, 405), PauseReason.ENDPOINT_NOT_FOUND),
        (answer(200, HTML), PauseReason.API_UNREACHABLE),
        (answer(200), PauseReason.API_UNREACHABLE),
        (answer_json("x"), PauseReason.API_UNREACHABLE),
        (answer(400, HTML), PauseReason.API_UNREACHABLE),
        (answer(503), PauseReason.API_UNREACHABLE),
    ],
)
async def test_a_history_that_fails_proves_nothing(
    server: ScriptedServer, api: MagicExpand, step: Any, reason: PauseReason
) -> None:
    server.on(HISTORY, step)
    with pytest.raises(AccountAway) as caught:
        await api.history("a")
    assert caught.value.reason is reason


# --- account


async def test_account(server: ScriptedServer, api: MagicExpand) -> None:
    date = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.on(ACCOUNT, answer_json({"credits": "9.75"}, headers=date), answer_json({}, headers={"Date": "x"}))
    assert await api.account() == Account(credits=Decimal("9.75"), server_time=1445412480.0)
    assert await api.account() == Account(credits=None, server_time=None)
    assert server.seen[0].body == b""


@pytest.mark.parametrize("step", [answer(200, HTML), answer(200), answer_json([]), answer(500)])
async def test_an_account_that_cannot_be_read(server: ScriptedServer, api: MagicExpand, step: Any) -> None:
    server.on(ACCOUNT, step)
    with pytest.raises(AccountAway) as caught:
        await api.account()
    assert caught.value.reason is PauseReason.API_UNREACHABLE


# --- download


async def test_a_download_carries_no_token(server: ScriptedServer, api: MagicExpand, tmp_path: Path) -> None:
    server.on(POLL, EMPTY_POLL)
    await api.notifications()
    async with ScriptedServer() as host:
        host.on("GET /r?sig=1", answer(302, headers={"Location": "/final"}))
        host.on("GET /final", answer(200, JPEG))
        fetched = await api.download(f"{host.url}/r?sig=1", tmp_path / "t")
        assert fetched == Fetched(bytes=len(JPEG), sha256=hashlib.sha256(JPEG).hexdigest())
        assert (tmp_path / "t").read_bytes() == JPEG
        for seen in host.seen:
            assert b"access-0" not in seen.raw
            assert seen.header("authorization") is None
            assert seen.header("cookie") is None


@pytest.mark.parametrize(
    ("step", "dead"),
    [
        (answer(404), True),
        (answer(403), True),
        (answer(410), True),
        (answer(302), True),
        (answer(200, HTML), True),
        (answer_json({"error": "expired"}), True),
        (answer(204), True),
        (answer(500), False),
        (answer(429), False),
        (answer(200), False),
        (Reset(), False),
        (Hang(), False),
        (Say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True), False),
    ],
)
async def test_a_download_that_fails(
    server: ScriptedServer, api: MagicExpand, tmp_path: Path, step: Any, dead: bool
) -> None:
    server.on("GET /r", step)
    with pytest.raises(Later) as caught:
        await api.download(f"{server.url}/r", tmp_path / "t")
    assert isinstance(caught.value, LinkDead) is dead
    assert not (tmp_path / "t").exists()


async def test_a_target_without_room_is_nobodys_fault(server: ScriptedServer, api: MagicExpand, tmp_path: Path) -> None:
    server.on("GET /r", answer(200, JPEG))
    with pytest.raises(AccountAway) as caught:
        await api.download(f"{server.url}/r", tmp_path / "gone" / "t")
    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


async def test_no_message_holds_a_link_or_a_token(server: ScriptedServer, api: MagicExpand, tmp_path: Path) -> None:
    server.on("GET /r?sig=SECRET", answer(404), Reset(), answer(200, HTML))
    for _ in range(3):
        with pytest.raises(Later) as caught:
            await api.download(f"{server.url}/r?sig=SECRET", tmp_path / "t")
        assert "SECRET" not in str(caught.value)
    with pytest.raises(LinkDead) as refused:
        await api.download("ftp://host/r?sig=SECRET", tmp_path / "t")
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (ApiSettings(base_url="https://api.example.com/api"), True),
        (ApiSettings(base_url="https://api.example.com/api", allow_private_links=True), False),
        (ApiSettings(base_url="https://127.0.0.1:1/api"), False),
        (ApiSettings(base_url="http://api.example.com/api"), False),
    ],
)
async def test_when_private_links_are_taken(
    server: ScriptedServer, tmp_path: Path, settings: ApiSettings, refused: bool
) -> None:
    server.on("GET /r", answer(200, JPEG))
    settings = replace(settings, timeout=20)
    async with MagicExpand(settings, credentials=Source(ACCESS_ONLY), state_dir=tmp_path, clock=StoppedClock()) as api:
        if refused:
            with pytest.raises(LinkDead):
                await api.download(f"{server.url}/r", tmp_path / "t")
        else:
            await api.download(f"{server.url}/r", tmp_path / "t")
    assert (server.connections == 0) is refused
