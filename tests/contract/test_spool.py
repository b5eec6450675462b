from __future__ import annotations

from pathlib import Path

import pytest

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.spool import FileSpool
from expandd.domain.errors import AccountAway
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Spool
from expandd.service.runtime.app import prepare_state
from tests.support.fakes import MemorySpool, sha256
from tests.support.mounting import mounted, needs_mounts, unmount


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "spool"
    directory.mkdir()
    return directory


@pytest.fixture(params=["fake", "real"])
def spool(request: pytest.FixtureRequest, directory: Path) -> Spool:
    return MemorySpool(directory) if request.param == "fake" else FileSpool(directory, Disk())


async def test_what_comes_in_is_downloaded_only_when_it_is_admitted(spool: Spool) -> None:
    spool.incoming("job").write_bytes(b"paid")
    before = spool.path("job").exists()
    await spool.admit("job")

    assert not before
    assert spool.path("job").read_bytes() == b"paid"
    assert not spool.incoming("job").exists()


async def test_a_better_download_takes_the_place_of_an_earlier_one(spool: Spool) -> None:
    spool.path("job").write_bytes(b"old")
    spool.incoming("job").write_bytes(b"new")
    await spool.admit("job")

    assert spool.path("job").read_bytes() == b"new"


async def test_what_is_recalled_can_be_checked_and_admitted_again(spool: Spool) -> None:
    spool.incoming("job").write_bytes(b"paid")
    await spool.admit("job")
    await spool.recall("job")
    recalled = spool.incoming("job").read_bytes()
    await spool.admit("job")

    assert recalled == b"paid"
    assert spool.path("job").read_bytes() == b"paid"


async def test_dropping_forgets_both_and_may_be_repeated(spool: Spool, directory: Path) -> None:
    spool.incoming("job").write_bytes(b"half")
    spool.path("job").write_bytes(b"whole")
    spool.path("other").write_bytes(b"another job's")
    await spool.drop("job")
    await spool.drop("job")

    assert [path.name for path in directory.iterdir()] == ["other"]


async def test_damaged_kept_result_is_replaced_by_the_next(spool: Spool, directory: Path) -> None:
    digest = sha256(b"paid")
    reused = []
    for number in range(3):
        spool.path(f"job-{number}").write_bytes(b"paid")
        await spool.keep(f"job-{number}", digest)
        await spool.drop(f"job-{number}")
        reused.append(await spool.reuse(digest, f"duplicate-{number}"))
        await spool.drop(f"duplicate-{number}")
        if number == 0:
            for kept in (*directory.glob("kept-*"), *directory.glob("kept/*")):
                kept.write_bytes(b"damaged")
            reused.append(await spool.reuse(digest, "another"))

    assert reused == [True, False, True, True]


async def test_jobs_do_not_meet(spool: Spool) -> None:
    paths = {spool.incoming("a"), spool.path("a"), spool.incoming("b"), spool.path("b")}

    assert len(paths) == 4


async def test_a_little_room_is_proven(spool: Spool) -> None:
    await spool.prove(1)


async def test_a_spool_that_is_gone_concerns_the_whole_account(spool: Spool, directory: Path) -> None:
    directory.rmdir()
    with pytest.raises(AccountAway) as caught:
        await spool.prove(1)

    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


async def test_more_than_the_disk_has_is_refused_in_words_that_name_the_disk(directory: Path) -> None:
    with pytest.raises(AccountAway, match=str(directory.parent)) as caught:
        await FileSpool(directory, Disk()).prove(1 << 60)

    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


def test_the_spool_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    earlier = tmp_path / "state" / "vault"
    earlier.mkdir(parents=True)
    (earlier / "job-1").write_bytes(b"paid for")
    spool = prepare_state(tmp_path / "state")
    again = prepare_state(tmp_path / "state")

    assert spool == again
    assert (spool / "job-1").read_bytes() == b"paid for"
    assert not earlier.exists()


@needs_mounts
async def test_bytes_on_a_disk_that_is_unmounted_are_away_and_not_lost(directory: Path) -> None:
    content = b"paid"
    with mounted(directory):
        spool = FileSpool(directory, Disk())
        spool.path("job").write_bytes(content)
        await spool.keep("job", sha256(content))
        unmount(directory)

        with pytest.raises(AccountAway, match="Nothing is mounted") as of_duplicate:
            await spool.reuse(sha256(content), "other")
        with pytest.raises(AccountAway):
            await spool.prove(0)
    assert of_duplicate.value.reason is PauseReason.STORAGE_UNAVAILABLE
    assert list(directory.iterdir()) == []
