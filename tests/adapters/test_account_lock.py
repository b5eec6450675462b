"""What one instance learns of another that works with the same e-mail address."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from expandd.adapters.locks import account_told, name_of_account

URL = f"https://api-{os.getpid()}.example.com/api"
"""Names of the kernel are one for the machine: other tests run beside this one."""


def told(base_url: str, email: str) -> AbstractContextManager[str]:
    return account_told(name_of_account(base_url, email))


def test_the_second_of_an_account_is_told_of_the_first_and_both_go_on() -> None:
    with (
        told(URL, "me@example.com") as first,
        told(f"{URL}/", "Me@Example.com ") as second,
    ):
        assert (first, second) == ("", f"process {os.getpid()}")
    with told(URL, "me@example.com") as again:
        assert again == ""


def test_other_addresses_and_other_apis_are_other_accounts() -> None:
    with (
        told(URL, "me@example.com"),
        told(URL, "you@example.com") as other,
        told("https://other.example.com", "me@example.com") as elsewhere,
        told(URL, "") as none,
    ):
        assert (other, elsewhere, none) == ("", "", "")


def test_the_name_that_all_can_read_shows_no_address() -> None:
    with told(URL, "me@example.com"):
        names = [
            line for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines() if "@expandd-" in line
        ]
        assert any("@expandd-login-" in line for line in names)
        assert not [line for line in names if "me@" in line or "example" in line]
