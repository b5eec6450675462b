"""Writes the log from threads of their own: to stderr and to systemd's journal. Lines that are lost are counted."""

from __future__ import annotations

import atexit
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TextIO, TypeVar

L = TypeVar("L")

MOST_WAITING = 10_000
"""Lines that may wait to be written; further lines are lost."""

LAST = 2.0
"""Seconds that are left for what waits when the program ends."""


class LogWriter(Generic[L]):
    """Takes lines at once and never fails. `write` may block, or raise OSError or ValueError.

    Once a line can be written again, `confess` makes one that says how many could not.
    """

    def __init__(self, write: Callable[[L], None], confess: Callable[[int], L], most: int = MOST_WAITING) -> None:
        self._write = write
        self._confess = confess
        self._most = most
        self._waiting: deque[L] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._direct = False
        self._untold = 0
        self.lost = 0
        """Lines that could not be written, since the start."""
        self._thread = threading.Thread(target=self._serve, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # The system has no thread left: each caller writes its own lines, at worst at the pace of the disk.
            self._direct = True
        atexit.register(self.close)

    def put(self, line: L) -> None:
        if self._direct:
            self._one(line)
            return
        with self._changed:
            if len(self._waiting) < self._most:
                self._waiting.append(line)
                self._changed.notify_all()
            else:
                self._lose()

    def close(self, seconds: float = LAST) -> None:
        """Wait for what is left, but not for long."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._writing, max(0.0, deadline - time.monotonic())
            )

    def _lose(self) -> None:
        self.lost += 1
        self._untold += 1

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                self._writing = True
                line = self._waiting.popleft()
            self._one(line)

    def _one(self, line: L) -> None:
        try:
            untold = self._untold
            if untold:
                self._write(self._confess(untold))
                with self._changed:
                    self._untold -= untold
            self._write(line)
        except (OSError, ValueError):
            with self._changed:
                self._lose()


def onto(stream: TextIO) -> Callable[[str], None]:
    """Writes whole lines to what is behind a stream, past its buffer: what cannot be written is not kept there."""

    def write(line: str) -> None:
        left = memoryview(f"{line}\n".encode("utf-8", "replace"))
        while left:
            left = left[os.write(stream.fileno(), left) :]

    return write


SOCKET = Path("/run/systemd/journal/socket")

LONGEST = 8192
"""Signs of one value; with all its fields an entry then fits into one datagram."""

PATIENCE = 1.0
"""Seconds that a journal which does not keep up is waited for."""

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def is_journal(environ: Mapping[str, str], descriptor: int = 2) -> bool:
    """Whether what is written to `descriptor` goes to the journal, as systemd says in $JOURNAL_STREAM."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def prefixed(text: str, level: str, environ: Mapping[str, str]) -> str:
    """`text` as it may be written to stderr: the journal reads the priority at the begin of each line."""
    if not is_journal(environ):
        return text
    return "\n".join(f"<{PRIORITIES[level]}>{line}" for line in text.splitlines())


class Journal:
    """The journal's socket, written to by a thread of its own.

    An entry that it does not take goes to `spare`, its message alone.
    """

    def __init__(self, path: Path = SOCKET, spare: TextIO = sys.stderr) -> None:
        self._path = str(path)
        self._spare = spare
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._wire.settimeout(PATIENCE)
        self._log_writer: LogWriter[Mapping[str, str]] = LogWriter(self._write, _lost)

    @property
    def lost(self) -> int:
        """Entries that neither it nor `spare` took, since the start."""
        return self._log_writer.lost

    def send(self, fields: Mapping[str, str]) -> None:
        """Take an entry at once, also while the journal does not read."""
        self._log_writer.put(fields)

    def close(self) -> None:
        """Wait for what is left, but not for long."""
        self._log_writer.close()
        self._wire.close()

    def _write(self, fields: Mapping[str, str]) -> None:
        """Raises OSError where neither the journal nor `spare` takes it."""
        try:
            # By name each time: the journal may have been started anew.
            self._wire.sendto(packed(fields), self._path)
        except OSError:
            print(f"<{fields['PRIORITY']}>{fields['MESSAGE']}", file=self._spare, flush=True)


def _lost(entries: int) -> dict[str, str]:
    return {
        "MESSAGE": f"{entries} lines of the log were lost: the journal did not take them.",
        "PRIORITY": str(PRIORITIES["warning"]),
        "SYSLOG_IDENTIFIER": "expandd",
        "EXPANDD_EVENT": "log.lost",
    }


def packed(fields: Mapping[str, str]) -> bytes:
    """The datagram: NAME=value, or for values of more lines the name, their length and they."""
    return b"".join(_field(name, _cut(value)) for name, value in fields.items())


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else value[:LONGEST] + "…"


def _field(name: str, value: str) -> bytes:
    raw = value.encode("utf-8", "replace")
    if b"\n" not in raw:
        return name.encode() + b"=" + raw + b"\n"
    return name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"


def field_name(key: str) -> str:
    """A name the journal accepts: capitals, digits and underscores, not too long."""
    return re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")[:64]
