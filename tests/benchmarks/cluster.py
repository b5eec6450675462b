"""Several hosts over one Postgres: images a second by their number, what the database is asked, and a takeover.

Each host has its workers; a generation takes as long for all. What two shared cores do to many processes is in it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import psycopg

from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.benchmarks import table
from tests.support.cluster import LEASE, hosts
from tests.support.daemon import Daemon, names
from tests.support.images import an_image
from tests.support.postgres import Server, running

POLL = 0.5
NAMES = "abcdefgh"


@dataclass
class Yard:
    """Hosts that run, the folder that they share, and their database."""

    hot: Path
    daemons: list[Daemon]
    simulator: Simulator
    url: str

    def drop(self, images: int) -> None:
        for number in range(images):
            (self.hot / "inbox" / f"{number:04}.png").write_bytes(an_image("png", seed=number))

    def wait(self, images: int) -> None:
        _until(lambda: len(names(self.hot / "done")) == images)

    def asked(self) -> tuple[int, int]:
        """Transactions, and bytes of WAL, since the server began."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint "
                "FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


def _until(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the hosts do not get on")
        time.sleep(0.05)


@contextmanager
def yard(server: Server, count: int, workers: int, seconds: float) -> Iterator[Yard]:
    switches = Switches(poll_limit=POLL, generate_min=seconds, generate_max=seconds, pro=True, credits=Decimal(100_000))
    with ExitStack() as stack, Simulator(switches) as simulator, tempfile.TemporaryDirectory() as name:
        root, url = Path(name), server.database()
        houses = hosts(root, simulator.api_url, url, NAMES[:count], top=f"workers: {workers}", poll=f"{POLL}s")
        daemons = [stack.enter_context(house.running()) for house in houses.values()]
        yield Yard(root / "hot", daemons, simulator, url)


def throughput(server: Server, count: int, workers: int, seconds: float) -> list[table.Cell]:
    images = 6 * workers * count
    with yard(server, count, workers, seconds) as place:
        before, began = place.asked(), time.monotonic()
        place.drop(images)
        place.wait(images)
        took, after = time.monotonic() - began, place.asked()
        calls = place.simulator.counts().calls
        requests = sum(sum(by.values()) for by in calls.values())
        gap = place.simulator.counts().poll_gap_min
    transactions, wal = ((later - earlier) / images for later, earlier in zip(after, before, strict=True))
    return [count, images, took, images / took, transactions, wal / 1000, requests / images, gap or 0.0]


def idle(server: Server, count: int, seconds: float) -> float:
    """Transactions a second of so many hosts that have nothing to do."""
    with yard(server, count, 4, 1.0) as place:
        time.sleep(5.0)
        before = place.asked()[0]
        time.sleep(seconds)
        return (place.asked()[0] - before) / seconds


def takeover(server: Server) -> float:
    """Seconds from the death of a host, with images at the API, until another carries each of them."""
    with yard(server, 2, 4, 6.0) as place, psycopg.connect(place.url, autocommit=True) as connection:

        def carried_by_first() -> int:
            query = "SELECT count(*) FROM jobs WHERE closed = 0 AND state = 'accepted' AND owner LIKE 'a-%'"
            row = connection.execute(query).fetchone()
            return 0 if row is None else int(row[0])

        time.sleep(2 * LEASE)
        place.drop(8)
        _until(lambda: carried_by_first() > 0)
        # A call that it was about to send would be waited for until it starts again.
        time.sleep(2.0)
        place.daemons[0].kill()
        began = time.monotonic()
        _until(lambda: carried_by_first() == 0)
        took = time.monotonic() - began
        place.wait(8)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one generation")
    chosen = parser.parse_args()
    print(table.machine())
    with running() as server:
        rows = [throughput(server, count, chosen.workers, chosen.seconds) for count in chosen.hosts]
        table.show(
            f"{chosen.workers} workers a host, {chosen.seconds:g} s of generation, one poll in {POLL:g} s",
            ["hosts", "images", "s", "images/s", "transactions/image", "kB of WAL/image", "requests/image", "least s"],
            rows,
        )
        others = [[idle(server, 4, 20.0), takeover(server)]]
        table.show(f"With a lease of {LEASE:g} s", ["transactions/s, 4 idle hosts", "s to a takeover"], others)


if __name__ == "__main__":
    main()
