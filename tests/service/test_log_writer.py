"""Where the log goes may be full, closed or slow: lines are lost and counted, and nobody waits for them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from expandd.domain.events import Event, Recovered
from expandd.service.observability.log_writer import LogWriter
from expandd.service.runtime.app import MOST_WAITING, EventBus


def confess(lines: int) -> str:
    return f"lost {lines}"


def test_lines_come_in_command() -> None:
    written: list[str] = []
    log_writer = LogWriter(written.append, confess)
    for number in range(100):
        log_writer.put(str(number))
    log_writer.close()

    assert written == [str(number) for number in range(100)]


def test_what_cannot_be_written_is_counted_and_said_once_it_can() -> None:
    written: list[str] = []
    full = threading.Event()
    full.set()

    def write(line: str) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        written.append(line)

    log_writer = LogWriter(write, confess)
    for line in "abc":
        log_writer.put(line)
    log_writer.close()
    full.clear()
    for line in "de":
        log_writer.put(line)
    log_writer.close()

    assert written == ["lost 3", "d", "e"]
    assert log_writer.lost == 3


def test_nobody_waits_for_what_nobody_reads() -> None:
    written: list[str] = []
    read = threading.Event()

    def write(line: str) -> None:
        read.wait()
        written.append(line)

    log_writer = LogWriter(write, confess, most=10)
    for number in range(50):
        log_writer.put(str(number))
    log_writer.close(0.05)
    read.set()
    log_writer.close()

    assert 39 <= log_writer.lost <= 40
    assert len(written) + log_writer.lost in {50, 51}


async def test_a_subscriber_that_fails_fails_alone_and_is_told_the_rest() -> None:
    heard: list[Event] = []
    failures: list[Exception] = []
    calls = 0

    def bad(event: Event) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("bad")

    event_bus = EventBus(bad, heard.append, fails=failures.append)
    events = [Recovered(number, 0) for number in range(3)]
    for event in events:
        event_bus(event)
    inside = list(heard)
    await asyncio.sleep(0)

    assert inside == [], "not within the call of whoever announces"
    assert heard == events
    assert calls == event_bus.failed == 3
    assert len(failures) == 1


async def test_events_that_find_no_room_are_counted() -> None:
    heard: list[Event] = []
    event_bus = EventBus(heard.append)
    for number in range(MOST_WAITING + 3):
        event_bus(Recovered(number, 0))
    event_bus.flush()

    assert len(heard) == MOST_WAITING
    assert heard[0] == Recovered(3, 0)
    assert event_bus.dropped == 3


NO_THREAD = """
import os, resource
from expandd.service.observability.log_writer import LogWriter
os.setuid(23001)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
log_writer = LogWriter(lambda line: print(line, flush=True), str)
log_writer.put("said")
log_writer.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may start no thread")
def test_without_a_thread_lines_are_written_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", NO_THREAD], capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout, done.stderr) == ("said\n", "")
