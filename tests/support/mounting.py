"""What tests mount: small file systems in memory, gone again at the end."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def works(*command: str) -> bool:
    """Whether a command is there and succeeds."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def mounts() -> None:
    """Skip what mounts where this machine does not allow it; tried in a namespace of its own."""
    if not works("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"):
        pytest.skip("mounting a file system needs root")


needs_mounts = pytest.mark.usefixtures("mounts")


def mount(directory: Path, *, size: str = "4m", options: str = "") -> None:
    """A new, empty tmpfs at `directory`."""
    wanted = f"size={size}{',' + options if options else ''}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", wanted, "none", str(directory)], check=True)


def remount(directory: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(directory)], check=True)


def move_mount(source: Path, target: Path) -> None:
    """Take a mounted file system away to another directory, or bring it back: its files stay what they are."""
    subprocess.run(["mount", "--move", str(source), str(target)], check=True)


def unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def mounted(directory: Path, *, size: str = "4m", options: str = "") -> Iterator[Path]:
    """A tmpfs at `directory`; whatever is mounted there at the end is unmounted."""
    mount(directory, size=size, options=options)
    try:
        yield directory
    finally:
        while directory.is_mount():
            unmount(directory)


def fill(directory: Path) -> Path:
    """Leave no byte and no page of the file system free."""
    ballast = directory / ".ballast.tmp"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast
