"""Owns locks that are names of the kernel's, not files: they end with their process, however that ends.

Nothing lies on a disk and no file is held open, so that what is locked can still be unmounted. A name reaches as far
as the network namespace does.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("iII")
"""The kernel's struct ucred: process, user, group."""


class NameTakenError(Exception):
    """Another process of this machine holds the name; the message says which, in words.

    `trusted` is whether it runs as this user or as root: anybody can take a name that was seen. None where the kernel
    does not tell, as when others have filled the queue of those who ask.
    """

    def __init__(self, holder: str, *, trusted: bool | None) -> None:
        super().__init__(holder)
        self.trusted = trusted


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a name: a process in words, and its user where the kernel tells."""

    words: str
    user: int | None = None


def hold(name: str) -> socket.socket:
    """Hold `name` until the socket is closed. Raises NameTakenError."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        held.bind(_address(name))
        # Whoever comes second connects, only to be told by the kernel who listens.
        held.listen(1)
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        holder = _holder(name) or Holder("another process")
        trusted = None if holder.user is None else holder.user in {0, os.geteuid()}
        raise NameTakenError(holder.words, trusted=trusted) from error
    return held


def holder_of(name: str) -> str:
    """Who holds the name, in words, or "" when nobody does."""
    holder = _holder(name)
    return holder.words if holder else ""


def _holder(name: str) -> Holder | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.setblocking(False)
        try:
            asking.connect(_address(name))
            raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except ConnectionRefusedError:
            return None
        except OSError:
            return Holder("another process")
    process, user, _ = _CREDENTIALS.unpack(raw)
    return Holder(f"process {process}" if process else "another process", user)


def _address(name: str) -> str:
    return f"\0{name}"
