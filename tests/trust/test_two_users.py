"""Those who may drop files reaches nothing else: what the audit saw, and the same at each other step of a job."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.permissions import close_to_others, looseness
from expandd.adapters.images.opening import NewFile
from expandd.domain.errors import Fault, FaultCode, FolderAway, Later
from expandd.domain.job import Job
from tests.trust.conftest import DAEMON, DROPPER, SECRET, Yard, dropper, user

Step = Callable[[LocalFolders, Job], Awaitable[object]]

PAID_BYTES = b"a result"


async def claim(folders: LocalFolders, job: Job) -> object:
    return await folders.claim(job)


async def digest(folders: LocalFolders, job: Job) -> object:
    with contextlib.suppress(FileNotFoundError):
        return await folders.digest(job.work_file)
    return None


async def archive(folders: LocalFolders, job: Job) -> object:
    return await folders.archive(job, job.folder.done / job.relative)


async def reject(folders: LocalFolders, job: Job) -> object:
    target = job.folder.error / job.relative
    failed = job.with_(fault=Fault(FaultCode.REFUSED_BY_API, "refused", "nothing"))
    if await folders.make_directories(job.folder.error, job.relative):
        await folders.write_sidecar(failed, target)
    return await folders.archive(failed, target)


async def discard(folders: LocalFolders, job: Job) -> object:
    await folders.discard(job)
    return None


async def give_back(folders: LocalFolders, job: Job) -> object:
    return await folders.give_back(job)


async def tidy(folders: LocalFolders, job: Job) -> object:
    await folders.tidy(job)
    return None


async def write_record(folders: LocalFolders, job: Job) -> object:
    await folders.write_record(job)
    return await folders.read_record(job.folder.inbox, job.id)


async def return_strays(folders: LocalFolders, job: Job) -> object:
    return [await folders.return_stray(job.folder.inbox, one) for one in await folders.strays(job.folder.inbox)]


async def inbox_state(folders: LocalFolders, job: Job) -> object:
    return await folders.inbox_state(job.folder.inbox)


async def write_upright(folders: LocalFolders, job: Job) -> object:  # the decoder's door, not the folders'
    new = NewFile(job.work_dir / ".upright")
    new.file.write(b"upright")
    new.keep()
    new.discard()
    return None


STEPS: list[Step] = [
    claim, digest, archive, reject, discard, give_back, tidy, write_record, return_strays, inbox_state, write_upright
]  # fmt: skip

each_step = pytest.mark.parametrize("step", STEPS, ids=[step.__name__ for step in STEPS])


async def taken(yard: Yard, name: str = "tokens.json") -> tuple[LocalFolders, Job]:
    job = yard.drop(name)
    folders = yard.folders()
    with user(DAEMON):
        assert await folders.claim(job) is not None
    return folders, job


@each_step
@pytest.mark.parametrize("lure", ["link", "own directory with a link", "own directory with a part"])
async def test_a_work_folder_that_was_swapped_leads_nowhere(yard: Yard, step: Step, lure: str) -> None:
    """The inbox is not sticky, so its people can rename the work folder as a whole."""
    folders, job = await taken(yard)
    inbox = job.folder.inbox
    for hidden in (yard.state, yard.theirs / "inbox"):
        with dropper():
            (inbox / ".expandd").rename(inbox / f"aside-{hidden.name}")
            if lure == "link":
                (inbox / ".expandd").symlink_to(hidden.parent)
            else:
                (inbox / ".expandd").mkdir()
                if lure == "own directory with a link":
                    (inbox / ".expandd" / job.id).symlink_to(hidden)
                else:
                    (inbox / ".expandd" / job.id).mkdir()
                    part = inbox / ".expandd" / job.id / f".expandd-{job.id}.part"
                    part.symlink_to(hidden / "tokens.json")
        before = yard.outside()
        with user(DAEMON), pytest.raises((FolderAway, Later), match="belongs to user 23002"):
            await step(folders, job)

        assert yard.outside() == before
        with dropper():
            (inbox / ".expandd").rename(inbox / f"lure-{hidden.name}")
            (inbox / f"aside-{hidden.name}").rename(inbox / ".expandd")


@each_step
async def test_nobody_else_gets_into_a_work_folder(yard: Yard, step: Step) -> None:
    folders, job = await taken(yard)
    with dropper():
        for act in (
            job.work_file.read_bytes,
            job.work_file.unlink,
            lambda: job.work_dir.rename(job.folder.inbox / "mine now"),
            lambda: (job.folder.inbox / ".expandd" / "new").symlink_to(yard.state),
            lambda: os.listdir(job.folder.inbox / ".expandd"),
        ):
            with pytest.raises(PermissionError):
                act()
    before = yard.outside()
    with user(DAEMON):
        await step(folders, job)

    assert yard.outside() == before


@pytest.mark.parametrize("step", [archive, reject], ids=["done", "error"])
@pytest.mark.parametrize("hidden", ["state", "theirs/inbox"])
async def test_a_subfolder_that_is_a_link_is_gone_round(yard: Yard, step: Step, hidden: str) -> None:
    folders, job = await taken(yard, "sub/pic.png")
    root = job.folder.done if step is archive else job.folder.error
    with dropper():
        (root / "sub").symlink_to(yard.base / hidden)
    before = yard.outside()
    with user(DAEMON):
        first = await step(folders, job)
        free = await folders.free_name(root, job.relative, frozenset())
        second = await folders.archive(job, free)

    assert (first, second) == (False, True)
    assert free == root / "sub-2" / "pic.png"
    assert free.read_bytes() == b"mine"
    assert yard.outside() == before


@pytest.mark.parametrize("hidden", ["state", "theirs/inbox"])
async def test_a_result_is_not_planted_elsewhere(yard: Yard, hidden: str) -> None:
    folders, job = await taken(yard, "sub/pic.png")
    downloaded = yard.state / "downloaded"
    with user(DAEMON):
        downloaded.write_bytes(PAID_BYTES)
    digest_of = hashlib.sha256(PAID_BYTES).hexdigest()
    target = job.folder.outbox / "sub" / "pic.png"
    with dropper():
        (job.folder.outbox / "sub").symlink_to(yard.base / hidden)
        (job.folder.outbox / ".expandd-downloaded.part").symlink_to(yard.state / "tokens.json")
    before = yard.outside()
    with user(DAEMON):
        way = await folders.make_directories(job.folder.outbox, Path("sub", "pic.png"))
        first = await folders.publish(downloaded, target, digest_of)
        free = await folders.free_name(job.folder.outbox, Path("sub", "pic.png"), frozenset())
        second = await folders.publish(downloaded, free, digest_of)

    assert (way, first, second) == (False, False, True)
    assert free.read_bytes() == PAID_BYTES
    assert yard.outside() == before


async def test_a_subfolder_that_became_a_link_while_its_file_settled_shows_nothing(yard: Yard) -> None:
    folders, inbox = yard.folders(), yard.mine / "inbox"
    job = yard.drop("sub/tokens.json")
    with dropper():
        (inbox / "sub").rename(inbox / "aside")
        (inbox / "sub").symlink_to(yard.theirs / "inbox")
    before = yard.outside()
    with user(DAEMON):
        seen = [one.relative async for batch in folders.scan(inbox, recursive=True) for one in batch]
        look, claimed = await folders.stat(inbox / job.relative), await folders.claim(job)
        with pytest.raises(NotADirectoryError):
            yard.folders()._disk.roots.open_file(inbox / job.relative)  # noqa: SLF001 - the roots that the folders use

    assert "sub/tokens.json" not in seen
    assert (look, claimed) == (None, None)
    assert yard.outside() == before


async def test_old_originals_are_removed_from_no_other_folder(yard: Yard) -> None:
    """Its parent is the people's: they put a link in the place of the whole folder, or of a subfolder."""
    os.chown(yard.mine, DAEMON, 23000)
    yard.mine.chmod(0o2770)
    done = yard.mine / "done"
    with dropper():
        (done / "sub").symlink_to(yard.theirs / "done")
    before = yard.outside()
    with user(DAEMON):
        await yard.folders().remove_older(done, time.time() + 10)
    with dropper():
        done.rename(yard.mine / "aside")
        done.symlink_to(yard.theirs / "done")
    with user(DAEMON), pytest.raises(FolderAway, match="a link named done that user 23002 has made"):
        await yard.folders().remove_older(done, time.time() + 10)

    assert yard.outside() == before


