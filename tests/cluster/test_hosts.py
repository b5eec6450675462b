"""Several real daemons over one inbox, one account and a real Postgres, which die, freeze and come back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from expandd.adapters.store.postgres.connection import PostgresConnection
from expandd.adapters.store.postgres.hosts import HostChanges
from expandd.domain.hosts import HostLine
from expandd.simulator.server import Simulator
from expandd.simulator.switches import Switches
from tests.support.cluster import LEASE, hosts
from tests.support.daemon import Daemon, names
from tests.support.images import an_image
from tests.support.mounting import fill, needs_mounts
from tests.support.postgres import Server, running, standby

POLL = 0.1

long = pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="half a minute; set EXPANDD_STORM=1")


@pytest.fixture
def server() -> Iterator[Simulator]:
    with Simulator(Switches(poll_limit=POLL, generate_min=0.5, generate_max=1.0, pro=True)) as running:
        yield running


class Cluster:
    """Three hosts, and what lies in the folders that they share."""

    def __init__(self, root: Path, server: Simulator, database: str, stack: ExitStack) -> None:
        self.houses = hosts(root, server.api_url, database, "abc", top="workers: 2", api="unknown_wait: 3s")
        self.server = server
        self._database = database
        self._root = root
        self._stack = stack

    def start(self, name: str) -> Daemon:
        return self._stack.enter_context(self.houses[name].running())

    def drop(self, number: int) -> None:
        (self._root / "hot" / "inbox" / f"{number:02}.png").write_bytes(an_image("png", seed=number))

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.files('outbox')}; {self.server.counts()}"
            time.sleep(0.05)

    def taken_for_dead(self) -> set[str]:
        """The names of the hosts of which nothing was heard for too long."""
        return {host.name for host in self.hosts() if host.dead}

    def hosts(self) -> Sequence[HostLine]:
        with closing(PostgresConnection(self._database)) as connection:
            return HostChanges(connection).hosts()

    def files(self, part: str) -> list[str]:
        return names(self._root / "hot" / part)

    def assert_all_done_once(self, images: int, *, late_polls: int = 0) -> None:
        """Each image was paid for once and delivered once, and its original archived.

        A host that freezes as it sends a poll sends it late, at most once.
        """
        expected = [f"{number:02}.png" for number in range(images)]
        self.until(lambda: self.files("done") == expected)
        counts = self.server.counts()
        assert self.files("outbox") == expected
        assert self.files("inbox") == self.files("error") == []
        assert counts.generates_accepted == images
        assert set(counts.generates_by_source.values()) == {1}
        assert counts.polls_too_close <= late_polls


@pytest.fixture
def cluster(tmp_path: Path, server: Simulator, postgres: Server) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(tmp_path, server, postgres.database(), stack)


def test_three_hosts_share_an_inbox_and_one_that_is_killed_costs_nothing(cluster: Cluster) -> None:
    daemons = {name: cluster.start(name) for name in "abc"}
    for number in range(18):
        cluster.drop(number)
    cluster.until(lambda: cluster.server.counts().generates_accepted >= 6)
    daemons["a"].kill()
    cluster.until(lambda: "a" in cluster.taken_for_dead())
    # What it was about to pay for is paid for by another only once it is proven that it is dead.
    cluster.start("a")
    cluster.assert_all_done_once(18)


def test_a_host_that_freezes_for_longer_than_its_lease_goes_on_as_a_new_member(cluster: Cluster) -> None:
    frozen, other = cluster.start("a"), cluster.start("b")
    for number in range(8):
        cluster.drop(number)
    cluster.until(lambda: cluster.server.counts().generates_accepted >= 2)
    frozen.process.send_signal(signal.SIGSTOP)
    cluster.until(lambda: "a" in cluster.taken_for_dead())
    frozen.process.send_signal(signal.SIGCONT)
    frozen.wait_for("cluster.fenced")
    frozen.wait_for("expandd.started", times=2)
    cluster.assert_all_done_once(8, late_polls=1)
    assert other.stop() == frozen.stop() == 0


def test_a_postgres_that_dies_and_comes_back_costs_a_wait_and_no_image(cluster: Cluster, postgres: Server) -> None:
    first, second = cluster.start("a"), cluster.start("b")
    for number in range(8):
        cluster.drop(number)
    cluster.until(lambda: cluster.server.counts().generates_accepted >= 2)
    postgres.stop()
    # What was on its way to the API when it died may still arrive there.
    time.sleep(1.0)
    accepted = cluster.server.counts().generates_accepted
    time.sleep(1.2 * LEASE)
    assert cluster.server.counts().generates_accepted == accepted
    assert cluster.files("error") == []
    postgres.start()
    cluster.assert_all_done_once(8)
    assert first.stop() == second.stop() == 0


@long
def test_a_standby_that_takes_over_costs_a_wait_and_no_image(tmp_path: Path, server: Simulator) -> None:
    with running() as primary, standby(primary) as follower, ExitStack() as stack:
        database = primary.database()
        primary.follow_synchronously()
        # The one that takes no writes comes first: it must be passed over before, and used after.
        cluster = Cluster(tmp_path, server, primary.reached(database, follower), stack)
        daemons = [cluster.start(name) for name in "ab"]
        for number in range(12):
            cluster.drop(number)
        cluster.until(lambda: server.counts().generates_accepted >= 3)
        primary.stop()
        daemons[0].wait_for("pause.started", lambda line: line["pause"] == "job database")
        assert cluster.files("error") == []
        follower.promote()
        cluster.assert_all_done_once(12)
        assert [daemon.stop() for daemon in daemons] == [0, 0]


@long
def test_a_standby_that_lacks_the_last_commits_lets_no_image_be_paid_for_twice(
    tmp_path: Path, server: Simulator
) -> None:
    with running() as primary, standby(primary) as follower, ExitStack() as stack:
        cluster = Cluster(tmp_path, server, primary.reached(primary.database(), follower), stack)
        for name in "ab":
            cluster.start(name)
        for number in range(18):
            cluster.drop(number)
        cluster.until(lambda: server.counts().generates_accepted >= 3)
        follower.follow_no_more()
        cluster.until(lambda: server.counts().generates_accepted >= 9)
        primary.stop()
        follower.promote()
        expected = [f"{number:02}.png" for number in range(18)]
        cluster.until(lambda: cluster.files("done") == expected)
        # What it does not know to be delivered is delivered once more, under another name.
        assert set(cluster.files("outbox")) >= set(expected)
        assert cluster.files("inbox") == cluster.files("error") == []
        assert set(server.counts().generates_by_source.values()) == {1}


@long
@needs_mounts
def test_a_postgres_whose_disk_is_full_costs_a_wait_and_no_image(tmp_path: Path, server: Simulator) -> None:
    with running(size="128m") as full, ExitStack() as stack:
        cluster = Cluster(tmp_path, server, full.database(), stack)
        daemons = [cluster.start(name) for name in "ab"]
        for number in range(12):
            cluster.drop(number)
        cluster.until(lambda: server.counts().generates_accepted >= 3)
        ballast = fill(full.directory)
        # As long as it can be read, status has more to tell.
        cluster.until(lambda: "No space left on device" in cluster.houses["a"].call("status").stdout)
        # Until now it had room for what it writes first; without that it ends, and cannot be started again.
        with pytest.raises(psycopg.Error):
            full.exhaust()
        full.process.wait(20.0)
        time.sleep(1.2 * LEASE)
        accepted = server.counts().generates_accepted
        time.sleep(1.2 * LEASE)
        assert server.counts().generates_accepted == accepted
        assert cluster.files("error") == []
        away = cluster.houses["a"].call("status")
        assert (away.returncode, "check Postgres" in away.stderr) == (1, True), away.stderr
        ballast.unlink()
        full.start()
        cluster.assert_all_done_once(12)
        assert [daemon.stop() for daemon in daemons] == [0, 0]


def test_the_account_is_asked_by_one_host_after_another_when_no_credits_are_left(cluster: Cluster) -> None:
    daemons = [cluster.start(name) for name in "abc"]
    cluster.server.set_credits(2)
    for number in range(6):
        cluster.drop(number)
    cluster.until(lambda: cluster.server.counts().generates_accepted == 2)
    cluster.until(lambda: cluster.server.counts().generates_refused >= 1)
    time.sleep(2.0)
    # Each had at most two images at the API when the first was refused.
    assert cluster.server.counts().generates_refused <= 6
    assert cluster.files("error") == []
    assert [daemon.stop() for daemon in daemons] == [0, 0, 0]


def test_a_host_can_be_drained_and_one_that_is_off_for_good_be_buried(cluster: Cluster) -> None:
    daemons = {name: cluster.start(name) for name in "ab"}
    house = cluster.houses["b"]
    assert house.call("cluster", "drain", "a").returncode == 0
    cluster.until(lambda: any(host.draining for host in cluster.hosts()))
    cluster.until(lambda: not any(host.inboxes for host in cluster.hosts() if host.name == "a"))
    for number in range(6):
        cluster.drop(number)
    cluster.assert_all_done_once(6)
    assert not [line for line in daemons["a"].lines if line.get("event") == "job.finished"]
    assert "a: draining" in house.call("cluster", "status").stdout
    assert house.call("cluster", "bury", "a", "--yes").returncode == 2, "it lives"

    daemons["a"].kill()
    cluster.until(lambda: "a" in cluster.taken_for_dead())
    assert "a: missing" in house.call("cluster", "status").stdout
    assert house.call("cluster", "bury", "a", "--yes").returncode == 0
    assert "a: has ended" in house.call("cluster", "status").stdout
