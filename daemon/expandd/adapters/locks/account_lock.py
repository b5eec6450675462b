"""Owns the lock that keeps two daemons of one machine from renewing the same token pair.

A refresh token that is used twice makes the API revoke every token of its user, and two state directories know nothing
of each other. So a daemon holds a name made of the API's address and its configured refresh token while it lives.
An e-mail address may be shared, for its logins do not end each other; but its limits are shared too, and that is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from expandd.adapters.locks.kernel_names import NameTakenError, hold, holder_of
from expandd.domain.errors import InstanceRunning

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
        held = hold(_name(base_url, refresh_token))
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
def account_told(base_url: str, email: str) -> Iterator[str]:
    """Hold the account of this e-mail address at the API at `base_url` where nobody does; never refuses.

    Yields who of this machine has it already, in words, or "".
    """
    if not email:
        yield ""
        return
    try:
        held = hold(_email_name(base_url, email))
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
    return holder_of(_email_name(base_url, email)) if email else ""


def _email_name(base_url: str, email: str) -> str:
    # All can read the name, and addresses can be guessed: each guess is made to cost something.
    address = email.strip().casefold().encode("utf-8", "surrogateescape")
    salt = "\0".join(("expandd account of an address", base_url.rstrip("/")))
    return f"expandd-login-{hashlib.pbkdf2_hmac('sha256', address, salt.encode(), GUESS_COST).hex()[:32]}"


def _name(base_url: str, refresh_token: str) -> str:
    # The name stands in /proc/net/unix for all to read: it must not be the digest that anything else goes by.
    named = "\0".join(("expandd account lock", base_url.rstrip("/"), refresh_token))
    digest = hashlib.sha256(named.encode("utf-8", "surrogateescape"))
    return f"expandd-account-{digest.hexdigest()[:32]}"
