"""Two daemons on one inbox or one account: the second refuses and says why, or both are safe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import House, names, simulator_login
from tests.support.images import an_image

PAIR = {"PIKTID_ACCESS_TOKEN": "simulator-access", "PIKTID_REFRESH_TOKEN": "simulator-refresh"}


def a_house(root: Path, server: Simulator, environ: dict[str, str]) -> House:
    root.mkdir()
    house = House(root, server.api_url, environ)
    house.build()
    return house


def test_the_second_of_two_state_directories_on_one_inbox_names_the_first(tmp_path: Path, server: Simulator) -> None:
    first = a_house(tmp_path / "first", server, simulator_login())
    second = a_house(tmp_path / "second", server, simulator_login())
    defaults = second.config.read_text(encoding="utf-8")
    second.config.write_text(defaults.replace(f"root: {second.folder()}", f"root: {first.folder()}"), encoding="utf-8")
    with first.running() as daemon:
        refused = second.call("run")

        assert refused.returncode == 75
        assert f"process {daemon.process.pid}" in refused.stderr
        assert str(first.folder() / "inbox") in refused.stderr


def test_two_daemons_of_one_account_leave_each_others_results_alone(tmp_path: Path, server: Simulator) -> None:
    houses = [a_house(tmp_path / name, server, simulator_login()) for name in ("first", "second")]
    # Both poll one account, which answers each of them often enough only if it is not at its limit.
    server.switch(poll_limit=0.02)
    dropped = {f"pic{number}.png": number for number in range(4)}
    with houses[0].running() as first, houses[1].running() as second:
        for offset, house in enumerate(houses):
            for name, number in dropped.items():
                (house.folder() / "inbox" / name).write_bytes(an_image("png", seed=10 * offset + number))
        for daemon in (first, second):
            daemon.finished(times=4)
        said = [house.call("status").stdout for house in houses]
        shared = json.loads(houses[1].call("status", "--json").stdout)["account_shared_with"]
        for daemon in (first, second):
            assert daemon.stop() == 0
    counts = server.counts()

    for house in houses:
        assert names(house.folder() / "outbox") == names(house.folder() / "done") == sorted(dropped)
        assert names(house.folder() / "error") == []
    assert shared == f"process {first.process.pid}"
    assert f"Account shared: {shared} worked" in said[1]
    assert "Account shared" not in said[0], "it was there first"
    assert set(counts.generates_by_source.values()) == {1}
    assert counts.generates_accepted == 8
    # A result whose notification was deleted by the other would have had to be asked for.
    assert counts.total("history") == 0
    assert counts.deletes_before_download == counts.deletes_foreign == 0
    assert counts.authorization_at_link_host == counts.refresh_reused == 0


def test_the_second_daemon_with_the_same_token_pair_refuses_and_says_what_to_do(
    tmp_path: Path, server: Simulator
) -> None:
    first = a_house(tmp_path / "first", server, PAIR)
    second = a_house(tmp_path / "second", server, PAIR)
    with first.running() as daemon:
        refused = second.call("run")
        (first.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.finished()
        assert daemon.stop() == 0

    assert refused.returncode == 75
    assert f"process {daemon.process.pid}" in refused.stderr
    assert "a token pair of its own, or e-mail and password" in refused.stderr
    assert "simulator-refresh" not in refused.stderr
    assert_good_client(server, images=1)


@pytest.mark.parametrize("verb", ["once", "run"])
def test_a_token_pair_is_free_again_as_soon_as_its_daemon_is_dead(verb: str, tmp_path: Path, server: Simulator) -> None:
    first = a_house(tmp_path / "first", server, PAIR)
    second = a_house(tmp_path / "second", server, PAIR)
    with first.running() as daemon:
        daemon.kill()
    (second.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    if verb == "once":
        assert second.call("once").returncode == 0
    else:
        with second.running() as daemon:
            daemon.finished()
            assert daemon.stop() == 0

    assert names(second.folder() / "outbox") == ["pic.png"]


def test_the_same_access_token_alone_can_be_shared(tmp_path: Path, server: Simulator) -> None:
    """Nothing is renewed without a refresh token, so nothing can be revoked."""
    access = {"PIKTID_ACCESS_TOKEN": "simulator-access"}
    first = a_house(tmp_path / "first", server, access)
    second = a_house(tmp_path / "second", server, access)
    (second.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with first.running():
        assert second.call("once").returncode == 0


def test_two_daemons_of_one_account_share_its_poll_limit_fairly(tmp_path: Path, server: Simulator) -> None:
    """Each polls as often as the account may in all: without giving way, one would be refused again and again."""
    houses = [a_house(tmp_path / name, server, simulator_login()) for name in ("first", "second")]
    server.switch(poll_limit=0.1)
    dropped = [f"pic{number}.png" for number in range(8)]
    with houses[0].running() as first, houses[1].running() as second:
        for offset, house in enumerate(houses):
            for number, name in enumerate(dropped):
                (house.folder() / "inbox" / name).write_bytes(an_image("png", seed=100 * offset + number))
        for daemon in (first, second):
            daemon.finished(times=len(dropped))
            assert daemon.stop() == 0
    counts = server.counts()

    for house in houses:
        assert names(house.folder() / "outbox") == dropped
        assert names(house.folder() / "error") == []
    assert counts.generates_accepted == 2 * len(dropped)
    polls = counts.calls["poll"]
    assert polls.get("429", 0) <= polls["200"] + 5
    (told,) = [line for line in second.lines if line["event"] == "account.shared"]
    assert f"process {first.process.pid}" in told["holder"]
    assert [line for line in first.lines if line["event"] == "account.shared"] == []
    for daemon in (first, second):
        # The limit of polls holds up nothing else.
        assert [line for line in daemon.lines if line["event"] == "pause.started"] == []
