from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileSystemEventHandler
from watchdog.observers.api import ObservedWatch
from watchdog.observers.inotify import InotifyObserver

from expandd.adapters.files.watcher import InotifyWatcher
from expandd.domain.errors import FolderAway
from tests.support.fakes import SilentWatcher
from tests.trust.conftest import exchange


class Ear:
    """Hears hints from any thread; a test waits for the one it expects."""

    def __init__(self) -> None:
        self.heard: set[Path] = set()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __call__(self, path: Path) -> None:
        self._loop.call_soon_threadsafe(self._note, path)

    async def until(self, path: Path) -> None:
        async with asyncio.timeout(10.0):
            while path not in self.heard:
                self._changed.clear()
                await self._changed.wait()

    def _note(self, path: Path) -> None:
        self.heard.add(path)
        self._changed.set()


def threads_of_watchdog() -> int:
    """All but those that asyncio begins for blocking calls, when it likes."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


AnyWatcher = SilentWatcher | InotifyWatcher


@pytest.fixture(params=["fake", "inotify"])
def watcher(request: pytest.FixtureRequest) -> Iterator[AnyWatcher]:
    if request.param == "fake":
        yield SilentWatcher()
    else:
        watcher = InotifyWatcher()
        yield watcher
        watcher.close()


@pytest.fixture
def inotify() -> Iterator[InotifyWatcher]:
    watcher = InotifyWatcher()
    yield watcher
    watcher.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    return inbox


@pytest.fixture
async def ear() -> Ear:
    return Ear()


def tell(watcher: AnyWatcher, path: Path) -> None:
    """The fake says only what it is told to say."""
    if isinstance(watcher, SilentWatcher):
        watcher.hint(path)


# --- what every watcher does ---


async def test_a_file_that_is_written_is_hinted_at(watcher: AnyWatcher, inbox: Path, ear: Ear) -> None:
    await watcher.watch(inbox, recursive=False, hint=ear)
    (inbox / "pic.png").write_bytes(b"x")
    tell(watcher, inbox / "pic.png")
    await ear.until(inbox / "pic.png")

    assert await watcher.alive(inbox)


async def test_two_inboxes_are_told_apart(watcher: AnyWatcher, inbox: Path, tmp_path: Path, ear: Ear) -> None:
    other, other_ear = tmp_path / "other", Ear()
    other.mkdir()
    await watcher.watch(inbox, recursive=False, hint=ear)
    await watcher.watch(other, recursive=False, hint=other_ear)
    for path in (inbox / "a.png", other / "b.png"):
        path.write_bytes(b"x")
        tell(watcher, path)
    await ear.until(inbox / "a.png")
    await other_ear.until(other / "b.png")

    assert other / "b.png" not in ear.heard
    assert inbox / "a.png" not in other_ear.heard


async def test_what_is_not_watched_is_not_alive(watcher: AnyWatcher, inbox: Path, ear: Ear) -> None:
    before = await watcher.alive(inbox)
    await watcher.watch(inbox, recursive=False, hint=ear)
    await watcher.unwatch(inbox)
    await watcher.unwatch(inbox)

    assert not before
    assert not await watcher.alive(inbox)


async def test_a_second_watch_replaces_the_first(watcher: AnyWatcher, inbox: Path, ear: Ear) -> None:
    later = Ear()
    await watcher.watch(inbox, recursive=False, hint=ear)
    await watcher.watch(inbox, recursive=False, hint=later)
    (inbox / "pic.png").write_bytes(b"x")
    tell(watcher, inbox / "pic.png")
    await later.until(inbox / "pic.png")

    assert ear.heard == set()
    assert await watcher.alive(inbox)


# --- inotify ---


async def test_every_way_in_makes_a_hint(inotify: InotifyWatcher, inbox: Path, tmp_path: Path, ear: Ear) -> None:
    await inotify.watch(inbox, recursive=False, hint=ear)
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"x")
    os.link(outside, inbox / "linked.png")
    outside.rename(inbox / "moved in.png")
    (inbox / "linked.png").rename(inbox / "renamed.png")
    (inbox / "folder").mkdir()
    for name in ("linked.png", "moved in.png", "renamed.png", "folder"):
        await ear.until(inbox / name)


async def test_names_of_any_bytes_are_hinted_at(inotify: InotifyWatcher, inbox: Path, ear: Ear) -> None:
    await inotify.watch(inbox, recursive=False, hint=ear)
    for name in ("b\udce4d.png", "new\nline.png", "x" * 255):
        (inbox / name).write_bytes(b"x")
        await ear.until(inbox / name)


async def test_subfolders_are_watched_when_asked_for(inotify: InotifyWatcher, inbox: Path, ear: Ear) -> None:
    (inbox / "album").mkdir()
    await inotify.watch(inbox, recursive=True, hint=ear)
    (inbox / "album" / "pic.png").write_bytes(b"x")
    await ear.until(inbox / "album" / "pic.png")


async def test_an_inbox_that_is_not_there_cannot_be_watched(inotify: InotifyWatcher, inbox: Path, ear: Ear) -> None:
    with pytest.raises(FolderAway):
        await inotify.watch(inbox / "gone", recursive=False, hint=ear)

    assert not await inotify.alive(inbox / "gone")


async def test_an_inbox_that_is_made_again_can_be_watched_again(inotify: InotifyWatcher, inbox: Path, ear: Ear) -> None:
    await inotify.watch(inbox, recursive=False, hint=ear)
    inbox.rmdir()
    inbox.mkdir()
    await inotify.watch(inbox, recursive=False, hint=ear)
    (inbox / "pic.png").write_bytes(b"x")
    await ear.until(inbox / "pic.png")


async def test_a_closed_watcher_can_be_used_again(inotify: InotifyWatcher, inbox: Path, ear: Ear) -> None:
    await inotify.watch(inbox, recursive=False, hint=ear)
    inotify.close()
    dead = await inotify.alive(inbox)
    await inotify.watch(inbox, recursive=False, hint=ear)
    (inbox / "pic.png").write_bytes(b"x")
    await ear.until(inbox / "pic.png")

    assert not dead


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_reader_that_died_is_noticed_and_replaced(inbox: Path, tmp_path: Path, ear: Ear) -> None:
    """One thread of watchdog's reads for all inboxes of a mount: it dies of what it meets, and all else looks alive."""

    class Raising:
        def on_event(self, _: object) -> None:
            raise RuntimeError("watchdog met something unforeseen")

        def on_watch_deleted(self, _: object) -> None: ...

    made: list[InotifyObserver] = []

    def observer() -> InotifyObserver:
        made.append(InotifyObserver())
        return made[-1]

    inotify = InotifyWatcher(observer=observer)
    await inotify.watch(inbox, recursive=False, hint=ear)
    reader: Any = made[0]._inotify_fd  # noqa: SLF001 - nothing else ends it
    in_create = 0x100
    reader.add_callback(os.fsencode(tmp_path), in_create, Raising(), "raising")
    (tmp_path / "unforeseen").touch()
    await _gone(lambda: inotify.alive(inbox))
    await inotify.watch(inbox, recursive=False, hint=ear)
    (inbox / "pic.png").write_bytes(b"x")
    await ear.until(inbox / "pic.png")

    assert await inotify.alive(inbox)
    inotify.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_after_a_hint_that_raised_all_inboxes_can_be_watched_again(
    inotify: InotifyWatcher, inbox: Path, tmp_path: Path, ear: Ear
) -> None:
    other = tmp_path / "other"
    other.mkdir()

    def raising(path: Path) -> None:
        ear(path)
        raise RuntimeError("the loop is closed")

    await inotify.watch(inbox, recursive=False, hint=raising)
    await inotify.watch(other, recursive=False, hint=ear)
    (inbox / "pic.png").write_bytes(b"x")
    await ear.until(inbox / "pic.png")
    await _gone(lambda: inotify.alive(inbox))
    await inotify.watch(inbox, recursive=False, hint=ear)
    await inotify.watch(other, recursive=False, hint=ear)
    (other / "pic.png").write_bytes(b"x")
    await ear.until(other / "pic.png")

    assert await inotify.alive(inbox)
    assert await inotify.alive(other)


