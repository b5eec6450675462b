from __future__ import annotations

from pathlib import Path

import pytest

from expandd.adapters.files.durable_io import Disk
from expandd.adapters.files.spool import FileVault
from expandd.domain.errors import AccountAway
from expandd.domain.pauses import PauseReason
from expandd.engine.ports import Vault
from tests.support.fakes import MemoryVault, sha256


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "vault"
    directory.mkdir()
    return directory


@pytest.fixture(params=["fake", "real"])
def vault(request: pytest.FixtureRequest, directory: Path) -> Vault:
    return MemoryVault(directory) if request.param == "fake" else FileVault(directory, Disk())


async def test_what_comes_in_is_vaulted_only_when_it_is_admitted(vault: Vault) -> None:
    vault.incoming("job").write_bytes(b"paid")
    before = vault.path("job").exists()
    await vault.admit("job")

    assert not before
    assert vault.path("job").read_bytes() == b"paid"
    assert not vault.incoming("job").exists()


async def test_a_better_download_takes_the_place_of_an_earlier_one(vault: Vault) -> None:
    vault.path("job").write_bytes(b"old")
    vault.incoming("job").write_bytes(b"new")
    await vault.admit("job")

    assert vault.path("job").read_bytes() == b"new"


async def test_what_is_recalled_can_be_checked_and_admitted_again(vault: Vault) -> None:
    vault.incoming("job").write_bytes(b"paid")
    await vault.admit("job")
    await vault.recall("job")
    recalled = vault.incoming("job").read_bytes()
    await vault.admit("job")

    assert recalled == b"paid"
    assert vault.path("job").read_bytes() == b"paid"


async def test_dropping_forgets_both_and_may_be_repeated(vault: Vault, directory: Path) -> None:
    vault.incoming("job").write_bytes(b"half")
    vault.path("job").write_bytes(b"whole")
    vault.path("other").write_bytes(b"another job's")
    await vault.drop("job")
    await vault.drop("job")

    assert [path.name for path in directory.iterdir()] == ["other"]


async def test_what_is_kept_is_there_for_later_jobs_and_what_was_damaged_is_replaced_by_the_next(
    vault: Vault, directory: Path
) -> None:
    digest = sha256(b"paid")
    reused = []
    for number in range(3):
        vault.path(f"job-{number}").write_bytes(b"paid")
        await vault.keep(f"job-{number}", digest)
        await vault.drop(f"job-{number}")
        reused.append(await vault.reuse(digest, f"twin-{number}"))
        await vault.drop(f"twin-{number}")
        if number == 0:
            for kept in (*directory.glob("kept-*"), *directory.glob("kept/*")):
                kept.write_bytes(b"damaged")
            reused.append(await vault.reuse(digest, "another"))

    assert reused == [True, False, True, True]


async def test_jobs_do_not_meet(vault: Vault) -> None:
    paths = {vault.incoming("a"), vault.path("a"), vault.incoming("b"), vault.path("b")}

    assert len(paths) == 4


async def test_a_little_room_is_proven(vault: Vault) -> None:
    await vault.prove(1)


async def test_a_vault_that_is_gone_concerns_the_whole_account(vault: Vault, directory: Path) -> None:
    directory.rmdir()
    with pytest.raises(AccountAway) as caught:
        await vault.prove(1)

    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


async def test_more_than_the_disk_has_is_refused_in_words_that_name_the_disk(directory: Path) -> None:
    with pytest.raises(AccountAway, match=str(directory.parent)) as caught:
        await FileVault(directory, Disk()).prove(1 << 60)

    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE
