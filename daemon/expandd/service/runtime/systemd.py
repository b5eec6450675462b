"""Owns the few words systemd is told: READY, STATUS, RELOADING, STOPPING, WATCHDOG."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

PATIENCE = 0.25
"""Seconds that one message may wait for a manager that is behind; its queue holds ten."""


class Notifier:
    """Speaks the sd_notify protocol; silent where systemd does not listen (no NOTIFY_SOCKET)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(environ)
        """Seconds after which systemd ends a service that has not said that it is alive; None when it does not."""

    def ready(self, status: str) -> None:
        """The start, or the reload, is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        # The time tells systemd 253 and later which of its requests is meant.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def starts_later(self, seconds: float, status: str) -> None:
        """The start takes this much longer than the unit allows."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}\nSTATUS={status}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen must not stop the work.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire,
        ):
            wire.settimeout(PATIENCE)
            wire.connect(self._address)
            wire.sendall(message.encode("utf-8", "replace"))


def _watchdog(environ: Mapping[str, str]) -> float | None:
    meant = environ.get("WATCHDOG_PID", "")
    microseconds = environ.get("WATCHDOG_USEC", "")
    if meant not in {"", str(os.getpid())} or not microseconds.isdecimal():
        return None
    return int(microseconds) / 1_000_000
