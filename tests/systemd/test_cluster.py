"""The installed service, in its sandbox, as one of several hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.postgres import Server, door
from tests.systemd.machine import Machine
from tests.systemd.service import EXPANDD, HOT, PROGRAM, SOURCE, Service, index

pytestmark = pytest.mark.timeout(300)

DATABASE = "/etc/expandd/database"
SPOOL = "/srv/spool"


def test_the_service_joins_a_cluster_and_comes_back_to_it(machine: Machine, service: Service, postgres: Server) -> None:
    pip = (f"{PROGRAM}/bin/pip", "install", "--quiet", "--require-hashes")
    machine.with_network(*pip, "-r", f"{SOURCE}/requirements-cluster.txt", environ=index())
    name = postgres.database().partition("?")[0].rpartition("/")[2]
    before = service.paid()
    with door(postgres, Path(machine.directory, "share", "postgres")):
        machine.write(DATABASE, f"postgresql://postgres@/{name}?host=/run/share/postgres", 0o600)
        machine.run("chown", "expandd", DATABASE)
        machine.run("install", "-d", "-m", "700", "-o", "expandd", SPOOL)
        service.configure(HOT, more=f"cluster: {{database_file: {DATABASE}, name: front, spool: {SPOOL}}}\n")
        service.start()
        service.drop("first.png", seed=1)
        service.result("first.png")
        boot = machine.run("cat", "/proc/sys/kernel/random/boot_id").stdout.strip().replace("-", "")
        service.kill("KILL")
        # It is the same machine in the same boot: it waits for no lease of its own.
        service.wait_for("expandd.started")
        service.drop("second.png", seed=2)
        service.result("second.png")
        assert "front: works" in machine.run(EXPANDD, "cluster", "status").stdout
        service.end()
    assert postgres.asked(name, "SELECT DISTINCT boot FROM hosts") == [(boot,)]
    assert service.paid() == before + 2
