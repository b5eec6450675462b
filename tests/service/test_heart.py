"""What systemd hears: a living sentence, a ping while all loops live, and none once one of them is stuck."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from expandd.domain.errors import AccountAway, FolderAway
from expandd.domain.job import JobState
from expandd.domain.pauses import PauseReason
from expandd.engine.flow.heartbeat import Heartbeat
from expandd.service.observability.logs import set_up
from expandd.service.runtime.daemon import FIRST, LONGEST, Crashes, delay
from expandd.service.runtime.systemd import Failures, Notifier, Watchdog, how_it_goes, how_it_stops
from tests.support.fake_api import Fate
from tests.support.service_manager import ServiceManager
from tests.support.workshop import Workshop


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    manager = ServiceManager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
async def workshop() -> AsyncIterator[Workshop]:
    with tempfile.TemporaryDirectory() as base:
        workshop = Workshop(Path(base))
        yield workshop
        await workshop.close()


def heart_of(workshop: Workshop, manager: ServiceManager, log: io.StringIO) -> Watchdog:
    return Watchdog(
        workshop.engine,
        systemd=Notifier({"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "3000000"}),
        failures=Failures(),
        log=set_up(log),
        wall=workshop.clock.wall,
    )


async def test_a_ping_is_sent_while_every_loop_lives_and_none_while_one_is_stuck(
    workshop: Workshop, manager: ServiceManager
) -> None:
    log = io.StringIO()
    workshop.start()
    await workshop.advance(1.0)
    heart = heart_of(workshop, manager, log)
    heart.heartbeat()
    assert manager.waiting() == [{"WATCHDOG": "1"}]

    workshop.engine.heartbeats.follow("watcher", Heartbeat(-1.0))
    heart.heartbeat()
    heart.heartbeat()

    assert manager.waiting() == []
    assert log.getvalue().count("loop.stuck") == 1
    assert '"loop": "watcher"' in log.getvalue()


async def test_the_sentence_tells_counts_and_what_waits_since_when(workshop: Workshop) -> None:
    workshop.api.fate = Fate(seconds=3600.0)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", JobState.ACCEPTED)
    engine, now = workshop.engine, workshop.clock.wall()

    assert how_it_goes(engine, 3, now) == "1 folder, 0 waiting, 1 in progress, 3 in error"
    assert how_it_stops(engine, 20.0) == "stopping: 1 paid for are fetched and saved first, for 20 s at most"

    engine.breakers.account_failed(AccountAway(PauseReason.NO_CREDITS, "no credits left"))
    engine.breakers.inbox(workshop.hot[0].inbox).away(FolderAway(PauseReason.INBOX_UNAVAILABLE, "not mounted"))
    told = how_it_goes(engine, 0, now)

    assert "; paused: no credits are left since " in told
    assert f"; {workshop.hot[0].inbox}: the folder is away since " in told
    assert "-" in how_it_goes(engine, 0, now + 3 * 86400).partition("no credits are left since ")[2][:10]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "2000000"}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 2.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "nonsense"}, None),
    ],
)
def test_the_watchdog_is_the_one_systemd_means_us_to_have(environ: dict[str, str], seconds: float | None) -> None:
    assert Notifier(environ).watchdog == seconds


def test_a_service_manager_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "nobody"), "@nobody-listens-here"):
        Notifier({"NOTIFY_SOCKET": address}).ready("fine")


def test_crashes_in_a_row_are_counted_over_restarts_and_forgotten_after_a_good_run(tmp_path: Path) -> None:
    environ = {"RUNTIME_DIRECTORY": f"{tmp_path}:/other"}

    assert [Crashes(environ).begin() for _ in range(3)] == [0, 1, 2]
    Crashes(environ).healthy()
    assert Crashes(environ).begin() == 1
    Crashes(environ).ended_well()
    assert Crashes(environ).begin() == 0
    assert Crashes({}).begin() == 0
    (tmp_path / "crashes").write_text("nonsense")
    assert Crashes(environ).begin() == 0


def test_each_crash_in_a_row_waits_longer_up_to_an_end() -> None:
    waits = [delay(crashes) for crashes in range(12)]

    assert waits[:2] == [0.0, 0.0]
    assert waits[2] == FIRST
    assert waits == sorted(waits)
    assert waits[-1] == delay(10_000) == LONGEST
