"""Owns locks that are names of the kernel's, not files: they end with their process, however that ends.

Nothing lies on a disk and no file is held open, so that what is locked can still be unmounted. A name reaches as far
as the network namespace does.
"""

from __future__ import annotations

import errno
import socket
import struct

_CREDENTIALS = struct.Struct("iII")
"""The kernel's struct ucred: process, user, group."""


class NameTakenError(Exception):
    """Another process of this machine holds the name; the message says which, in words."""


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
        raise NameTakenError(holder_of(name) or "another process") from error
    return held


def holder_of(name: str) -> str:
    """Who holds the name, in words, or "" when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.setblocking(False)
        try:
            asking.connect(_address(name))
            raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except ConnectionRefusedError:
            return ""
        except OSError:
            return "another process"
    process, _, _ = _CREDENTIALS.unpack(raw)
    return f"process {process}" if process else "another process"


def _address(name: str) -> str:
    return f"\0{name}"
