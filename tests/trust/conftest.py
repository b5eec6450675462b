"""Two users: the daemon's, and one who may drop files. Only root can become them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.scan import Scanner
from expandd.domain.job import FolderSnapshot, Job, Source
from tests.support.jobs import a_job, a_snapshot

DAEMON, DROPPER, GROUP = 23001, 23002, 23000

SECRET = b'{"refresh_token": "not yours"}'


@dataclass(frozen=True, slots=True)
class Yard:
    """Two hot folders, one of them nobody's but its customer's, and a state directory beside them."""

    base: Path

    @property
    def state(self) -> Path:
        return self.base / "state"

    @property
    def mine(self) -> Path:
        return self.base / "mine"

    @property
    def theirs(self) -> Path:
        return self.base / "theirs"

    def place(self, hot: Path) -> FolderSnapshot:
        return replace(a_snapshot(), inbox=hot / "inbox", outbox=hot / "outbox", done=hot / "done", error=hot / "error")

    def folders(self) -> LocalFolders:
        roots = [hot / name for hot in (self.mine, self.theirs) for name in ("inbox", "outbox", "done", "error")]
        return LocalFolders(Disk(Roots(roots, DAEMON)))

    def drop(self, relative: str, content: bytes = b"mine", mode: int = 0o660) -> Job:
        """What the dropper drops, as a job that nobody has claimed yet."""
        path = self.mine / "inbox" / relative
        with dropper():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
        identity = Scanner().identity_of(path)
        assert identity is not None
        source = Source(identity=identity, sha256=hashlib.sha256(content).hexdigest())
        return a_job(folder=self.place(self.mine), relative=Path(relative), source=source)

    def outside(self) -> dict[str, tuple[int, int, bytes]]:
        """All that is none of the dropper's business."""
        found = [path for hidden in (self.state, self.theirs) for path in sorted(hidden.rglob("*"))]
        return {
            str(path): (path.lstat().st_ino, path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in found
        }


@contextmanager
def user(number: int) -> Iterator[None]:
    """Be this user until the end of the block."""
    before = os.umask(0o007)
    os.setegid(GROUP)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.umask(before)


@contextmanager
def dropper() -> Iterator[None]:
    """Those who may drop files; also in the middle of what the daemon does."""
    now = os.geteuid()
    os.seteuid(0)
    try:
        with user(DROPPER):
            yield
    finally:
        if now:
            os.setegid(GROUP)
        os.seteuid(now)


def exchange(one: Path, other: Path) -> bool:
    """Swap what has these two names, in one instant; whether that was allowed."""
    at_here, swap = -100, 2
    return not ctypes.CDLL(None).renameat2(at_here, os.fsencode(one), at_here, os.fsencode(other), swap)


@pytest.fixture
def yard() -> Iterator[Yard]:
    if os.geteuid() != 0:
        pytest.skip("only root can become two users")
    base = Path(tempfile.mkdtemp(prefix="expandd-trust-"))
    groups = os.getgroups()
    os.setgroups([])
    try:
        base.chmod(0o755)
        yard = Yard(base)
        for hot, group in ((yard.mine, GROUP), (yard.theirs, DAEMON)):
            hot.mkdir()
            for name in ("inbox", "outbox", "done", "error"):
                made(hot / name, group, 0o2770)
        made(yard.state, DAEMON, 0o700)
        for hidden in ("state/tokens.json", "theirs/inbox/tokens.json", "theirs/done/old.png"):
            path = base / hidden
            path.write_bytes(SECRET)
            path.chmod(0o600)
            os.chown(path, DAEMON, DAEMON)
        yield yard
    finally:
        os.setgroups(groups)
        shutil.rmtree(base)


def made(path: Path, group: int, mode: int) -> None:
    path.mkdir()
    os.chown(path, DAEMON, group)
    path.chmod(mode)
