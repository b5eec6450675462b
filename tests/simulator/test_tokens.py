"""POST and PUT /tokens, and what the tokens they give are good for."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from tests.simulator.desk import Desk

# The right credentials under the wrong scheme.
ENCODED = f"Bearer {base64.b64encode(b'simulator@example.com:simulator').decode()}"
START = ("simulator-access", "simulator-refresh")
DAYS = 24 * 3600


def login(desk: Desk, password: str = "simulator", email: str = "simulator@example.com") -> httpx.Response:
    return desk.plain.post(f"{desk.server.api_url}/tokens", auth=(email, password))


def test_the_starting_pair_is_good_and_any_other_is_not(desk: Desk) -> None:
    assert desk.me(START[0]) == 200
    assert desk.me("simulator-acces") == 401


def test_a_server_may_start_without_a_pair(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(access_token=None, refresh_token=None)
    assert desk.me(START[0]) == 401
    assert desk.me(login(desk).json()["access_token"]) == 200


def test_a_login_gives_a_new_pair_good_for_30_days(desk: Desk) -> None:
    pair = login(desk).json()
    assert pair.keys() == {"access_token", "refresh_token", "access_expiration", "refresh_expiration"}
    ends = datetime.strptime(pair["access_expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert ends.timestamp() == pytest.approx(desk.server.clock.now() + 30 * DAYS, abs=5)
    assert desk.me(pair["access_token"]) == 200
    assert desk.me(START[0]) == 200


@pytest.mark.parametrize(("email", "password"), [("simulator@example.com", "wrong"), ("other", "simulator")])
def test_a_wrong_login_is_401(desk: Desk, email: str, password: str) -> None:
    assert login(desk, password, email).status_code == 401


@pytest.mark.parametrize("header", ["Basic %%%", "Bearer simulator-access", "Basic //4=", ENCODED])
def test_a_login_without_readable_basic_credentials_is_401(desk: Desk, header: str) -> None:
    address = f"{desk.server.api_url}/tokens"
    assert desk.plain.post(address, headers={"Authorization": header}).status_code == 401


def test_the_email_and_password_are_switches(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(email="a@b.c", password="se:cret")
    assert login(desk, "se:cret", "a@b.c").status_code == 200


def test_a_refresh_gives_a_new_pair_and_ends_the_old_access_token(desk: Desk) -> None:
    pair = desk.refresh(*START).json()
    assert desk.me(pair["access_token"]) == 200
    assert desk.me(START[0]) == 401


def test_the_old_access_token_may_live_on_for_a_moment(make_desk: Callable[..., Desk]) -> None:
    desk = make_desk(old_access_grace=60.0)
    desk.refresh(*START)
    assert desk.me(START[0]) == 200
    desk.server.clock.advance(60)
    assert desk.me(START[0]) == 401


def test_a_chain_of_refreshes_goes_on(desk: Desk) -> None:
    pair = desk.refresh(*START).json()
    for _ in range(3):
        pair = desk.refresh(pair["access_token"], pair["refresh_token"]).json()
    assert desk.me(pair["access_token"]) == 200


def test_a_refresh_token_used_twice_revokes_every_token(desk: Desk) -> None:
    refreshed = desk.refresh(*START).json()
    logged_in = login(desk).json()
    assert desk.refresh(*START).status_code == 401
    assert desk.me(refreshed["access_token"]) == 401
    assert desk.me(logged_in["access_token"]) == 401
    assert desk.refresh(refreshed["access_token"], refreshed["refresh_token"]).status_code == 401
    assert desk.server.counts().refresh_reused == 1
    assert desk.me(login(desk).json()["access_token"]) == 200


def test_an_unknown_or_mismatched_pair_is_401_and_revokes_nothing(desk: Desk) -> None:
    assert desk.refresh("simulator-access", "nobody").status_code == 401
    assert desk.refresh("other", "simulator-refresh").status_code == 401
    assert desk.me(START[0]) == 200
    assert desk.server.counts().refresh_reused == 0


def test_both_tokens_end_after_30_days(desk: Desk) -> None:
    desk.server.clock.advance(30 * DAYS - 60)
    assert desk.me(START[0]) == 200
    desk.server.clock.advance(60)
    assert desk.me(START[0]) == 401
    assert desk.refresh(*START).status_code == 401


def test_an_expired_access_token_can_still_be_refreshed(desk: Desk) -> None:
    desk.server.expire_access_tokens()
    assert desk.me(START[0]) == 401
    assert desk.me(desk.refresh(*START).json()["access_token"]) == 200


def test_revoked_tokens_cannot_be_refreshed(desk: Desk) -> None:
    desk.server.revoke_tokens()
    assert desk.me(START[0]) == 401
    assert desk.refresh(*START).status_code == 401


def test_a_refresh_takes_just_the_two_tokens(desk: Desk) -> None:
    fields = {"access_token": START[0], "refresh_token": START[1], "url_api": "x"}
    address = f"{desk.server.api_url}/tokens"
    assert desk.plain.put(address, json=fields).status_code == 400
    assert desk.plain.put(address, json={"refresh_token": START[1]}).status_code == 400
    assert desk.refresh(*START).status_code == 200


def test_an_authorization_header_at_refresh_is_counted(desk: Desk) -> None:
    desk.refresh(*START)
    assert desk.server.counts().authorization_at_refresh == 0
    desk.api.put("/tokens", json={})
    assert desk.server.counts().authorization_at_refresh == 1
