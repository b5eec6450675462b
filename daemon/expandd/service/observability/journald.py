"""Owns writing to systemd's journal in its own protocol: entries of fields that `journalctl FIELD=…` finds."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from expandd.service.observability.log_writer import Spout

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
        self._spout: Spout[Mapping[str, str]] = Spout(self._write, _lost)

    @property
    def lost(self) -> int:
        """Entries that neither it nor `spare` took, since the start."""
        return self._spout.lost

    def send(self, fields: Mapping[str, str]) -> None:
        """Take an entry at once, whatever the journal does."""
        self._spout.put(fields)

    def close(self) -> None:
        """Wait for what is left, but not for long."""
        self._spout.close()
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
