"""The real program with its jobs in a real Postgres."""

from __future__ import annotations

from expandd.simulator.server import Simulator
from tests.support.daemon import House, names
from tests.support.images import an_image
from tests.support.postgres import running

IMAGES = 12


def test_a_job_database_that_loses_its_power_costs_time_alone(house: House, server: Simulator) -> None:
    hot = house.folder()
    with running() as postgres:
        address = house.root / "database"
        address.write_text(postgres.database())
        address.chmod(0o600)
        house.build(top="cluster: {database_file: database}")
        with house.running() as daemon:
            for number in range(IMAGES):
                (hot / "inbox" / f"{number:02d}.png").write_bytes(an_image("png", 120 + number, 80))
            daemon.finished(times=2)
            postgres.stop()
            daemon.wait_for("pause.started")
            postgres.start()
            daemon.finished(times=IMAGES)
            told = house.call("status")
            assert daemon.stop() == 0

    assert told.returncode == 0, told.stderr
    assert names(hot / "outbox") == names(hot / "done") == [f"{number:02d}.png" for number in range(IMAGES)]
    assert names(hot / "inbox") == names(hot / "error") == []
    counts = server.counts()
    assert sum(counts.generates_by_image.values()) == IMAGES
    assert set(counts.generates_by_source.values()) == {1}
    assert not (house.state_dir / "journal.sqlite").exists()
