"""The log as entries of systemd's journal: what a real socket in its place receives."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from expandd.domain.events import BugFound, PauseStarted
from expandd.domain.pauses import PauseReason
from expandd.service.observability.log_writer import LONGEST, Journal, field_name, is_journal, prefixed
from expandd.service.observability.logs import EventLog, set_up_journal


class Reader:
    """The journal's end of its socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.bind(str(path))
        self._wire.settimeout(5.0)

    def entry(self) -> dict[str, str]:
        raw = self._wire.recv(1 << 20)
        fields: dict[str, str] = {}
        while raw:
            head, _, raw = raw.partition(b"\n")
            name, equals, value = head.partition(b"=")
            if not equals:
                length = int.from_bytes(raw[:8], "little")
                value, raw = raw[8 : 8 + length], raw[8 + length + 1 :]
            fields[name.decode()] = value.decode()
        return fields

    def close(self) -> None:
        self._wire.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path / "socket")
    yield reader
    reader.close()


@pytest.fixture
def journal(reader: Reader) -> Iterator[Journal]:
    journal = Journal(reader.path)
    yield journal
    journal.close()


def test_an_entry_has_a_sentence_a_priority_and_fields_to_filter_by(journal: Journal, reader: Reader) -> None:
    set_up_journal(journal).warning(
        "job.held", job="01J", inbox=Path("/srv/in"), file=Path("a b.png"), image_id="i-1", why="?"
    )

    entry = reader.entry()

    assert entry["MESSAGE"] == "a b.png: ?"
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "expandd"
    assert (entry["EXPANDD_EVENT"], entry["JOB"], entry["FOLDER"]) == ("job.held", "01J", "/srv/in")
    assert (entry["FILE"], entry["IMAGE_ID"]) == ("a b.png", "i-1")
    assert not any("TIME" in name for name in entry)


def test_nothing_secret_reaches_the_journal(journal: Journal, reader: Reader) -> None:
    log = set_up_journal(journal)
    log.error(
        "pause.started",
        breaker="service",
        why="Bearer abcdef123456 at https://x.test/y?signature=deadbeef99",
        token="t0ps3cret",
    )
    EventLog(log)(BugFound("job 1", RuntimeError("Bearer abcdef123456")))

    entries = [reader.entry(), reader.entry()]

    for secret in ("abcdef123456", "deadbeef99", "t0ps3cret"):
        assert secret not in str(entries)
    assert "RuntimeError" in entries[1]["MESSAGE"]
    assert entries[1]["PRIORITY"] == "3"


def test_long_values_are_cut_and_lines_kept(journal: Journal, reader: Reader) -> None:
    journal.send({"PRIORITY": "6", "MESSAGE": "one\ntwo\n=three", "LONG": "x" * (LONGEST * 40)})

    entry = reader.entry()

    assert entry["MESSAGE"] == "one\ntwo\n=three"
    assert len(entry["LONG"]) == LONGEST + 1


def test_an_entry_the_journal_does_not_take_goes_to_stderr(tmp_path: Path) -> None:
    spare = io.StringIO()
    journal = Journal(tmp_path / "nobody", spare)
    EventLog(set_up_journal(journal))(PauseStarted("service", PauseReason.NO_CREDITS, "no credits"))
    journal.close()

    assert spare.getvalue() == "<4>service waits (no_credits): no credits\n"


def test_an_entry_that_nobody_takes_is_counted(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as spare:
        journal = Journal(tmp_path / "nobody", spare)
        EventLog(set_up_journal(journal))(PauseStarted("service", PauseReason.NO_CREDITS, "no credits"))
        journal.close()

        assert journal.lost == 1
        # What the stream has kept would fail once more when it is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), spare.fileno())


@pytest.mark.timeout(30)
def test_nobody_waits_for_a_journal_that_reads_nothing(journal: Journal, reader: Reader) -> None:
    """Its queue is full after some entries; were each later one waited for, they would take many minutes."""
    log = set_up_journal(journal)
    for number in range(1000):
        log.warning("expandd.stopped", left_for_next_time=number)

    assert reader.entry()["EXPANDD_EVENT"] == "expandd.stopped"


def test_events_below_the_level_are_not_sent(journal: Journal, reader: Reader) -> None:
    log = set_up_journal(journal)
    log.debug("file.settled")
    log.info("expandd.stopped", left_for_next_time=3)

    assert reader.entry()["MESSAGE"] == "Stopped; 3 go on at the next start."


@pytest.mark.parametrize(
    ("key", "name"), [("expandd_result bytes", "EXPANDD_RESULT_BYTES"), ("_9a", "A"), ("x" * 80, "X" * 64)]
)
def test_field_names_are_those_the_journal_accepts(key: str, name: str) -> None:
    assert field_name(key) == name


def test_stderr_is_the_journal_only_when_systemd_says_so_of_that_very_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        found = os.fstat(file.fileno())
        stream = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

        assert is_journal(stream, file.fileno())
        assert not is_journal({}, file.fileno())
        assert not is_journal({"JOURNAL_STREAM": "1:2"}, file.fileno())
    assert prefixed("two\nlines", "error", {}) == "two\nlines"
