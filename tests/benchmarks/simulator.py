"""The simulator of a benchmark: a process of its own, whose time and memory count for nobody.

It is the server of `expandd simulate`, told to draw plain results so that the drawing takes little of the machine.
Here it can also go away for a while without forgetting what it knows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches, with_json
from tests.benchmarks import photos

LOGIN = {"PIKTID_EMAIL": "simulator@example.com", "PIKTID_PASSWORD": "simulator"}
TOKEN = "simulator-access"


class SimulatorProcess:
    """The server as a benchmark sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout
        self.url = self._answers.readline().strip()
        if not self.url:
            raise RuntimeError("the simulator did not start")
        self._control = httpx.Client(base_url=f"{self.url}/simulator", timeout=60.0)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    def counts(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._control.get("/counts").raise_for_status().json()
        return answer

    def switch(self, **changes: Any) -> None:
        self._control.post("/switches", json=changes).raise_for_status()

    def go_away(self) -> None:
        """Refuse every connection until `come_back`."""
        self._order("stop")

    def come_back(self) -> None:
        self._order("start")

    def _order(self, word: str) -> None:
        self._orders.write(f"{word}\n")
        self._orders.flush()
        self._answers.readline()


@contextmanager
def simulator(**switches: Any) -> Iterator[SimulatorProcess]:
    """A new server that knows nothing yet, with these switches; gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.simulator", json.dumps(switches)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        yield SimulatorProcess(process)
    finally:
        process.kill()
        process.communicate()


def requests(counts: dict[str, Any]) -> int:
    """All calls of the API and of the link host, whatever their answer; logins apart."""
    apart = {"login", "refresh"}
    return sum(sum(by_status.values()) for name, by_status in counts["calls"].items() if name not in apart)


def calls(counts: dict[str, Any], name: str) -> int:
    return sum(counts["calls"].get(name, {}).values())


def _warm_up() -> None:
    """Upload an image to another server of this process: the first one's call must not be what loads its libraries."""
    image, token = photos.photo(*photos.SMALL), {"Authorization": f"Bearer {TOKEN}"}
    with Simulator(Switches()) as server:
        answer = httpx.post(f"{server.api_url}/expand/target", files={"file": ("image.jpg", image)}, headers=token)
        answer.raise_for_status()


def main() -> None:
    switches = with_json(Switches(pro=True, credits=Decimal(10**9), plain=True), json.loads(sys.argv[1]))
    _warm_up()
    server = Simulator(switches)
    server.start()
    print(server.url, flush=True)
    for order in sys.stdin:
        (server.stop if order.strip() == "stop" else server.start)()
        print(order.strip(), flush=True)


if __name__ == "__main__":
    main()
