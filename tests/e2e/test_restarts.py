"""What restarts, kills and second instances do to the work: nothing."""

from __future__ import annotations

from expandd.simulator.server import Simulator
from tests.e2e.test_main_job import assert_good_client
from tests.support.daemon import House, installed, names
from tests.support.images import an_image


def test_a_second_instance_on_the_same_state_names_the_first(house: House) -> None:
    with house.running() as daemon:
        second = house.call("run")

        assert second.returncode == 75
        assert str(daemon.process.pid) in second.stderr


def test_a_second_instance_on_the_same_inbox_names_the_first(house: House) -> None:
    with house.running() as daemon:
        house.build(top="")
        house.config.write_text(house.config.read_text().replace(str(house.state_dir), str(house.root / "other")))
        second = house.call("run")

        assert second.returncode == 75
        assert str(daemon.process.pid) in second.stderr


def test_a_kill_while_the_api_works_is_not_paid_twice(house: House, server: Simulator) -> None:
    server.switch(generate_min=1.0, generate_max=1.0)
    for number in range(3):
        (house.folder() / "inbox" / f"pic{number}.png").write_bytes(an_image("png", seed=number))
    with house.running() as daemon:
        daemon.wait_for("job.accepted", times=3)
        daemon.kill()
    with house.running(installed(house)) as daemon:
        daemon.finished(times=3)
        assert daemon.stop() == 0

    assert names(house.folder() / "outbox") == ["pic0.png", "pic1.png", "pic2.png"]
    assert_good_client(server, images=3)


def test_a_lost_answer_to_the_paid_call_is_found_out_by_reconciler(house: House, server: Simulator) -> None:
    house.build(api="unknown_wait: 3s")
    server.set_fault("generate:reset-after")
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.unknown")
        daemon.finished()

    assert_good_client(server, images=1)


def test_a_paid_call_that_never_arrived_is_made_once_the_history_proves_it(house: House, server: Simulator) -> None:
    house.build(api="unknown_wait: 2s")
    server.set_fault("generate:reset")
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.unknown")
        daemon.finished()

    assert_good_client(server, images=1)


def test_stopping_and_starting_goes_on_where_it_was(house: House, server: Simulator) -> None:
    # Less than it takes until the history is asked too, which may be faster than the notification.
    server.switch(generate_min=1.0, generate_max=1.0)
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    with house.running() as daemon:
        daemon.wait_for("job.accepted")
        assert daemon.stop() == 0
    outcome = house.call("once")

    assert outcome.returncode == 0
    assert names(house.folder() / "outbox") == ["pic.png"]
    assert_good_client(server, images=1)


def test_no_credits_pause_everything_until_there_are_some(house: House, server: Simulator) -> None:
    server.set_credits(0)
    for number in range(3):
        (house.folder() / "inbox" / f"pic{number}.png").write_bytes(an_image("png", seed=number))
    with house.running() as daemon:
        daemon.wait_for("pause.started", lambda line: line["reason"] == "no_credits")
        server.set_credits(10)
        daemon.wait_for("pause.ended", lambda line: line["reason"] == "no_credits")
        daemon.finished(times=3)

    assert names(house.folder() / "error") == []
    assert_good_client(server, images=3)


def test_an_expired_token_is_renewed_and_kept_over_a_restart(house: House, server: Simulator) -> None:
    house = House(
        house.root,
        server.api_url,
        {"PIKTID_ACCESS_TOKEN": "simulator-access", "PIKTID_REFRESH_TOKEN": "simulator-refresh"},
    )
    for number in range(2):
        server.expire_access_tokens()
        (house.folder() / "inbox" / f"pic{number}.png").write_bytes(an_image("png", seed=number))
        with house.running() as daemon:
            daemon.finished()
            assert daemon.stop() == 0

    assert server.counts().refresh_reused == 0
    assert_good_client(server, images=2)
