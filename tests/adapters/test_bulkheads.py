"""Blocking calls by mount: one disk that does not answer holds up its own few threads, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from expandd.adapters.bulkheads import STATE, Bulkheads, Together

SHARE, OTHER = Path("/mnt/share/inbox"), Path("/mnt/other/inbox")
PATIENCE = 0.2


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def bulkheads(threads: int = 2) -> Bulkheads:
    return Bulkheads(
        Path("/var/state"), threads=threads, patience=PATIENCE, points=lambda: ("/", "/mnt/share", "/mnt/other")
    )


async def test_a_call_that_does_not_come_back_is_abandoned_and_others_are_not(hanging: threading.Event) -> None:
    walls = bulkheads()

    with pytest.raises(OSError, match="does not answer"):
        await walls.run(SHARE, hanging.wait)

    assert await walls.run(OTHER, lambda: 42) == 42
    assert await walls.run(SHARE, lambda: 42) == 42, "one thread of the share's is left"


async def test_a_mount_whose_threads_are_all_stuck_fails_at_once_until_it_is_back(hanging: threading.Event) -> None:
    walls = bulkheads()
    calls = (walls.run(SHARE / name, hanging.wait) for name in "ab")
    assert all(isinstance(one, OSError) for one in await asyncio.gather(*calls, return_exceptions=True))
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(OSError, match="does not answer"):
        await walls.run(SHARE, lambda: 42)
    at_once = loop.time() - began
    hanging.set()
    async with asyncio.timeout(10.0):
        while True:
            try:
                assert await walls.run(SHARE, lambda: 42) == 42
            except OSError:
                await asyncio.sleep(0.01)
            else:
                break

    assert at_once < PATIENCE


async def test_what_moves_between_two_disks_blocks_neither(hanging: threading.Event) -> None:
    walls = bulkheads(threads=1)

    def move(source: Path, target: Path) -> None:
        hanging.wait()

    with pytest.raises(OSError, match="does not answer"):
        await walls.run(OTHER, move, SHARE / "a", OTHER / "a")

    assert await walls.run(OTHER, lambda: 42) == 42


async def test_nothing_is_begun_about_a_path_while_an_abandoned_call_may_still_change_it(
    hanging: threading.Event,
) -> None:
    """A rename that hangs may succeed at last: its repetition must not run beside it."""
    walls = bulkheads(threads=4)
    begun: list[Path] = []

    def rename(path: Path) -> None:
        begun.append(path)
        hanging.wait()

    for _ in range(3):
        with pytest.raises(OSError, match="does not answer"):
            await walls.run(SHARE, rename, SHARE / "a")

    assert begun == [SHARE / "a"]


async def test_a_call_that_never_began_never_will(hanging: threading.Event) -> None:
    walls = bulkheads(threads=1)
    done: list[str] = []

    async def later() -> None:
        await walls.run(SHARE, done.append, "late")

    results = await asyncio.gather(walls.run(SHARE, hanging.wait), later(), return_exceptions=True)
    hanging.set()
    async with asyncio.timeout(10.0):
        while True:
            try:
                await walls.run(SHARE, int)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                break

    assert all(isinstance(one, OSError) for one in results)
    assert done == []


async def test_a_long_call_that_gets_on_is_not_abandoned() -> None:
    def copies() -> str:
        for _ in range(40):
            threading.Event().wait(PATIENCE / 10)
        return "copied"

    assert await bulkheads().run(SHARE, copies) == "copied"


async def test_more_calls_than_threads_take_turns() -> None:
    walls = bulkheads()

    assert await asyncio.gather(*(walls.run(OTHER, lambda n=n: n) for n in range(50))) == list(range(50))


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/mnt/share", "/mnt/share"),
        ("/mnt/share/inbox/a.png", "/mnt/share"),
        ("/mnt/shared/inbox", "/"),
        ("/home/a", "/"),
        ("/var/state/spool", STATE),
    ],
)
def test_a_mount_is_found_by_name(path: str, mount: str) -> None:
    assert bulkheads().mount_of(Path(path)) == mount


def test_a_link_is_on_the_mount_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    walls = Bulkheads(points=lambda: ("/", str(tmp_path / "real")))
    walls.know([tmp_path / "link"])

    assert walls.mount_of(tmp_path / "link" / "a.png") == str(tmp_path / "real")


async def test_calls_about_one_mount_are_made_together_each_with_its_own_answer() -> None:
    walls, threads = bulkheads(), list[int]()
    together = Together(walls.run, walls.mount_of)

    def look(path: Path) -> str:
        threads.append(threading.get_ident())
        if path.name == "bad":
            raise PermissionError(path.name)
        return path.name

    names = ("a", "bad", "b")
    answers = await asyncio.gather(
        *(together.run(SHARE / name, look, SHARE / name) for name in names),
        together.run(OTHER, look, OTHER),
        return_exceptions=True,
    )

    assert [str(answer) for answer in answers] == ["a", "bad", "b", "inbox"]
    assert isinstance(answers[1], PermissionError)
    assert len(set(threads)) == 2


async def test_one_that_does_not_come_back_is_asked_apart_from_then_on(hanging: threading.Event) -> None:
    walls, asked = bulkheads(threads=3), list[str]()
    together = Together(walls.run, walls.mount_of)

    def look(path: Path) -> str:
        asked.append(path.name)
        if path.name == "hangs":
            hanging.wait()
        return path.name

    async def all_looked() -> list[str]:
        looks = (together.run(SHARE / name, look, SHARE / name) for name in ("hangs", "b", "c"))
        return [str(answer) for answer in await asyncio.gather(*looks, return_exceptions=True)]

    first = await all_looked()
    before = len(asked)
    second = await all_looked()

    assert first[1:] == second[1:] == ["b", "c"]
    assert "does not answer" in first[0]
    # It hangs still, and nothing new is begun about it.
    assert asked[before:] == ["b", "c"]
