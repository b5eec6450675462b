"""What a webhook is sent, over a real connection, and what its answers mean."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from expandd.adapters.hooks import post
from expandd.domain.events import Facts, HookFailed
from expandd.domain.settings import Hook
from tests.support.scripted_server import Hang, Reset, ScriptedServer, answer

FACTS = Facts(event="done", about="pic.png", json='{"file": "Bücher.png"}'.encode(), environ=())
ROUTE = "POST /hooks/in/?key=k%20"
NOW = 1_800_000_000.9


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


def hook(server: ScriptedServer, secret: Path | None = None, *, timeout: float = 10.0) -> Hook:
    return Hook(url=f"{server.url}/hooks/in/?key=k%20", secret_file=secret, timeout=timeout)


def kept(path: Path, secret: bytes = b"s3cret\n") -> Path:
    path.write_bytes(secret)
    return path


async def test_the_signature_is_the_one_the_receiver_computes(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(ROUTE, answer(204))
    await post(hook(server, kept(tmp_path / "secret")), FACTS, NOW)
    [seen] = server.requests(ROUTE)

    timestamp = seen.header("X-Expandd-Timestamp")
    assert timestamp == "1800000000"
    computed = hmac.new(b"s3cret", timestamp.encode() + b"." + seen.body, hashlib.sha256).hexdigest()
    assert seen.header("X-Expandd-Signature") == f"sha256={computed}"
    assert seen.header("X-Expandd-Event") == "done"
    assert seen.header("Content-Type") == "application/json"
    assert json.loads(seen.body) == {"file": "Bücher.png"}


async def test_without_a_secret_there_is_no_signature(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(200, b"thanks"))
    await post(hook(server), FACTS, NOW)

    assert server.requests(ROUTE)[0].header("X-Expandd-Signature") is None


async def test_a_secret_that_changed_is_used_at_once(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(ROUTE, answer(200))
    secret = kept(tmp_path / "secret")
    await post(hook(server, secret), FACTS, NOW)
    kept(secret, b"another")
    await post(hook(server, secret), FACTS, NOW)

    one, two = (seen.header("X-Expandd-Signature") for seen in server.requests(ROUTE))
    assert one != two


@pytest.mark.parametrize("content", [None, b" \n"])
async def test_nothing_is_sent_without_the_secret(
    server: ScriptedServer, tmp_path: Path, content: bytes | None
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        kept(secret, content)
    with pytest.raises(HookFailed, match="secret_file") as failed:
        await post(hook(server, secret), FACTS, NOW)

    assert server.seen == []
    assert failed.value.again
    assert str(tmp_path) not in str(failed.value)


@pytest.mark.parametrize(
    ("status", "again"),
    [(500, True), (503, True), (429, True), (408, True), (400, False), (401, False), (404, False), (410, False)],
)
async def test_what_the_server_may_take_later_is_told_again(
    server: ScriptedServer, status: int, *, again: bool
) -> None:
    server.on(ROUTE, answer(status))
    with pytest.raises(HookFailed, match=rf"^127\.0\.0\.1 answered with status {status}\.$") as failed:
        await post(hook(server), FACTS, NOW)

    assert failed.value.again is again
    assert len(server.seen) == 1


async def test_a_redirect_is_not_followed(server: ScriptedServer) -> None:
    server.on(ROUTE, answer(307, headers={"Location": "/elsewhere"}))
    with pytest.raises(HookFailed, match="status 307") as failed:
        await post(hook(server), FACTS, NOW)

    assert not failed.value.again
    assert len(server.seen) == 1


async def test_a_connection_that_breaks_is_told_again(server: ScriptedServer) -> None:
    server.on(ROUTE, Reset())
    with pytest.raises(HookFailed, match=r"^127\.0\.0\.1 ") as failed:
        await post(hook(server), FACTS, NOW)

    assert failed.value.again
    assert "key=" not in str(failed.value)


async def test_a_server_that_is_not_there_is_told_again(server: ScriptedServer) -> None:
    nobody = hook(server)
    await server.__aexit__()
    with pytest.raises(HookFailed, match="cannot be reached") as failed:
        await post(nobody, FACTS, NOW)

    assert failed.value.again


async def test_a_server_that_hangs_ends_with_the_time_out(server: ScriptedServer) -> None:
    server.on(ROUTE, Hang())
    with pytest.raises(HookFailed, match="answer") as failed:
        await post(hook(server, timeout=0.3), FACTS, NOW)

    assert failed.value.again
