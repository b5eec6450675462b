"""Owns the few words systemd is told: READY, STATUS, STOPPING."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


class Notifier:
    """Speaks the sd_notify protocol; silent where systemd does not listen (no NOTIFY_SOCKET)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping: finishing what is under way")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen must not stop the work.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire,
        ):
            wire.connect(self._address)
            wire.sendall(message.encode())