async def _gone(is_there: Callable[[], Awaitable[bool]]) -> None:
    """A thread ends in its own time, and says so to nobody."""
    async with asyncio.timeout(10.0):
        while await is_there():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.005)


async def test_a_subfolder_that_changed_places_with_another_leaves_no_thread(
    inotify: InotifyWatcher, inbox: Path, ear: Ear
) -> None:
    """watchdog loses count of the two, and stops half-way when it is told to watch them no more."""
    for name in ("one", "other"):
        (inbox / name).mkdir()
    await inotify.watch(inbox, recursive=True, hint=ear)
    threads = threads_of_watchdog()
    for number in range(3):
        assert exchange(inbox / "one", inbox / "other")
        (inbox / f"{number}.png").write_bytes(b"x")
        await ear.until(inbox / f"{number}.png")
        await inotify.unwatch(inbox)
        assert threads_of_watchdog() < threads
        await inotify.watch(inbox, recursive=True, hint=ear)

    assert threads_of_watchdog() == threads
    assert await inotify.alive(inbox)


# --- one observer for each mount ---


class HeldObserver(InotifyObserver):
    """Watchdog's own, whose call for what lies below `slow` comes back once it is `let_go`, as on a dead share."""

    def __init__(self, slow: Path, entered: threading.Event, let_go: threading.Event) -> None:
        super().__init__()
        self._slow = slow
        self._entered = entered
        self._let_go = let_go

    def schedule(self, event_handler: FileSystemEventHandler, path: str | Path, **named: Any) -> ObservedWatch:
        if Path(path).is_relative_to(self._slow):
            self._entered.set()
            self._let_go.wait()
        return super().schedule(event_handler, path, **named)


async def test_a_watch_that_hangs_on_one_mount_holds_up_no_watch_of_another(tmp_path: Path, ear: Ear) -> None:
    slow, other = tmp_path / "slow", tmp_path / "other"
    for inbox in (slow, other):
        inbox.mkdir()
    entered, let_go = threading.Event(), threading.Event()
    watcher = InotifyWatcher(mount_of=lambda path: path.name, observer=lambda: HeldObserver(slow, entered, let_go))
    hanging = asyncio.create_task(watcher.watch(slow, recursive=False, hint=ear))
    try:
        await asyncio.to_thread(entered.wait)
        async with asyncio.timeout(10.0):
            await watcher.watch(other, recursive=True, hint=ear)
            (other / "pic.png").write_bytes(b"x")
            await ear.until(other / "pic.png")
            assert await watcher.alive(other)
            await watcher.unwatch(other)
        let_go.set()
        await hanging
        (slow / "late.png").write_bytes(b"x")
        await ear.until(slow / "late.png")
    finally:
        let_go.set()
        watcher.close()


async def test_an_inbox_whose_mount_has_changed_is_watched_once(inbox: Path, ear: Ear) -> None:
    mounts = iter(["/share", "/"])
    watcher, before = InotifyWatcher(mount_of=lambda _: next(mounts)), Ear()
    try:
        await watcher.watch(inbox, recursive=False, hint=before)
        await watcher.watch(inbox, recursive=False, hint=ear)
        (inbox / "pic.png").write_bytes(b"x")
        await ear.until(inbox / "pic.png")
    finally:
        watcher.close()

    assert before.heard == set()
