"""Locks that keep a second instance away from a state directory and from an account.

Nothing lies on a disk and no file is held open, so that what is locked can still be unmounted. A name reaches as far
as the network namespace does.

A refresh token that is used twice makes the API revoke every token of its user, and two state directories know nothing
of each other. So a daemon holds a name made of the API's address and its configured refresh token while it lives.
An e-mail address may be shared, for its logins do not end each other; but its limits are shared too, and that is told.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from expandd.domain.errors import InstanceRunning

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
        # The one that comes second connects, only to be told by the kernel who listens.
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
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as reconciler:
        reconciler.setblocking(False)
        try:
            reconciler.connect(_address(name))
            raw = reconciler.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except ConnectionRefusedError:
            return None
        except OSError:
            return Holder("another process")
    process, user, _ = _CREDENTIALS.unpack(raw)
    return Holder(f"process {process}" if process else "another process", user)


def _address(name: str) -> str:
    return f"\0{name}"


LOOKS = 20
PAUSE = 0.01
"""Tries, and seconds between them: `status` and others hold the lock for an instant while they look for its holder."""


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on the file `path`, which names its holder for the one that comes second.

    Raises InstanceRunning, naming the first, when another process has it. The kernel lets go of it when a process
    dies, however it dies, so that a lock is never stale.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            _take(descriptor)
        except BlockingIOError as error:
            raise InstanceRunning(
                f"{what} is in use by {_state_name(descriptor)}. "
                "Stop that instance first, or give this one folders of its own.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{this_process()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    """Raises BlockingIOError when another process has it, and does not only check it."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def this_process() -> str:
    """How this process is named to others."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def number_of(process: str) -> int | None:
    """The number of a process that is named like this, if it is of this host."""
    found = re.fullmatch(r"process (\d+) on (.*)", process)
    return int(found[1]) if found and found[2] == socket.gethostname() else None


def holder(path: Path) -> str:
    """Who holds the lock at `path`, in words, or "" when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _state_name(descriptor)
    finally:
        os.close(descriptor)
    return ""


def _state_name(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "an unknown process"


GUESS_COST = 100_000
"""Rounds of the hash of an e-mail address: some hundredths of a second."""


@contextmanager
def account_locked(base_url: str, refresh_token: str) -> Iterator[None]:
    """Hold the token pair that was configured for the API at `base_url`; without a refresh token there is none.

    Raises InstanceRunning, naming the first, when another process of this machine has it.
    """
    if not refresh_token:
        yield
        return
    try:
        held = hold(_account_name(base_url, refresh_token))
    except NameTakenError as error:
        if not error.trusted:
            # Anybody can take a name that was seen once, so what another user holds proves nothing. It would be
            # worse to be kept from working by that than to go without a lock against a slip in two configurations.
            yield
            return
        raise InstanceRunning(
            f"The token pair is in use by {error}, which has a state directory of its own. Both would renew it, and a "
            "refresh token that is used twice ends the login of the whole account. Give this one a token pair of its "
            "own, or e-mail and password.",
        ) from error
    with held:
        yield


@contextmanager
def account_told(name: str) -> Iterator[str]:
    """Hold the account of this name where nobody does; never refuses. Nobody holds the account of an empty name.

    Yields who of this machine has it already, in words, or "".
    """
    if not name:
        yield ""
        return
    try:
        held = hold(name)
    except NameTakenError as error:
        # What another user holds proves nothing: anybody can take a name that was seen.
        yield str(error) if error.trusted else ""
        return
    except OSError:
        yield ""  # it is a hint, and no start depends on it
        return
    with held:
        yield ""


def account_holder(base_url: str, email: str) -> str:
    """Who of this machine works with this e-mail address now, in words, or ""; nothing is held."""
    return holder_of(name) if (name := name_of_account(base_url, email)) else ""


def name_of_account(base_url: str, email: str) -> str:
    """The name of this e-mail address's account at the API, "" without an address. Takes hundredths of a second."""
    if not email:
        return ""
    # All can read the name, and addresses can be guessed: each guess is made to cost something.
    address = email.strip().casefold().encode("utf-8", "surrogateescape")
    salt = "\0".join(("expandd account of an address", base_url.rstrip("/")))
    return f"expandd-login-{hashlib.pbkdf2_hmac('sha256', address, salt.encode(), GUESS_COST).hex()[:32]}"


def _account_name(base_url: str, refresh_token: str) -> str:
    # The name stands in /proc/net/unix for all to read: it must not be the digest that anything else goes by.
    named = "\0".join(("expandd account lock", base_url.rstrip("/"), refresh_token))
    digest = hashlib.sha256(named.encode("utf-8", "surrogateescape"))
    return f"expandd-account-{digest.hexdigest()[:32]}"
