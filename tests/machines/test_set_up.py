"""An administrator sets up two hosts as systemd/README.md says: each with a kernel and a systemd of its own, over NFS.

EXPANDD_STORM=1 runs it. Its own commands are run as they stand there.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.machines.machine import ON_MACHINES, Machine, Site, site
from tests.support.images import an_image
from tests.support.postgres import Server, wire

ROOT = Path(__file__).parents[2]
FOLDER = "/srv/expand/stories"
SERVICE = "expandd.service"
LOGIN = b"PIKTID_EMAIL=simulator@example.com\nPIKTID_PASSWORD=simulator\n"
ALICE = 1001
PATIENCE = 120.0

pytestmark = [*ON_MACHINES, pytest.mark.timeout(1200.0)]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Switches(poll_limit=0.05, pro=True, credits=Decimal(1000))) as running:
        yield running


@pytest.fixture
def machines(tmp_path: Path, simulator: Simulator) -> Iterator[Site]:
    ports = [urlsplit(url).port or 0 for url in (simulator.url, simulator.link_url)]
    with site(tmp_path / "machines", "ab", ports, systemd=True) as found:
        yield found


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """What pip installs from: these machines reach no index."""
    pip = [str(tmp_path / "pip" / "bin" / "pip"), "--quiet", "--disable-pip-version-check"]
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(tmp_path / "pip")], check=True)
    needed = ["--require-hashes", "-r", str(ROOT / "requirements-cluster.txt")]
    subprocess.run([*pip, "download", *needed, "--dest", str(tmp_path / "packages")], check=True)
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "config.example.yaml", "daemon", "systemd"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path / "packages"), str(source)], check=True)
    return tmp_path / "packages"


def commands(first_word: str) -> list[str]:
    """Those of the block in "Several hosts" that begins so, in their order."""
    section = (ROOT / "systemd" / "README.md").read_text(encoding="utf-8").partition("## Several hosts")[2]
    blocks = re.findall(r"```sh\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(first_word)]
    return [line.partition("  #")[0].strip() for line in found.splitlines()]


def set_up(host: Machine, database: str, configuration: str, packages: Path, server: str) -> None:
    """All that the page asks for, with an administrator's answers at each `editor`."""
    pip = ["/opt/expandd/bin/pip", "install", "--quiet", "--no-index", "--find-links", str(packages)]
    host.run("/usr/bin/python3", "-m", "venv", "/opt/expandd")
    host.run(*pip, "--require-hashes", "-r", str(ROOT / "requirements-cluster.txt"))
    host.run(*pip, "--no-deps", "expandd")
    for command in commands("groupadd"):
        match command.split():
            case ["editor", "/etc/expandd/database"]:
                host.run("sh", "-c", f"echo '{database}' > /etc/expandd/database")
            case ["editor", "/etc/expandd/config.yaml"]:
                host.write("/etc/expandd/config.yaml", configuration.encode())
                host.write("/etc/expandd/piktid", LOGIN, 0o600)
            case ["mount", *options, share, directory]:
                host.run("mount", *options, f"{server}:/", directory)
                line = f"{server}:/ {directory} nfs4 vers=4.1,hard,_netdev 0 0"
                host.run("sh", "-c", f"echo '{line}' >> /etc/fstab; systemctl daemon-reload")
                assert share == f"FILESERVER:{directory}"
            case _:
                host.run("sh", "-ec", f"cd '{ROOT}'; {command}")


def drop(machines: Site, *numbers: int) -> None:
    for number in numbers:
        path = f"{FOLDER}/inbox/{number}.png"
        machines.server.write(path, an_image("png", seed=number))
        machines.server.run("chown", f"{ALICE}:980", path)


def wait_for(machines: Site, part: str, expected: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := machines.server.names(f"{FOLDER}/{part}")) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_two_hosts_are_set_up_by_the_page_and_one_goes_on_without_the_other(
    machines: Site, simulator: Simulator, postgres: Server, packages: Path
) -> None:
    postgres.run("CREATE DATABASE expandd")
    with wire(postgres, postgres.url("expandd"), machines.gateway) as way:
        began = time.monotonic()
        machines.server.run("sh", "-ec", "\n".join(commands("install -d")))
        configuration = (
            "cluster: {database_file: /etc/expandd/database, lease: 5s}\n"
            f"api: {{base_url: '{simulator.api_url}', poll_interval: 100ms}}\n"
            f"folders: [{{root: {FOLDER}, offsets: {{top: 10, left: 25%}}}}]\n"
        )
        for host in machines.hosts.values():
            set_up(host, way.url, configuration, packages, machines.server.address)
        print(f"\ntwo hosts set up in {time.monotonic() - began:.0f} s")
        first, second = machines.hosts.values()
        said = second.run("expandd", "cluster", "status")
        assert "a: works" in said
        assert "b: works" in said
        drop(machines, *range(6))
        wait_for(machines, "done", [f"{number}.png" for number in range(6)])
        first.lose_power()
        drop(machines, 6, 7)
        wait_for(machines, "done", [f"{number}.png" for number in range(8)])
        first.power_on()
        deadline = time.monotonic() + PATIENCE
        while "a: works" not in (said := second.run("expandd", "cluster", "status")):
            assert time.monotonic() < deadline, said
            time.sleep(1.0)
    assert machines.server.names(f"{FOLDER}/outbox") == [f"{number}.png" for number in range(8)]
    assert machines.server.names(f"{FOLDER}/error") == []
    assert set(simulator.counts().generates_by_source.values()) == {1}
    assert len(simulator.counts().generates_by_source) == 8
