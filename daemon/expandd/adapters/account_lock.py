"""Owns the lock that keeps two daemons of one machine from renewing the same token pair.

A refresh token that is used twice makes the API revoke every token of its user, and two state directories know nothing
of each other. So a daemon holds a name made of the API's address and its configured refresh token for as long as it
lives. It is a name of the kernel's, not a file: it ends with the process, however that ends. It reaches as far as the
network namespace does.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from expandd.domain.errors import InstanceRunning

_CREDENTIALS = struct.Struct("iII")
"""The kernel's struct ucred: process, user, group."""


@contextmanager
def account_locked(base_url: str, refresh_token: str) -> Iterator[None]:
    """Hold the token pair that was configured for the API at `base_url`; without a refresh token there is none.

    Raises InstanceRunning, naming the first, when another process of this machine has it.
    """
    if not refresh_token:
        yield
        return
    address = _address(base_url, refresh_token)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as held:
        try:
            held.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise InstanceRunning(
                f"The token pair is in use by {_holder(address)}, which has a state directory of its own. Both would "
                "renew it, and a refresh token that is used twice ends the login of the whole account. Give this one "
                "a token pair of its own, or e-mail and password.",
            ) from error
        # Whoever comes second connects, only to be told by the kernel who listens.
        held.listen(1)
        yield


def _address(base_url: str, refresh_token: str) -> str:
    # The name stands in /proc/net/unix for all to read: it must not be the digest that anything else goes by.
    named = "\0".join(("expandd account lock", base_url.rstrip("/"), refresh_token))
    digest = hashlib.sha256(named.encode("utf-8", "surrogateescape"))
    return f"\0expandd-account-{digest.hexdigest()[:32]}"


def _holder(address: str) -> str:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
            asking.setblocking(False)
            asking.connect(address)
            raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return "another process"
    process, _, _ = _CREDENTIALS.unpack(raw)
    return f"process {process}" if process else "another process"
