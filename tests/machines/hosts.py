"""Two hosts of one cluster, each a machine of its own, with one hot folder on a share that both mount by NFS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from expandd.simulator.server import Simulator
from tests.machines.guest import SHARE
from tests.machines.machine import Machine, Site, site
from tests.support.cluster import LEASE
from tests.support.daemon import PARTS, Daemon, command, simulator_login
from tests.support.postgres import Server, wire

HOT = f"{SHARE}/hot"
CONFIG = "/var/lib/expandd-config.yaml"
URL = "/var/lib/expandd-database"


@contextmanager
def hosts(directory: Path, simulator: Simulator, postgres: Server, *, settle: str) -> Iterator[Site]:
    """The machines, with the folder and configured alike; no daemon runs yet."""
    ports = [urlsplit(url).port or 0 for url in (simulator.url, simulator.link_url)]
    with site(directory, "ab", ports) as found, wire(postgres, postgres.database(), found.gateway) as way:
        for part in PARTS:
            found.server.run("mkdir", "-p", f"{HOT}/{part}")
        for name, host in found.hosts.items():
            host.write(URL, way.url.encode(), 0o600)
            host.write(CONFIG, _configuration(name, simulator.api_url, settle).encode())
        yield found


def started(host: Machine) -> Daemon:
    return Daemon(host.begin([*command(), "run", "--verbose", "--config", CONFIG], simulator_login()))


def _configuration(name: str, api_url: str, settle: str) -> str:
    return (
        f"cluster: {{database_file: {URL}, name: {name}, lease: {LEASE:g}s}}\n"
        "state_dir: /var/lib/expandd-state\nworkers: 3\n"
        f'api: {{base_url: "{api_url}", poll_interval: 100ms, timeout: 5s, unknown_wait: 3s}}\n'
        f"defaults: {{{settle}}}\n"
        f"folders:\n  - {{root: {HOT}, offsets: {{top: 10, left: 25%}}}}\n"
    )
