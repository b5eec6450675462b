from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from expandd.adapters.clock import SystemRandomness
from expandd.adapters.files.inbox_locks import ATTRIBUTE, InboxLocks
from expandd.adapters.locks import hold, holder, locked
from expandd.domain.errors import InstanceRunning
from expandd.engine.ports import Randomness
from tests.support.fakes import FixedRandomness


@pytest.fixture(params=["fixed", "system"])
def randomness(request: pytest.FixtureRequest) -> Randomness:
    return FixedRandomness() if request.param == "fixed" else SystemRandomness()


def test_a_fraction_is_at_least_nothing_and_less_than_one(randomness: Randomness) -> None:
    assert all(0.0 <= randomness.fraction() < 1.0 for _ in range(1000))


def test_job_ids_differ_sort_by_time_and_are_safe_as_file_names(randomness: Randomness) -> None:
    first = randomness.job_id()
    ids = {randomness.job_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(20 <= len(one) <= 40 and one.replace("-", "").isalnum() for one in ids)
    assert first[:8] <= min(ids)[:8]


def test_whoever_comes_second_is_told_who_was_first(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, "The state directory"):
        named = holder(path)
        with (
            pytest.raises(InstanceRunning, match=f"The state directory is in use by {named}"),
            locked(path, "The state directory"),
        ):
            pass
    with locked(path, "The state directory"):
        pass

    assert named.startswith("process ")
    assert holder(path) == ""


def test_checking_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            holder(path)

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(200):
            with locked(path, "The state directory"):
                pass
    finally:
        over.set()
        for thread in looking:
            thread.join()


def test_a_process_that_is_killed_leaves_no_lock_behind(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = f"""
import os, pathlib, signal
from expandd.adapters.locks import locked
with locked(pathlib.Path({str(path)!r}), "x"):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    with locked(path, "x"):
        pass

    assert died.returncode == -9
    assert path.exists()


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock", "x"):
        pass

    assert not (tmp_path / "elsewhere").exists()


def test_nobody_holds_a_lock_that_is_not_there(tmp_path: Path) -> None:
    assert holder(tmp_path / "lock") == ""


def test_an_inbox_that_is_made_again_is_locked_again(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with closing(InboxLocks()) as locks, closing(InboxLocks()) as others:
        locks.take(inbox)
        locks.take(inbox)
        inbox.rename(tmp_path / "aside")
        inbox.mkdir()
        locks.take(inbox)

        with pytest.raises(InstanceRunning, match=f"in use by process {os.getpid()}"):
            others.take(inbox)
        others.take(tmp_path / "aside")


def test_a_name_that_was_seen_is_of_no_use_to_another_user(tmp_path: Path) -> None:
    """Whoever reads the kernel's list may take a name that stands there; the next lock has another one."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with closing(InboxLocks()) as locks:
        locks.take(inbox)
    seen = name_of(inbox)
    with squatted(seen), closing(InboxLocks()) as locks:
        locks.take(inbox)

        assert name_of(inbox) != seen
        with closing(InboxLocks()) as others, pytest.raises(InstanceRunning):
            others.take(inbox)


def test_those_who_ask_in_vain_do_not_open_a_lock(tmp_path: Path) -> None:
    """Anybody may fill the queue of those who ask a lock whose it is: then what stands beside it tells."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with closing(InboxLocks()) as locks, ExitStack() as stack:
        locks.take(inbox)
        name = name_of(inbox)
        for _ in range(8):
            reconciler = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            reconciler.setblocking(False)
            with suppress(BlockingIOError):
                reconciler.connect(f"\0{name}")
        with closing(InboxLocks()) as others, pytest.raises(InstanceRunning):
            others.take(inbox)


def test_the_lock_of_an_inbox_holds_no_file_open(tmp_path: Path) -> None:
    """Its disk can be unmounted."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with closing(InboxLocks()) as locks:
        locks.take(inbox)
        opened = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]

        assert not any(str(inbox) in str(one.readlink()) for one in opened if one.is_symlink())


def name_of(inbox: Path) -> str:
    """The name of the inbox's lock as it is written down."""
    return os.getxattr(inbox / ".expandd", ATTRIBUTE).decode().splitlines()[0]


@contextmanager
def squatted(name: str) -> Iterator[None]:
    """The name, held by another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.seteuid(23001)
    try:
        held = hold(name)
    finally:
        os.seteuid(0)
    with held:
        yield
