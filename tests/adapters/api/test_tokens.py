"""The token pair: refreshed once for all, on disk before it is used, and never a refresh token sent twice."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from expandd.adapters.credentials import Credentials
from expandd.domain.errors import AccountAway, ConfigurationError, OutcomeUnknown, Problem
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from tests.support.api_client import (
    ACCESS_ONLY,
    DAY,
    EMPTY_POLL,
    LOGIN,
    NOW,
    PAIR,
    UNAUTHORIZED,
    Source,
    StoppedClock,
    client,
    pair_answer,
    stored,
)
from tests.support.scripted_server import (
    After,
    Hang,
    Reset,
    Say,
    ScriptedServer,
    Seen,
    answer,
    answer_json,
    answer_timeout,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
from pathlib import Path

POLL = "POST /history"
REFRESH = "PUT /tokens"
SIGN_IN = "POST /tokens"
BOTH = replace(PAIR, email=LOGIN.email, password=LOGIN.password)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as running:
        yield running


def bearers(server: ScriptedServer, route: str = POLL) -> list[str | None]:
    return [seen.header("authorization") for seen in server.requests(route)]


def reason(caught: pytest.ExceptionInfo[AccountAway]) -> PauseReason:
    return caught.value.reason


async def test_the_configured_token_is_used_as_it_is(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, EMPTY_POLL)
    async with client(server, tmp_path) as api:
        await api.history("x")
    assert bearers(server) == ["Bearer access-0"]
    assert len(server.seen) == 1


async def test_a_401_is_refreshed_and_repeated_once(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    async with client(server, tmp_path) as api:
        await api.history("x")
        await api.history("x")
    assert bearers(server) == ["Bearer access-0", "Bearer access-1", "Bearer access-1"]
    (refresh,) = server.requests(REFRESH)
    assert refresh.json == {"access_token": "access-0", "refresh_token": "refresh-0"}
    assert refresh.header("authorization") is None
    assert refresh.header("cookie") is None


async def test_a_second_401_is_about_the_credentials(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED)
    server.on(REFRESH, pair_answer(1))
    async with client(server, tmp_path) as api:
        with pytest.raises(AccountAway, match=r"does not accept the login .* Correct the test") as caught:
            await api.history("x")
    assert reason(caught) is PauseReason.LOGIN_REFUSED
    assert len(server.requests(POLL)) == 2
    assert len(server.requests(REFRESH)) == 1


async def test_the_new_pair_is_on_disk_before_its_first_use(server: ScriptedServer, tmp_path: Path) -> None:
    on_disk: list[str] = []

    def note(seen: Seen) -> None:
        if seen.header("authorization") == "Bearer access-1":
            on_disk.append(stored(tmp_path)["access_token"])

    server.hooks.append(note)
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    async with client(server, tmp_path) as api:
        await api.history("x")
    assert on_disk == ["access-1"]
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tokens.lock").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json", "tokens.lock"]


async def test_the_mark_is_on_disk_before_the_refresh_token_is_sent(server: ScriptedServer, tmp_path: Path) -> None:
    marks: list[int] = []

    def note(seen: Seen) -> None:
        if seen.method == "PUT":
            marks.append(len(stored(tmp_path)["sent"]))

    server.hooks.append(note)
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    async with client(server, tmp_path) as api:
        await api.history("x")
    assert marks == [1]
    assert "refresh-0" not in (tmp_path / "tokens.json").read_text()


async def test_ten_401s_at_once_refresh_once(server: ScriptedServer, tmp_path: Path) -> None:
    ten_came = asyncio.Event()

    def note(_: Seen) -> None:
        if len(server.requests(POLL)) == 10:
            ten_came.set()

    server.hooks.append(note)
    server.on(POLL, *[After(ten_came, UNAUTHORIZED)] * 10, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1), answer(500))
    async with client(server, tmp_path) as api:
        await asyncio.gather(*(api.history("x") for _ in range(10)))
    assert len(server.requests(REFRESH)) == 1
    assert bearers(server) == ["Bearer access-0"] * 10 + ["Bearer access-1"] * 10


async def test_two_processes_refresh_once(server: ScriptedServer, tmp_path: Path) -> None:
    both_came = asyncio.Event()
    server.hooks.append(lambda _: both_came.set() if len(server.requests(POLL)) == 2 else None)
    server.on(POLL, After(both_came, UNAUTHORIZED), After(both_came, UNAUTHORIZED), EMPTY_POLL)
    server.on(REFRESH, pair_answer(1), answer(500))
    async with client(server, tmp_path) as one, client(server, tmp_path) as other:
        await asyncio.gather(one.history("x"), other.history("x"))
    assert len(server.requests(REFRESH)) == 1


async def test_another_process_that_refreshes_is_waited_for(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, EMPTY_POLL)
    async with client(server, tmp_path) as api:
        await api.history("x")
        found = stored(tmp_path)
        server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
        lock = os.open(tmp_path / "tokens.lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            server.arrived.clear()
            waiting = asyncio.create_task(api.history("x"))
            await server.arrived.wait()
            (tmp_path / "tokens.json").write_text(json.dumps(found | {"access_token": "access-other"}))
        finally:
            os.close(lock)
        await waiting
    assert server.requests(REFRESH) == []
    assert bearers(server)[-1] == "Bearer access-other"


async def test_the_pair_outlives_the_process(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    for _ in range(2):
        async with client(server, tmp_path) as api:
            await api.history("x")
    assert bearers(server) == ["Bearer access-0", "Bearer access-1", "Bearer access-1"]


async def test_a_newly_configured_pair_wins(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    async with client(server, tmp_path) as api:
        await api.history("x")
    new = Credentials(access_token="access-new", refresh_token="refresh-new")
    async with client(server, tmp_path, source=Source(new)) as api:
        await api.history("x")
    assert bearers(server)[-1] == "Bearer access-new"


async def test_a_configured_pair_that_was_used_up_does_not_come_back(server: ScriptedServer, tmp_path: Path) -> None:
    """A password added beside the old tokens changes the fingerprint; the old refresh token would revoke all."""
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    async with client(server, tmp_path) as api:
        await api.history("x")
    async with client(server, tmp_path, source=Source(BOTH)) as api:
        await api.history("x")
    assert bearers(server)[-1] == "Bearer access-1"
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(2))
    async with client(server, tmp_path, source=Source(BOTH)) as api:
        await api.history("x")
    assert [seen.json["refresh_token"] for seen in server.requests(REFRESH)] == ["refresh-0", "refresh-1"]


@pytest.mark.parametrize(
    "step",
    [
        Reset(),
        Hang(),
        Say(b"", close=True),
        answer(200, b"<html>Welcome to the hotel</html>"),
        answer(200, b"{}"),
        answer(200),
        answer(504, b"<html>"),
        answer_json({"message": "Endpoint request timed out"}, 504),
        answer(500),
        UNAUTHORIZED,
        answer_json({"code": 400, "message": "Validation Error"}, 400),
        answer_json({"code": 403, "message": "no"}, 403),
    ],
)
async def test_a_refresh_whose_answer_is_lost_or_no_is_never_repeated(
    server: ScriptedServer, tmp_path: Path, step: Any
) -> None:
    server.on(POLL, UNAUTHORIZED)
    server.on(REFRESH, step)
    for _ in range(2):
        async with client(server, tmp_path, timeout=answer_timeout(step)) as api:
            for _ in range(2):
                with pytest.raises(AccountAway, match="no refresh token could renew it") as caught:
                    await api.history("x")
                assert reason(caught) is PauseReason.LOGIN_REFUSED
    assert len(server.requests(REFRESH)) == 1


async def test_a_lost_refresh_is_made_good_by_a_login(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, Reset())
    server.on(SIGN_IN, pair_answer(5))
    async with client(server, tmp_path, source=Source(BOTH)) as api:
        await api.history("x")
    assert bearers(server) == ["Bearer access-0", "Bearer access-5"]
    assert stored(tmp_path)["refresh_token"] == "refresh-5"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (answer(429, headers={"Retry-After": "7"}), PauseReason.RATE_LIMITED),
        (answer(503), PauseReason.API_UNREACHABLE),
        (answer(503, b"<html>maintenance</html>"), PauseReason.API_UNREACHABLE),
        (answer_json({"code": 500, "message": "Internal Server Error"}, 500), PauseReason.API_UNREACHABLE),
        (answer(302, headers={"Location": "http://hotel.example/login"}), PauseReason.API_UNREACHABLE),
        (answer(404, b"<html>nginx</html>"), PauseReason.ENDPOINT_NOT_FOUND),
    ],
)
async def test_a_refresh_that_was_certainly_not_handled_is_repeated(
    server: ScriptedServer, tmp_path: Path, step: Any, expected: PauseReason
) -> None:
    server.on(POLL, UNAUTHORIZED, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, step, pair_answer(1))
    async with client(server, tmp_path) as api:
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
        assert reason(caught) is expected
        assert stored(tmp_path)["sent"] == []
        await api.history("x")
    assert bearers(server)[-1] == "Bearer access-1"


@pytest.mark.parametrize("configured", [PAIR, BOTH])
async def test_a_page_that_refuses_a_refresh_costs_no_token(
    server: ScriptedServer, tmp_path: Path, configured: Credentials
) -> None:
    hotel = answer(401, b"<html>Room number?</html>")
    server.on(POLL, hotel)
    server.on(REFRESH, hotel, pair_answer(1))
    server.on(SIGN_IN, hotel)
    async with client(server, tmp_path, source=Source(configured)) as api:
        with pytest.raises(AccountAway):
            await api.history("x")
        server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
        await api.history("x")
    assert bearers(server)[-1] == "Bearer access-1"


async def test_a_slowed_refresh_says_for_how_long(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED)
    server.on(REFRESH, answer(429, headers={"Retry-After": "7"}))
    async with client(server, tmp_path) as api:
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
    assert caught.value.retry_after == 7


async def test_a_refresh_cut_off_by_a_crash_is_never_repeated(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED)
    server.on(REFRESH, Hang())
    found: dict[str, Any] = {}
    server.hooks.append(lambda seen: found.update(stored(tmp_path)) if seen.method == "PUT" else None)
    async with client(server, tmp_path, timeout=answer_timeout(Hang())) as api:
        with pytest.raises(AccountAway):
            await api.history("x")
    (tmp_path / "tokens.json").write_text(json.dumps(found))
    async with client(server, tmp_path) as api:
        with pytest.raises(AccountAway):
            await api.history("x")
    assert len(server.requests(REFRESH)) == 1


async def test_a_cancelled_call_does_not_cut_off_the_refresh(server: ScriptedServer, tmp_path: Path) -> None:
    refresh_came, go_on = asyncio.Event(), asyncio.Event()
    server.hooks.append(lambda seen: refresh_came.set() if seen.method == "PUT" else None)
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, After(go_on, pair_answer(1)))
    async with client(server, tmp_path) as api:
        call = asyncio.create_task(api.history("x"))
        await refresh_came.wait()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        go_on.set()
    assert stored(tmp_path)["access_token"] == "access-1"


async def test_an_unreadable_token_file_does_not_free_a_used_up_token(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_bytes(b"{\x00")
    server.on(POLL, UNAUTHORIZED)
    async with client(server, tmp_path) as api:
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
    assert reason(caught) is PauseReason.LOGIN_REFUSED
    assert server.requests(REFRESH) == []


@pytest.mark.parametrize("text", ["[]", "{}", '{"access_token": 1}', "null", '"x"', "nonsense"])
async def test_any_content_of_the_token_file_is_survived(server: ScriptedServer, tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens.json").write_text(text)
    server.on(POLL, EMPTY_POLL)
    async with client(server, tmp_path) as api:
        await api.history("x")
    assert bearers(server) == ["Bearer access-0"]


async def test_a_state_dir_that_is_gone_sends_no_refresh_token(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, EMPTY_POLL)
    state = tmp_path / "state"
    state.mkdir()
    async with client(server, state) as api:
        await api.history("x")
        server.on(POLL, UNAUTHORIZED, UNAUTHORIZED, EMPTY_POLL)
        server.on(REFRESH, pair_answer(1))
        state.rename(tmp_path / "aside")
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
        assert reason(caught) is PauseReason.STORAGE_UNAVAILABLE
        assert server.requests(REFRESH) == []
        (tmp_path / "aside").rename(state)
        await api.history("x")


async def test_a_pair_that_cannot_be_written_is_kept_until_it_can(server: ScriptedServer, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()

    def take_away(seen: Seen) -> None:
        if seen.method == "PUT":
            state.rename(tmp_path / "aside")

    server.hooks.append(take_away)
    server.on(POLL, UNAUTHORIZED, UNAUTHORIZED, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    async with client(server, state) as api:
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
        assert reason(caught) is PauseReason.STORAGE_UNAVAILABLE
        assert bearers(server) == ["Bearer access-0"]
        (tmp_path / "aside").rename(state)
        await api.history("x")
    assert bearers(server) == ["Bearer access-0", "Bearer access-0", "Bearer access-1"]
    assert stored(state)["access_token"] == "access-1"
    assert len(server.requests(REFRESH)) == 1


# --- login


async def test_email_and_password_log_in_first(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, EMPTY_POLL)
    server.on(SIGN_IN, pair_answer(1))
    for _ in range(2):
        async with client(server, tmp_path, source=Source(LOGIN)) as api:
            await asyncio.gather(*(api.history("x") for _ in range(3)))
    (login,) = server.requests(SIGN_IN)
    expected = base64.b64encode("studio@example.com:pass:wörd".encode()).decode()
    assert login.header("authorization") == f"Basic {expected}"
    assert (login.body, login.header("content-length")) == (b"", "0")
    assert set(bearers(server)) == {"Bearer access-1"}


async def test_a_pair_from_a_login_is_refreshed_like_any_other(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    server.on(SIGN_IN, pair_answer(1))
    server.on(REFRESH, pair_answer(2))
    async with client(server, tmp_path, source=Source(LOGIN)) as api:
        await api.history("x")
    assert server.requests(REFRESH)[0].json == {"access_token": "access-1", "refresh_token": "refresh-1"}
    assert bearers(server) == ["Bearer access-1", "Bearer access-2"]


async def test_a_refused_login_is_not_hammered(server: ScriptedServer, tmp_path: Path) -> None:
    clock = StoppedClock()
    server.on(SIGN_IN, UNAUTHORIZED)
    async with client(server, tmp_path, source=Source(LOGIN), clock=clock) as api:
        found = await asyncio.gather(*(api.history("x") for _ in range(5)), return_exceptions=True)
        assert {error.reason for error in found if isinstance(error, AccountAway)} == {PauseReason.LOGIN_REFUSED}
        assert len(server.requests(SIGN_IN)) == 1
        clock.now += 301
        with pytest.raises(AccountAway):
            await api.history("x")
    assert len(server.requests(SIGN_IN)) == 2
    assert server.requests(POLL) == []


async def test_a_clock_that_steps_back_does_not_put_the_next_login_off_for_years(
    server: ScriptedServer, tmp_path: Path
) -> None:
    clock = StoppedClock()
    server.on(SIGN_IN, UNAUTHORIZED, pair_answer(1))
    server.on(POLL, EMPTY_POLL)
    async with client(server, tmp_path, source=Source(LOGIN), clock=clock) as api:
        with pytest.raises(AccountAway):
            await api.history("x")
        clock.now -= 3650 * DAY
        await api.history("x")
    assert len(server.requests(SIGN_IN)) == 2


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (answer(429), PauseReason.RATE_LIMITED),
        (answer(502, b"<html>"), PauseReason.API_UNREACHABLE),
        (Reset(), PauseReason.API_UNREACHABLE),
        (answer(200, b"<html>"), PauseReason.API_UNREACHABLE),
        (answer(200, b"{}"), PauseReason.API_UNREACHABLE),
        (answer(404), PauseReason.ENDPOINT_NOT_FOUND),
        (answer(403, b"<html>firewall</html>"), PauseReason.API_UNREACHABLE),
    ],
)
async def test_a_login_that_fails_otherwise_is_tried_again(
    server: ScriptedServer, tmp_path: Path, step: Any, expected: PauseReason
) -> None:
    server.on(POLL, EMPTY_POLL)
    server.on(SIGN_IN, step, pair_answer(1))
    async with client(server, tmp_path, source=Source(LOGIN)) as api:
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
        assert reason(caught) is expected
        await api.history("x")


async def test_a_corrected_source_heals_by_itself(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    source = Source(ACCESS_ONLY)
    async with client(server, tmp_path, source=source) as api:
        with pytest.raises(AccountAway) as caught:
            await api.history("x")
        assert reason(caught) is PauseReason.LOGIN_REFUSED
        server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
        source.now = Credentials(access_token="access-new")
        await api.history("x")
    assert bearers(server) == ["Bearer access-0", "Bearer access-0", "Bearer access-new"]


async def test_an_api_that_refused_by_config_error_heals_by_itself(server: ScriptedServer, tmp_path: Path) -> None:
    server.on(POLL, UNAUTHORIZED, EMPTY_POLL)
    async with client(server, tmp_path, source=Source(ACCESS_ONLY)) as api:
        with pytest.raises(AccountAway):
            await api.history("x")
        await api.history("x")


async def test_credentials_that_cannot_be_read_are_said_so(server: ScriptedServer, tmp_path: Path) -> None:
    def unreadable() -> Credentials:
        raise ConfigurationError((Problem(where="w", path="p", expected="e", found="nothing"),))

    async with client(server, tmp_path, source=unreadable) as api:
        with pytest.raises(AccountAway, match=r"cannot be read: .*found nothing") as caught:
            await api.history("x")
    assert reason(caught) is PauseReason.LOGIN_REFUSED


@pytest.mark.parametrize("token", ["tök", "a\r\nX-Evil: 1", "a b\x00", " a "])
async def test_a_token_that_cannot_be_sent_is_said_so(server: ScriptedServer, tmp_path: Path, token: str) -> None:
    source = Source(Credentials(access_token=token))
    async with client(server, tmp_path, source=source) as api:
        with pytest.raises(AccountAway, match="characters that no token has") as caught:
            await api.generate("id", Offsets(top=1))
    assert reason(caught) is PauseReason.LOGIN_REFUSED
    assert server.connections == 0


# --- ahead of the end

HOUR = 3600.0


def in_an_hour(now: float) -> str:
    return datetime.fromtimestamp(now + HOUR, UTC).isoformat()


async def test_a_pair_is_renewed_three_days_before_its_end(server: ScriptedServer, tmp_path: Path) -> None:
    clock = StoppedClock()
    server.on(POLL, EMPTY_POLL)
    server.on(SIGN_IN, pair_answer(1, access_expiration="2027-02-14T08:00:00Z"))
    server.on(REFRESH, pair_answer(2, access_expiration="2027-03-16T08:00:00Z"))
    async with client(server, tmp_path, source=Source(LOGIN), clock=clock) as api:
        await api.history("x")
        assert stored(tmp_path)["expires"] == NOW + 30 * DAY
        clock.now = NOW + 27 * DAY - 1
        await api.history("x")
        assert server.requests(REFRESH) == []
        clock.now = NOW + 27 * DAY + 1
        await api.history("x")
        await api.history("x")
    assert len(server.requests(REFRESH)) == 1
    assert bearers(server)[2:] == ["Bearer access-2"] * 2


async def test_short_lived_pair_is_renewed_in_its_last_minutes(server: ScriptedServer, tmp_path: Path) -> None:
    clock = StoppedClock()
    server.on(POLL, EMPTY_POLL)
    server.on(SIGN_IN, pair_answer(1, access_expiration=in_an_hour(NOW)))
    server.on(REFRESH, pair_answer(2, access_expiration=in_an_hour(NOW + HOUR)))
    for minutes, renewals in ((0, 0), (20, 0), (53, 0), (55, 1), (57, 1)):
        clock.now = NOW + minutes * 60
        async with client(server, tmp_path, source=Source(LOGIN), clock=clock) as api:
            await api.history("x")
        assert len(server.requests(REFRESH)) == renewals


async def test_a_pair_of_unknown_end_is_renewed_after_twenty_days(server: ScriptedServer, tmp_path: Path) -> None:
    clock = StoppedClock()
    server.on(POLL, EMPTY_POLL)
    server.on(REFRESH, pair_answer(1))
    for days, expected in ((0, "access-0"), (19, "access-0"), (21, "access-1"), (22, "access-1")):
        clock.now = NOW + days * DAY
        async with client(server, tmp_path, clock=clock) as api:
            await api.history("x")
        assert bearers(server)[-1] == f"Bearer {expected}"
    assert len(server.requests(REFRESH)) == 1


async def test_a_renewal_ahead_that_fails_disturbs_nothing(server: ScriptedServer, tmp_path: Path) -> None:
    clock = StoppedClock()
    server.on(POLL, EMPTY_POLL)
    server.on(REFRESH, answer(503), pair_answer(1))
    async with client(server, tmp_path, clock=clock) as api:
        await api.history("x")
        clock.now += 21 * DAY
        await api.history("x")
        await api.history("x")
        assert len(server.requests(REFRESH)) == 1
        clock.now += 601
        await api.history("x")
    assert bearers(server) == ["Bearer access-0"] * 3 + ["Bearer access-1"]


# --- the paid call


async def test_a_refresh_that_is_lost_says_nothing_about_the_paid_call(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("POST /edit/generate", UNAUTHORIZED, Reset())
    server.on(REFRESH, Reset())
    async with client(server, tmp_path) as api:
        with pytest.raises(AccountAway) as caught:
            await api.generate("id", Offsets(top=1))
    assert reason(caught) is PauseReason.LOGIN_REFUSED
    assert not isinstance(caught.value, OutcomeUnknown)
    assert len(server.requests("POST /edit/generate")) == 1
