"""Where no file can be opened, nothing is taken for gone or damaged: it is only not known, and that is said."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from expandd.adapters.bulkheads import Bulkheads
from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.inbox_locks import lives
from expandd.adapters.files.mount_guard import MountGuard, Mounts, file_system_type, is_mount_point, mount_id
from expandd.adapters.files.roots import Roots
from expandd.adapters.files.spool import FileSpool
from expandd.adapters.files.watcher import InotifyWatcher
from expandd.domain.errors import AccountAway, FolderAway
from expandd.domain.pauses import PauseReason
from tests.support.workshop import hot_folder


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def warm(tmp_path: Path) -> LocalFolders:
    """Folders whose thread has been started, as those of a daemon that works."""
    folders = LocalFolders(Disk())
    await folders.directory_identity(tmp_path)
    return folders


async def test_a_directory_that_cannot_be_opened_is_not_gone(warm: LocalFolders, tmp_path: Path) -> None:
    with no_descriptor_left(), pytest.raises(FolderAway, match="Too many open files"):
        await warm.directory_identity(tmp_path)


@pytest.mark.parametrize("call", ["identity", "stat", "digest"])
async def test_a_file_that_cannot_be_opened_is_not_gone(warm: LocalFolders, tmp_path: Path, call: str) -> None:
    path = tmp_path / "pic.png"
    path.write_bytes(b"1234")

    with no_descriptor_left(), pytest.raises(FolderAway, match="Too many open files"):
        await getattr(warm, call)(path)


async def test_unreadable_kept_results_are_not_paid_again(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"paid").hexdigest()
    spool = FileSpool(tmp_path, Disk())
    (tmp_path / "job-1").write_bytes(b"paid")
    await spool.keep("job-1", digest)
    with no_descriptor_left():
        for call in (spool.reuse(digest, "job-2"), spool.keep("job-1", digest)):
            with pytest.raises(AccountAway) as caught:
                await call
            assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE

    assert (tmp_path / "kept" / digest).read_bytes() == b"paid"
    assert await spool.reuse(digest, "job-2")


async def test_kept_results_that_are_gone_are_no_use(tmp_path: Path) -> None:
    assert not await FileSpool(tmp_path, Disk()).reuse("0" * 64, "job-1")


def test_a_way_that_ends_for_want_of_descriptors_leaves_none_open(tmp_path: Path) -> None:
    (tmp_path / "real" / "inbox").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    roots = Roots([tmp_path / "link" / "inbox"])

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    for more in range(4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + more, hard))
        try:
            with roots.directory(tmp_path / "link" / "inbox"):
                pass
        except OSError:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert opened() == before


@pytest.mark.parametrize("ask", [mount_id, is_mount_point, file_system_type, lambda _: Mounts.read()])
def test_a_mount_that_cannot_be_told_is_not_absent(tmp_path: Path, ask: Callable[[Path], object]) -> None:
    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        ask(tmp_path)


async def test_folder_with_an_unknown_mount_waits(tmp_path: Path) -> None:
    folder = hot_folder(tmp_path, require_mount=tmp_path)
    folders = LocalFolders(Disk(), MountGuard((folder,)))
    with pytest.raises(FolderAway, match="Nothing is mounted"):
        await folders.strays(folder.inbox)

    with no_descriptor_left(), pytest.raises(FolderAway, match="Too many open files") as caught:
        await folders.strays(folder.inbox)
    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


def test_an_instance_that_cannot_be_looked_up_is_not_taken_for_dead() -> None:
    alive = f"{os.getpid()} 1"
    assert not lives(alive), "that number had another process"

    with no_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        lives(alive)


async def test_bulkheads_stand_where_they_stood_while_the_mounts_cannot_be_told() -> None:
    tables = iter([("/", "/mnt/share"), None])

    def points() -> Sequence[str]:
        table = next(tables)
        if table is None:
            raise OSError(errno.EMFILE, "Too many open files")
        return table

    bulkheads = Bulkheads(points=points, fresh=0.0)

    assert bulkheads.mount_of(Path("/mnt/share/inbox")) == "/mnt/share"
    assert bulkheads.mount_of(Path("/mnt/share/inbox")) == "/mnt/share"


async def test_watches_that_cannot_be_asked_for_just_now_have_not_ended(tmp_path: Path) -> None:
    watcher = InotifyWatcher(fresh=0.0)
    try:
        await watcher.watch(tmp_path, recursive=False, hint=lambda _: None)
        with no_descriptor_left():
            assert await watcher.alive(tmp_path)
    finally:
        watcher.close()
