"""What the real process tells a service manager, from start to stop, and what signals do to it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from expandd.simulator.server import Simulator
from tests.support.daemon import PATIENCE, House, simulator_login
from tests.support.images import an_image
from tests.support.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def house(tmp_path: Path, server: Simulator, manager: ServiceManager) -> House:
    environ = {**simulator_login(), "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "1000000"}
    house = House(tmp_path, server.api_url, environ)
    house.build(top="stop_timeout: 1s")
    return house


def test_ready_is_said_once_all_is_up_and_then_how_it_goes(house: House, manager: ServiceManager) -> None:
    with house.running() as daemon:
        first = manager.until(lambda _: True)
        manager.until(lambda said: "WATCHDOG" in said)
        (house.folder() / "inbox" / "notes.txt").write_text("not an image")
        manager.until(lambda said: said.get("STATUS") == "1 folder, 0 waiting, 0 in progress, 1 in error")
        assert daemon.stop() == 0

    assert first == {"READY": "1", "STATUS": "1 folder, 0 waiting, 0 in progress, 0 in error"}
    assert manager.until(lambda said: "STOPPING" in said)["STATUS"] == "stopping"


def test_a_reload_is_announced_with_its_time_and_ends_with_ready(house: House, manager: ServiceManager) -> None:
    with house.running() as daemon:
        manager.until(lambda said: "READY" in said)
        daemon.process.send_signal(signal.SIGHUP)
        assert int(manager.until(lambda said: "RELOADING" in said)["MONOTONIC_USEC"]) > 0
        manager.until(lambda said: "READY" in said)
        house.config.write_text("nonsense: true")
        daemon.process.send_signal(signal.SIGHUP)
        said = manager.until(lambda said: "READY" in said)

    assert said["STATUS"].startswith("1 folder, ")
    assert "new configuration refused at " in said["STATUS"]


def test_a_stop_goes_on_pinging_and_ends_at_its_deadline(
    house: House, manager: ServiceManager, server: Simulator
) -> None:
    server.switch(generate_min=30.0, generate_max=30.0)
    with house.running() as daemon:
        (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.wait_for("job.accepted")
        daemon.process.send_signal(signal.SIGTERM)
        said = manager.until(lambda said: "STOPPING" in said)
        assert manager.until(lambda said: "WATCHDOG" in said)
        daemon.wait_for("expandd.stopped", lambda line: line["left_for_next_time"] == 1)
        assert daemon.process.wait(timeout=PATIENCE) == 0

    assert said["STATUS"] == "stopping: 1 paid for are fetched and saved first, for 1 s at most"


def test_a_manager_that_does_not_listen_stops_neither_the_work_nor_the_stop(house: House) -> None:
    """Its queue holds ten messages, which are there after a tenth of a second."""
    deaf = House(house.root, house.api_url, {**house.environ, "WATCHDOG_USEC": "30000"})
    with deaf.running() as daemon:
        (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.finished()
        assert daemon.stop() == 0


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(house: House, server: Simulator, again: signal.Signals) -> None:
    house.build(top="stop_timeout: 60s")
    server.switch(generate_min=90.0, generate_max=90.0)
    with house.running() as daemon:
        (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
        daemon.wait_for("job.accepted")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("expandd.stopping")
        daemon.process.send_signal(again)

        assert daemon.process.wait(timeout=PATIENCE) != 0


def test_after_crashes_in_a_row_it_waits_and_can_be_stopped_meanwhile(
    house: House, manager: ServiceManager, tmp_path: Path
) -> None:
    (tmp_path / "crashes").write_text("9")
    waiting = House(house.root, house.api_url, {**house.environ, "RUNTIME_DIRECTORY": str(tmp_path)})
    with waiting.starting() as daemon:
        said = manager.until(lambda said: "EXTEND_TIMEOUT_USEC" in said)
        assert "crashed 9 times in a row" in said["STATUS"]
        assert daemon.stop() == 0

    assert (tmp_path / "crashes").read_text() == "0"