@pytest.mark.parametrize(("mode", "kept"), [(0o600, 0o600), (0o4777, 0o666), (0o6755, 0o644), (0o664, 0o664)])
async def test_a_mode_does_no_harm_where_its_file_comes_to_rest(yard: Yard, mode: int, kept: int) -> None:
    job = yard.drop("pic.png", mode=mode)
    folders = yard.folders()
    with user(DAEMON):
        await folders.claim(job)
        put = await folders.archive(job, job.folder.done / "pic.png")
    found = (job.folder.done / "pic.png").stat()

    assert put
    assert found.st_mode & 0o7777 == kept | (0o040 if found.st_uid == DAEMON else 0)
    assert not found.st_mode & 0o6000


async def test_what_is_not_the_claimed_file_any_more_goes_back_and_is_not_archived(yard: Yard) -> None:
    folders, job = await taken(yard, "pic.png")
    with user(DAEMON):
        job.work_file.write_bytes(b"another one")
        put = await folders.archive(job, job.folder.done / "pic.png")

    assert put
    assert os.listdir(job.folder.done) == []
    assert (job.folder.inbox / "pic.png").read_bytes() == b"another one"


async def test_a_record_that_people_may_write_to_is_not_believed(yard: Yard) -> None:
    """A report that the daemon made for people, moved into a work folder: its owner is right, its words are theirs."""
    folders, job = await taken(yard)
    with user(DAEMON):
        await folders.write_record(job)
        record = job.work_dir / ".job.json"
        mode = record.stat().st_mode & 0o777
        believed = await folders.read_record(job.folder.inbox, job.id)
        record.chmod(0o660)
        with pytest.raises(FolderAway, match="chmod 600"):
            await folders.read_record(job.folder.inbox, job.id)

    assert mode == 0o600
    assert believed is not None


