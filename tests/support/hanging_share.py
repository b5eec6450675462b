"""A share that can hang: a pass-through file system whose process is stopped, so that every call on it waits.

As on a dead network server a caller can be killed: the kernel takes back what the stopped process has not read. What it
has read holds its caller whatever comes, so it is stopped between two requests.
"""

from __future__ import annotations

import ctypes.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def fuse() -> None:
    # To find the library starts programs.
    if find_spec("fuse") is None or not Path("/dev/fuse").exists() or ctypes.util.find_library("fuse") is None:
        pytest.skip("a hanging share needs fusepy and libfuse")


needs_fuse = pytest.mark.usefixtures("fuse")
long_ones = (
    pytest.mark.storm,
    pytest.mark.skipif(os.environ.get("EXPANDD_STORM") != "1", reason="takes long; set EXPANDD_STORM=1"),
)

PATIENCE = 10.0
LOOK = 0.02


class PassThrough:
    """Hands each call on to the directory behind it."""

    def __init__(self, behind: str) -> None:
        self._behind = Path(behind)

    def __call__(self, operation: str, path: str, *arguments: Any) -> Any:
        return getattr(self, operation)(path, *arguments)

    def _real(self, path: str) -> Path:
        return self._behind / path.lstrip("/")

    def init(self, path: str) -> None: ...

    def destroy(self, path: str) -> None: ...

    def access(self, path: str, mode: int) -> int:
        del mode
        os.lstat(self._real(path))
        return 0

    def getattr(self, path: str, handle: object = None) -> dict[str, Any]:
        del handle
        found = os.lstat(self._real(path))
        keys = ("st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid")
        return {key: getattr(found, key) for key in keys}

    def readdir(self, path: str, handle: object) -> list[str]:
        del handle
        return [".", "..", *os.listdir(self._real(path))]

    def mkdir(self, path: str, mode: int) -> None:
        self._real(path).mkdir(mode)

    def rmdir(self, path: str) -> None:
        self._real(path).rmdir()

    def unlink(self, path: str) -> None:
        self._real(path).unlink()

    def rename(self, old: str, new: str) -> None:
        self._real(old).rename(self._real(new))

    def link(self, target: str, source: str) -> None:
        os.link(self._real(source), self._real(target))

    def statfs(self, path: str) -> dict[str, Any]:
        found = os.statvfs(self._real(path))
        keys = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax")
        return {key: getattr(found, key) for key in keys}

    def utimens(self, path: str, times: tuple[float, float] | None = None) -> None:
        os.utime(self._real(path), times)

    def chmod(self, path: str, mode: int) -> None:
        self._real(path).chmod(mode)

    def chown(self, path: str, user: int, group: int) -> None:
        os.chown(self._real(path), user, group)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._real(path), flags)

    def create(self, path: str, mode: int, info: object = None) -> int:
        del info
        return os.open(self._real(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, handle: int) -> bytes:
        del path
        return os.pread(handle, size, offset)

    def write(self, path: str, content: bytes, offset: int, handle: int) -> int:
        del path
        return os.pwrite(handle, content, offset)

    def truncate(self, path: str, length: int, handle: object = None) -> None:
        del handle
        os.truncate(self._real(path), length)

    def fsync(self, path: str, data_only: int, handle: int) -> None:
        del path, data_only
        os.fsync(handle)

    def release(self, path: str, handle: int) -> None:
        del path
        os.close(handle)


class FlushingPassThrough(PassThrough):
    """Has each close of a file wait for it, by a call of which the kernel takes nothing back, as some drivers do."""

    def flush(self, path: str, handle: int) -> None:
        del path, handle


@dataclass(frozen=True, slots=True)
class Share:
    """A mounted share. What lies `behind` it can be seen while it hangs."""

    at: Path
    behind: Path
    process: subprocess.Popen[bytes]
    waiting: Path
    """The kernel's count of requests that are not answered."""

    def hang(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_stopped_between_requests():
            assert time.monotonic() < deadline, "the share is never without a request"
            self.answer()
            time.sleep(LOOK)

    def _is_stopped_between_requests(self) -> bool:
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        while any(_state(task) not in "TtZ" for task in tasks.iterdir()):
            time.sleep(LOOK / 10)
        return self.waiting.read_text().strip() == "0"

    def answer(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def hanging_share(at: Path, behind: Path, *, kind: type[PassThrough] = PassThrough) -> Iterator[Share]:
    """A share at the directory `at` that shows what lies `behind`; gone again at the end."""
    connections = behind.with_name(f"{behind.name}.connections")
    connections.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", str(connections)], check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.hanging_share", kind.__name__, str(behind), str(at)]
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not at.is_mount():
            assert process.poll() is None, "the share could not be mounted"
            assert time.monotonic() < deadline, "the share was not mounted in time"
            time.sleep(LOOK)
        yield Share(at, behind, process, connections / str(os.minor(at.stat().st_dev)) / "waiting")
    finally:
        process.send_signal(signal.SIGCONT)
        subprocess.run(["umount", "--lazy", str(at)], check=False)
        process.kill()
        process.wait()
        subprocess.run(["umount", "--lazy", str(connections)], check=False)


def main(kind: str, behind: str, at: str) -> None:
    from fuse import FUSE  # type: ignore[import-untyped]  # noqa: PLC0415 - it needs a library that not every machine has

    FUSE(
        {one.__name__: one for one in (PassThrough, FlushingPassThrough)}[kind](behind),
        at,
        foreground=True,
        nothreads=False,
        allow_other=True,
        nonempty=True,
        attr_timeout=0,
        entry_timeout=0,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
