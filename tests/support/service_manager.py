"""Systemd's end of the notification socket: what a service says there, in order."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0


class ServiceManager:
    """Hears what is sent to `path`; each message is a mapping of its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[dict[str, str]] = []
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.bind(str(path))
        self._wire.settimeout(PATIENCE)

    def until(self, good: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        """The next message that is so; TimeoutError when none comes."""
        while True:
            message = self._next()
            if good(message):
                return message

    def waiting(self) -> list[dict[str, str]]:
        """All that has been sent and not been heard yet."""
        self._wire.setblocking(False)
        found: list[dict[str, str]] = []
        try:
            while True:
                found.append(self._next())
        except BlockingIOError:
            return found
        finally:
            self._wire.settimeout(PATIENCE)

    def close(self) -> None:
        self._wire.close()

    def _next(self) -> dict[str, str]:
        message = dict(line.split("=", 1) for line in self._wire.recv(65536).decode().splitlines())
        self.heard.append(message)
        return message