async def test_a_subfolder_that_somebody_shut_stops_its_own_files_alone(yard: Yard) -> None:
    job = yard.drop("sub/pic.png")
    folders, inbox = yard.folders(), yard.mine / "inbox"
    with dropper():
        (inbox / "sub").chmod(0o755)
        (inbox / "closed").mkdir()
        (inbox / "closed").chmod(0o700)
    with user(DAEMON):
        why = await folders.cannot_take_because(inbox, job.relative)
        claimed = await folders.claim(job)
        fine = await folders.cannot_take_because(inbox, Path("pic.png"))
        seen = {Path(one.relative) async for batch in folders.scan(inbox, recursive=True) for one in batch}
        told = await folders.irregular(inbox / "closed")

    assert why is not None
    assert f"was made by user {DROPPER}" in why
    assert f"chmod g+rwx,-t {inbox / 'sub'}" in why
    assert (claimed, fine) == (None, None)
    assert {Path("sub/pic.png"), Path("closed")} <= seen
    assert told == f"a directory that expandd may not enter (chmod g+rwx {inbox / 'closed'})"
    assert not (inbox / ".expandd" / job.id).exists()


async def test_renamed_work_folder_is_not_scanned(yard: Yard) -> None:
    job = yard.drop("pic.png")
    folders, inbox = yard.folders(), yard.mine / "inbox"
    with user(DAEMON):
        await folders.claim(job)
        await folders.write_record(job)
    with dropper():
        (inbox / ".expandd").rename(inbox / "sub")
    with user(DAEMON):
        again = job.with_(id="another", relative=Path("sub", job.id, "pic.png"))
        why = await folders.cannot_take_because(inbox, again.relative)
        claimed = await folders.claim(again)

    assert why is not None
    assert f"Move it back into {inbox / '.expandd'}" in why
    assert claimed is None
    assert (inbox / again.relative).is_file()


def test_a_state_directory_is_closed_to_others(yard: Yard) -> None:
    yard.state.chmod(0o755)
    (yard.state / "tokens.json").chmod(0o644)
    with user(DAEMON):
        told = list(looseness([], yard.state))
        close_to_others(yard.state)
    assert any("chmod 700" in one for one in told)
    assert yard.state.stat().st_mode & 0o777 == 0o700
    assert (yard.state / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert (yard.state / "tokens.json").read_bytes() == SECRET


def test_a_state_directory_of_somebody_else_is_refused(yard: Yard) -> None:
    yard.state.chmod(0o755)
    with user(DROPPER), pytest.raises(PermissionError, match="belongs to user 23001"):
        close_to_others(yard.state)
