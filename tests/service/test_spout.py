"""Where the log goes may be full, closed or slow: lines are lost and counted, and nobody waits for them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from expandd.domain.events import Event, Recovered
from expandd.service.observability.log_writer import Spout
from expandd.service.runtime.app import MOST_WAITING, Announcer


def confess(lines: int) -> str:
    return f"lost {lines}"


def test_lines_come_in_order() -> None:
    written: list[str] = []
    spout = Spout(written.append, confess)
    for number in range(100):
        spout.put(str(number))
    spout.close()

    assert written == [str(number) for number in range(100)]


def test_what_cannot_be_written_is_counted_and_said_once_it_can() -> None:
    written: list[str] = []
    full = threading.Event()
    full.set()

    def write(line: str) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        written.append(line)

    spout = Spout(write, confess)
    for line in "abc":
        spout.put(line)
    spout.close()
    full.clear()
    for line in "de":
        spout.put(line)
    spout.close()

    assert written == ["lost 3", "d", "e"]
    assert spout.lost == 3


def test_nobody_waits_for_what_nobody_reads() -> None:
    written: list[str] = []
    read = threading.Event()

    def write(line: str) -> None:
        read.wait()
        written.append(line)

    spout = Spout(write, confess, most=10)
    for number in range(50):
        spout.put(str(number))
    spout.close(0.05)
    read.set()
    spout.close()

    assert 39 <= spout.lost <= 40
    assert len(written) + spout.lost in {50, 51}


async def test_a_subscriber_that_fails_fails_alone_and_is_told_the_rest() -> None:
    heard: list[Event] = []
    failures: list[Exception] = []
    calls = 0

    def bad(event: Event) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("bad")

    announcer = Announcer(bad, heard.append, fails=failures.append)
    events = [Recovered(number, 0) for number in range(3)]
    for event in events:
        announcer(event)
    inside = list(heard)
    await asyncio.sleep(0)

    assert inside == [], "not within the call of whoever announces"
    assert heard == events
    assert calls == announcer.failed == 3
    assert len(failures) == 1


async def test_events_that_find_no_room_are_counted() -> None:
    heard: list[Event] = []
    announcer = Announcer(heard.append)
    for number in range(MOST_WAITING + 3):
        announcer(Recovered(number, 0))
    announcer.flush()

    assert len(heard) == MOST_WAITING
    assert heard[0] == Recovered(3, 0)
    assert announcer.dropped == 3


NO_THREAD = """
import os, resource
from expandd.service.observability.log_writer import Spout
os.setuid(23001)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
spout = Spout(lambda line: print(line, flush=True), str)
spout.put("said")
spout.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may start no thread")
def test_without_a_thread_lines_are_written_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", NO_THREAD], capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout, done.stderr) == ("said\n", "")
