from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from expandd.adapters.files.durable_io import Content, Disk
from expandd.adapters.files.folders import LocalFolders
from expandd.adapters.files.inbox_locks import InboxLocks
from expandd.adapters.files.roots import Spot
from expandd.adapters.files.scan import Scanner
from expandd.domain.errors import Fault, FaultCode, FolderAway, SpoolDamaged
from expandd.domain.job import Job, Source
from expandd.domain.pauses import PauseReason
from expandd.domain.settle import LAST
from expandd.engine.ports import Folders
from tests.support.fakes import sha256
from tests.support.jobs import a_job, a_result, a_snapshot

MEMORY = Path("/dev/shm")

BYTES = b"an image, as far as folders care"

LONGEST = "x" * 251 + ".png"
MULTI_BYTE = "ä" * 125 + ".png"


class NamedDisk(Disk):
    """A file system without files that have no name: what vfat, NFS and some FUSE file systems are like."""

    def create(self, target: Path, content: Content, spare: str) -> None:
        self._create_by_name(target, content, target.parent / spare)


@pytest.fixture(params=[Disk, NamedDisk])
def folders(request: pytest.FixtureRequest) -> Folders:
    return LocalFolders(request.param())


@pytest.fixture(params=["one disk", "two disks"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes directories: the inbox on one disk, all others on the same or on another one."""
    with ExitStack() as stack:
        other = tmp_path
        if request.param == "two disks":
            if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
                pytest.skip("there is no second file system here")
            other = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))

        def make(name: str) -> Path:
            directory = (tmp_path if name == "inbox" else other) / name
            directory.mkdir(exist_ok=True)
            return directory

        yield make


@pytest.fixture
def job(place: Callable[[str], Path]) -> Job:
    return a_job(
        folder=replace(
            a_snapshot(), inbox=place("inbox"), outbox=place("outbox"), done=place("done"), error=place("error")
        ),
    )


def drop(job: Job, content: bytes = BYTES) -> Job:
    """Put the job's file into the inbox; the job as it is claimed then."""
    path = job.folder.inbox / job.relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return dropped(job)


def dropped(job: Job) -> Job:
    """The job of the file as it lies in the inbox now."""
    identity = Scanner().identity_of(job.folder.inbox / job.relative)
    assert identity is not None
    return job.with_(source=Source(identity=identity))


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


# --- claims ---


@pytest.mark.parametrize("name", ["pic.png", LONGEST, MULTI_BYTE, "b\udce4d.png", "new\nline.png", " "])
async def test_a_claim_moves_the_file_under_its_own_name_and_may_be_repeated(
    folders: Folders, job: Job, name: str
) -> None:
    job = drop(job.with_(relative=Path(name)))
    first = await folders.claim(job)
    second = await folders.claim(job)

    assert first == second == job.source.identity
    assert files(job.folder.inbox) == {f".expandd/{job.id}/{name}": BYTES}


async def test_a_claim_of_a_file_that_is_gone_is_none_and_leaves_nothing(folders: Folders, job: Job) -> None:
    claimed = await folders.claim(job)

    assert claimed is None
    assert list(job.folder.inbox.iterdir()) == []


@pytest.mark.parametrize("what", ["link", "dangling link", "pipe", "directory", "socket"])
async def test_what_was_swapped_in_for_the_file_is_not_claimed_and_stays(
    folders: Folders, job: Job, what: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    path = job.folder.inbox / job.relative
    with socket.socket(socket.AF_UNIX) as door:
        makes: dict[str, Callable[[], object]] = {
            "link": lambda: path.symlink_to(secret),
            "dangling link": lambda: path.symlink_to(tmp_path / "nothing"),
            "pipe": lambda: os.mkfifo(path),
            "directory": path.mkdir,
            "socket": lambda: door.bind(str(path)),
        }
        makes[what]()
        claimed = await folders.claim(job)

    assert claimed is None
    assert os.path.lexists(path)
    assert secret.read_bytes() == b"not yours"


async def test_a_claimed_file_swapped_for_a_link_is_neither_read_nor_followed(
    folders: Folders, job: Job, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    job = drop(job)
    await folders.claim(job)
    job.work_file.unlink()
    job.work_file.symlink_to(secret)
    with pytest.raises(FileNotFoundError):
        await folders.digest(job.work_file)

    assert await folders.identity(job.work_file) is None
    assert await folders.stat(job.work_file) is None
    assert await folders.irregular(job.work_file) == "a symbolic link"
    assert await folders.give_back(job) is None
    assert secret.read_bytes() == b"not yours"


# --- the way back ---


async def test_returned_file_lies_where_it_was_dropped(folders: Folders, job: Job) -> None:
    job = drop(job.with_(relative=Path("album/pic.png")))
    await folders.claim(job)
    (job.folder.inbox / "album").rmdir()
    first = await folders.give_back(job)
    second = await folders.give_back(job)
    await folders.tidy(job)

    assert first == job.folder.inbox / "album" / "pic.png"
    assert second is None
    assert files(job.folder.inbox) == {"album/pic.png": BYTES}


async def test_a_file_given_back_never_overwrites_the_one_that_took_its_name(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    drop(job, b"a newer one")
    back = await folders.give_back(job)

    assert back == job.folder.inbox / "image-2.png"
    assert files(job.folder.inbox) == {"image.png": b"a newer one", "image-2.png": BYTES}


async def test_a_give_back_that_died_between_its_two_halves_makes_no_second_file(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    os.link(job.work_file, job.folder.inbox / job.relative)
    back = await folders.give_back(job)

    assert back == job.folder.inbox / "image.png"
    assert files(job.folder.inbox) == {"image.png": BYTES}


async def test_original_is_brought_back_once_after_an_interrupted_try(folders: Folders, job: Job) -> None:
    archived_to = job.folder.done / job.relative
    archived_to.write_bytes(BYTES)
    job = job.with_(archived_to=archived_to)
    first = await folders.bring_back(job)
    in_inbox = files(job.folder.inbox)
    archived_to.write_bytes(BYTES)
    if archived_to.stat().st_dev == job.folder.inbox.stat().st_dev:
        archived_to.unlink()
        os.link(job.folder.inbox / job.relative, archived_to)
    second = await folders.bring_back(job)
    third = await folders.bring_back(job)

    assert first == second == job.folder.inbox / job.relative
    assert third is None
    assert in_inbox == files(job.folder.inbox) == {str(job.relative): BYTES}
    assert files(job.folder.done) == {}


async def test_an_original_in_a_folder_that_is_away_is_waited_for(folders: Folders, job: Job) -> None:
    job = job.with_(archived_to=job.folder.done / job.relative)
    job.folder.done.rename(job.folder.done.with_name("aside"))
    with pytest.raises(FolderAway, match=str(job.folder.done)):
        await folders.bring_back(job)


class StuckDisk(Disk):
    """Nothing can be taken away from it."""

    def _take_away(self, held: Spot, before: os.stat_result) -> None:
        del before
        raise PermissionError(13, "Permission denied", held.name)


def test_what_cannot_be_taken_away_is_not_moved_at_all(place: Callable[[str], Path]) -> None:
    source, target = place("done") / "pic.png", place("inbox") / "pic.png"
    source.write_bytes(BYTES)
    with pytest.raises(PermissionError):
        StuckDisk().move(source, target, ".spare")

    assert source.read_bytes() == BYTES
    assert not target.exists()


async def test_holes_of_a_file_are_moved_as_holes(folders: Folders, job: Job) -> None:
    """A person makes a file of any size that takes no room in a moment; on another disk it must take none either."""
    size = 1 << 30
    path = job.folder.inbox / job.relative
    with path.open("wb") as file:
        file.write(BYTES)
        file.seek(size // 2)
        file.write(BYTES)
        file.truncate(size)
    identity = await folders.identity(path)
    assert identity is not None
    job = job.with_(source=replace(job.source, identity=identity))
    await folders.claim(job)
    target = job.folder.error / "huge.png"
    assert await folders.archive(job, target)
    found = target.stat()
    with target.open("rb") as file:
        parts = [file.read(len(BYTES)), file.seek(size // 2) and file.read(len(BYTES))]

    assert (found.st_size, parts) == (size, [BYTES, BYTES])
    assert found.st_blocks * 512 < 1 << 20
    assert not job.work_file.exists()


async def test_strays_are_found_and_returned_without_what_is_ours(folders: Folders, job: Job) -> None:
    work = job.folder.inbox / ".expandd"
    for name in ("stray", "empty"):
        (work / name).mkdir(parents=True)
    (work / "lock").write_text("process 1")
    (work / "stray" / "pic.png").write_bytes(BYTES)
    (work / "stray" / ".upright").write_bytes(b"ours")
    drop(job.with_(relative=Path("pic.png")), b"somebody's")
    strays = sorted(await folders.strays(job.folder.inbox))
    returned = [await folders.return_stray(job.folder.inbox, stray) for stray in strays]

    assert strays == ["empty", "stray"]
    assert returned == [0, 1]
    assert files(job.folder.inbox) == {".expandd/lock": b"process 1", "pic.png": b"somebody's", "pic-2.png": BYTES}
    assert list(await folders.strays(job.folder.inbox)) == []


# --- deliveries ---


@pytest.mark.parametrize("name", ["pic.png", LONGEST, MULTI_BYTE, "b\udce4d.png"])
async def test_a_published_file_is_whole_and_publishing_may_be_repeated(
    folders: Folders, job: Job, place: Callable[[str], Path], name: str
) -> None:
    downloaded, target = place("spool") / job.id, job.folder.outbox / name
    content = os.urandom(3 << 20)
    downloaded.write_bytes(content)
    first = await folders.publish(downloaded, target, sha256(content))
    second = await folders.publish(downloaded, target, sha256(content))

    assert (first, second) == (True, True)
    assert files(job.folder.outbox) == {name: content}
    assert downloaded.exists()


async def test_a_file_that_was_published_is_so_also_where_its_bytes_are_kept_no_more(
    folders: Folders, job: Job, place: Callable[[str], Path]
) -> None:
    """As on the host that takes over from one which died just before it could write down that it was published."""
    downloaded, target = place("spool") / job.id, job.folder.outbox / "pic.png"
    downloaded.write_bytes(BYTES)
    assert await folders.publish(downloaded, target, sha256(BYTES))
    downloaded.unlink()

    assert await folders.publish(downloaded, target, sha256(BYTES))
    with pytest.raises(SpoolDamaged):
        await folders.publish(downloaded, target, sha256(b"others"))
    assert files(job.folder.outbox) == {"pic.png": BYTES}


@pytest.mark.parametrize("what", ["file", "empty file", "link to the same bytes", "dangling link", "directory"])
async def test_publishing_never_overwrites(
    folders: Folders, job: Job, place: Callable[[str], Path], what: str, tmp_path: Path
) -> None:
    downloaded, target = place("spool") / job.id, job.folder.outbox / "pic.png"
    downloaded.write_bytes(BYTES)
    makes: dict[str, Callable[[], object]] = {
        "file": lambda: target.write_bytes(b"somebody's"),
        "empty file": target.touch,
        "link to the same bytes": lambda: target.symlink_to(downloaded),
        "dangling link": lambda: target.symlink_to(tmp_path / "nothing"),
        "directory": target.mkdir,
    }
    makes[what]()
    before = target.lstat()
    published = await folders.publish(downloaded, target, sha256(BYTES))

    assert published is False
    assert target.lstat().st_ino == before.st_ino
    assert [path.name for path in job.folder.outbox.iterdir()] == ["pic.png"]


async def test_of_many_that_publish_under_one_name_one_wins(
    folders: Folders, job: Job, place: Callable[[str], Path]
) -> None:
    target = job.folder.outbox / "pic.png"
    contents = [f"result {number}".encode() for number in range(8)]
    for number, content in enumerate(contents):
        (place("spool") / str(number)).write_bytes(content)
    published = await asyncio.gather(
        *(
            folders.publish(place("spool") / str(number), target, sha256(content))
            for number, content in enumerate(contents)
        ),
    )

    assert published.count(True) == 1
    assert files(job.folder.outbox) == {"pic.png": contents[published.index(True)]}


async def test_nothing_is_left_of_a_publishing_that_failed(
    folders: Folders, job: Job, place: Callable[[str], Path]
) -> None:
    (place("spool") / "damaged").write_bytes(BYTES + b"!")
    for name in ("missing", "damaged"):
        with pytest.raises(SpoolDamaged):
            await folders.publish(place("spool") / name, job.folder.outbox / "pic.png", sha256(BYTES))

    assert list(job.folder.outbox.iterdir()) == []


async def test_an_outbox_that_is_gone_is_away_and_is_never_made(
    folders: Folders, job: Job, place: Callable[[str], Path]
) -> None:
    downloaded = place("spool") / job.id
    downloaded.write_bytes(BYTES)
    job.folder.outbox.rmdir()
    calls: list[Callable[[], object]] = [
        lambda: folders.publish(downloaded, job.folder.outbox / "pic.png", sha256(BYTES)),
        lambda: folders.free_name(job.folder.outbox, Path("album/pic.png"), frozenset()),
        lambda: folders.free_name(job.folder.outbox, Path("pic.png"), frozenset()),
        lambda: folders.prove(job.folder.outbox, 1),
    ]
    reasons = []
    for call in calls:
        with pytest.raises(FolderAway) as caught:
            await call()  # type: ignore[misc] # each is a coroutine of another type
        reasons.append(caught.value.reason)

    assert set(reasons) == {PauseReason.INBOX_UNAVAILABLE}
    assert not job.folder.outbox.exists()


async def test_a_folder_without_room_says_that_it_is_full(folders: Folders, job: Job) -> None:
    await folders.prove(job.folder.outbox, 1)
    with pytest.raises(FolderAway, match="full") as caught:
        await folders.prove(job.folder.outbox, 1 << 60)

    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


async def test_a_folder_that_is_read_only_says_so(folders: Folders) -> None:
    with pytest.raises(FolderAway) as caught:
        await folders.prove(Path("/sys"), 1)

    assert caught.value.reason is PauseReason.STORAGE_UNAVAILABLE


# --- marks, work folders and old originals ---


async def test_a_record_brings_its_job_back_as_it_was(folders: Folders, job: Job) -> None:
    job = drop(job.with_(relative=Path("b\udce4d.png"), note="why"))
    await folders.claim(job)
    nothing = await folders.read_record(job.folder.inbox, job.id)
    await folders.write_record(job)
    await folders.write_record(job)

    assert nothing is None
    assert await folders.read_record(job.folder.inbox, job.id) == job


async def test_a_record_that_was_never_finished_is_none(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    await folders.write_record(job)
    mark = next(path for path in job.work_dir.iterdir() if path != job.work_file)
    mark.write_bytes(mark.read_bytes()[:100])

    assert await folders.read_record(job.folder.inbox, job.id) is None


async def test_a_record_is_removed_with_its_work_directory(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    await folders.write_record(job)
    await folders.give_back(job)
    await folders.tidy(job)

    assert not job.work_dir.exists()


async def test_an_inbox_gets_its_work_folder_and_may_be_occupied_again(folders: Folders, job: Job) -> None:
    for _ in range(2):
        await folders.inbox_state(job.folder.inbox)

    assert (job.folder.inbox / ".expandd").is_dir()


async def test_an_inbox_that_is_gone_is_never_made(folders: Folders, job: Job) -> None:
    job.folder.inbox.rmdir()
    with pytest.raises(FolderAway):
        await folders.inbox_state(job.folder.inbox)

    assert not job.folder.inbox.exists()


async def test_an_inbox_that_another_instance_works_on_is_away_until_that_one_ends(tmp_path: Path) -> None:
    first, second = InboxLocks(), InboxLocks()
    with closing(first), closing(second):
        await LocalFolders(Disk(), locks=first).inbox_state(tmp_path)
        rival = LocalFolders(Disk(), locks=second)
        with pytest.raises(FolderAway, match=str(os.getpid())):
            await rival.inbox_state(tmp_path)
        first.close()
        await rival.inbox_state(tmp_path)


async def test_only_what_was_put_there_long_ago_is_removed(folders: Folders, job: Job) -> None:
    (job.folder.done / "album").mkdir()
    for name in ("pic.png", "album/pic.png"):
        (job.folder.done / name).write_bytes(BYTES)
        # An image may be years old and have come today.
        os.utime(job.folder.done / name, ns=(0, 0))
    await folders.remove_older(job.folder.done, time.time() - 3600.0)
    kept = sorted(files(job.folder.done))
    await folders.remove_older(job.folder.done, time.time() + 3600.0)

    assert kept == ["album/pic.png", "pic.png"]
    assert files(job.folder.done) == {}


# --- names ---


@pytest.mark.parametrize(
    ("taken", "wanted", "chosen"),
    [
        ([], "pic.png", "pic.png"),  # free
        (["pic.png"], "pic.png", "pic-2.png"),  # exists
        (["pic.png", "pic-2.png"], "pic.png", "pic-3.png"),  # numbered on
        (["album/pic.png"], "album/pic.png", "album/pic-2.png"),  # in a subfolder, which is made
        (["noending"], "noending", "noending-2"),  # without an ending
        ([LONGEST], LONGEST, "x" * 249 + "-2.png"),  # cut to stay legal
        (["a." + "b" * 253], "a." + "b" * 253, "a." + "b" * 251 + "-2"),  # an ending too long to be one
    ],
)
async def test_a_free_name_is_free_and_legal(
    folders: Folders, job: Job, taken: list[str], wanted: str, chosen: str
) -> None:
    for name in taken:
        (job.folder.outbox / name).parent.mkdir(exist_ok=True)
        (job.folder.outbox / name).touch()
    path = await folders.free_name(job.folder.outbox, Path(wanted), frozenset())

    assert path == job.folder.outbox / chosen
    path.touch()


async def test_a_name_chosen_for_another_job_is_not_free(folders: Folders, job: Job) -> None:
    outbox = job.folder.outbox
    path = await folders.free_name(outbox, Path("pic.png"), frozenset({outbox / "pic.png", outbox / "pic-2.png"}))

    assert path == outbox / "pic-3.png"


async def test_where_a_file_has_the_name_of_a_subfolder_the_subfolder_gets_a_number(folders: Folders, job: Job) -> None:
    (job.folder.outbox / "album").write_bytes(b"a file without an ending")
    chosen = await folders.free_name(job.folder.outbox, Path("album/2026/pic.png"), frozenset())
    again = await folders.free_name(job.folder.outbox, Path("album/2026/pic.png"), frozenset())

    assert chosen == again == job.folder.outbox / "album-2" / "2026" / "pic.png"
    assert chosen.parent.is_dir()


async def test_a_file_is_given_back_also_where_a_file_took_the_name_of_its_subfolder(
    folders: Folders, job: Job
) -> None:
    job = drop(job.with_(relative=Path("album/pic.png")))
    await folders.claim(job)
    (job.folder.inbox / "album").rmdir()
    (job.folder.inbox / "album").write_bytes(b"a file without an ending")

    assert await folders.give_back(job) == job.folder.inbox / "album-2" / "pic.png"


async def test_a_dangling_link_takes_its_name(folders: Folders, job: Job, tmp_path: Path) -> None:
    (job.folder.outbox / "pic.png").symlink_to(tmp_path / "nothing")
    path = await folders.free_name(job.folder.outbox, Path("pic.png"), frozenset())

    assert path.name == "pic-2.png"


# --- originals ---


async def test_an_original_is_archived_with_its_times_and_archiving_may_be_repeated(folders: Folders, job: Job) -> None:
    job = drop(job)
    os.utime(job.folder.inbox / job.relative, ns=(1_000_000_000, 2_000_000_000))
    job = dropped(job)
    await folders.claim(job)
    target = job.folder.done / "pic.png"
    first = await folders.archive(job, target)
    second = await folders.archive(job, target)
    await folders.tidy(job)

    assert (first, second) == (True, True)
    assert files(job.folder.done) == {"pic.png": BYTES}
    assert target.stat().st_mtime_ns == 2_000_000_000
    assert files(job.folder.inbox) == {}


async def test_putting_away_never_overwrites(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    target = job.folder.done / "pic.png"
    target.write_bytes(b"somebody's")
    put = await folders.archive(job, target)

    assert put is False
    assert target.read_bytes() == b"somebody's"
    assert job.work_file.read_bytes() == BYTES


async def test_putting_away_leaves_a_dangling_link_alone(folders: Folders, job: Job, tmp_path: Path) -> None:
    job = drop(job)
    await folders.claim(job)
    target = job.folder.done / "pic.png"
    target.symlink_to(tmp_path / "nothing")
    put = await folders.archive(job, target)

    assert put is False
    assert job.work_file.read_bytes() == BYTES


async def test_a_putting_away_that_died_between_its_two_halves_is_finished(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    target = job.folder.done / "pic.png"
    target.write_bytes(BYTES)
    put = await folders.archive(job, target)

    assert put is True
    assert not job.work_file.exists()
    assert files(job.folder.done) == {"pic.png": BYTES}


async def test_discarding_removes_the_original_and_may_be_repeated(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    for _ in range(2):
        await folders.discard(job)
        await folders.tidy(job)

    assert files(job.folder.inbox) == {}


async def test_tidying_never_removes_an_original(folders: Folders, job: Job) -> None:
    job = drop(job)
    await folders.claim(job)
    (job.work_dir / ".upright").write_bytes(b"ours")
    await folders.tidy(job)

    assert files(job.work_dir) == {job.relative.name: BYTES}


NO_REPORTS = [
    b"[" * 60_000,
    b'{"job":' * 60_000,
    b"[" * 900 + b"]" * 900,
    b'{"job": "a", "what_to_do": ' + b"[" * 900 + b"]" * 900 + b', "message": ""}',
    b'{"job": 1e999, "what_to_do": NaN, "message": ""}',
    b'{"job": ' + b"9" * 5000 + b', "what_to_do": "", "message": ""}',
    b'{"job": "", "what_to_do": "", "message": ""}' + b" " * 70_000,
    b"\xff\xfe{",
    b"\0" * 100,
    b"",
]
"""What lies there under a report's name, and is none of ours."""


@pytest.mark.timeout(20)
async def test_what_only_has_the_name_of_a_sidecar_is_neither_read_nor_removed(folders: Folders, job: Job) -> None:
    pipe = job.folder.inbox / f"{job.relative.name}.error.json"
    os.mkfifo(pipe)
    (job.folder.error / pipe.name).write_text('{"job": "of somebody else"}')
    for failed in (job.folder.inbox / job.relative, job.folder.error / job.relative):
        await folders.forget_sidecar(failed)

    assert pipe.is_fifo()
    assert (job.folder.error / pipe.name).exists()


@pytest.mark.parametrize("text", NO_REPORTS)
async def test_whatever_is_no_report_is_left_alone_and_holds_up_nothing(
    folders: Folders, job: Job, text: bytes
) -> None:
    report = job.folder.inbox / f"{job.relative.name}.error.json"
    report.write_bytes(text)
    await folders.forget_sidecar(job.folder.inbox / job.relative)

    assert report.exists()


@pytest.mark.parametrize("name", ["pic.png", LONGEST, "b\udce4d.png", "new\nline.png"])
async def test_a_sidecar_lies_beside_its_file_and_may_be_written_again(folders: Folders, job: Job, name: str) -> None:
    fault = Fault(FaultCode.EMPTY, "This file is empty.", "Save it again.")
    failed = job.with_(fault=fault, relative=Path(name))
    target = job.folder.error / name
    target.write_bytes(BYTES)
    await folders.write_sidecar(failed, target)
    await folders.write_sidecar(failed, target)
    [sidecar] = [path for path in job.folder.error.iterdir() if path != target]

    assert sidecar.name.endswith(".error.json")
    assert "This file is empty." in sidecar.read_text("utf-8")


@pytest.mark.parametrize("name", ["pic.png", LONGEST, MULTI_BYTE, "b\udce4d.png", "new\nline.png"])
async def test_a_result_has_one_sidecar_however_often_it_is_written(folders: Folders, job: Job, name: str) -> None:
    target = job.folder.outbox / "set" / name
    for _ in range(2):
        await folders.write_result_sidecar(job, a_result(), target)
    await folders.write_result_sidecar(job.with_(id="job-2"), a_result(), target)
    names = sorted(path.name for path in target.parent.iterdir())

    assert len(names) == 2
    assert all(found.endswith(".json") for found in names)
    assert {json.loads((target.parent / found).read_text("utf-8"))["job"] for found in names} == {"job-1", "job-2"}


async def test_a_sidecar_of_a_result_waits_for_its_outbox(folders: Folders, job: Job) -> None:
    job.folder.outbox.rmdir()
    with pytest.raises(FolderAway):
        await folders.write_result_sidecar(job, a_result(), job.folder.outbox / "pic.png")

    assert not job.folder.outbox.exists()


# --- looking ---


async def test_a_scan_of_thousands_comes_in_small_batches_and_is_complete(folders: Folders, tmp_path: Path) -> None:
    names = {f"pic-{number:04d}.png" for number in range(3_000)}
    for name in names:
        (tmp_path / name).touch()
    seen: list[str] = []
    sizes: list[int] = []
    async for batch in folders.scan(tmp_path, recursive=False):
        seen.extend(found.relative for found in batch)
        sizes.append(len(batch))

    assert max(sizes) <= 256
    assert len(sizes) >= 11
    assert sorted(seen) == sorted(names)


async def test_a_scan_can_be_broken_off(folders: Folders, tmp_path: Path) -> None:
    for number in range(1_000):
        (tmp_path / str(number)).touch()
    async for batch in folders.scan(tmp_path, recursive=False):
        assert len(batch) == 256
        break


async def test_a_scan_leaves_out_the_work_folder_and_enters_subfolders_only_when_asked(
    folders: Folders, tmp_path: Path
) -> None:
    for name in ("pic.png", ".expandd/job/pic.png", "album/pic.png", "album/.expandd/pic.png", ".git/pic.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "album")
    os.utime(tmp_path / "album/pic.png", (7, 7))
    flat = [found async for batch in folders.scan(tmp_path, recursive=False) for found in batch]
    deep = [found async for batch in folders.scan(tmp_path, recursive=True) for found in batch]

    assert sorted(found.relative for found in flat) == ["link", "pic.png"]
    assert sorted(found.relative for found in deep) == ["album/pic.png", "link", "pic.png"]
    assert {found.relative: found.mtime_ns for found in deep}["album/pic.png"] == 7_000_000_000
    assert {found.relative: found.mtime_ns for found in deep}["link"] == LAST


async def test_a_subfolder_that_goes_during_a_scan_is_no_outage(folders: Folders, tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    (tmp_path / "album").mkdir()
    seen = 0
    async for batch in folders.scan(tmp_path, recursive=True):
        seen += len(batch)
        if (tmp_path / "album").exists():
            (tmp_path / "album").rmdir()

    assert seen == 300


async def test_a_scan_of_an_inbox_that_is_gone_says_that_it_is_away(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(FolderAway) as caught:
        async for _ in folders.scan(tmp_path / "gone", recursive=True):
            pass

    assert caught.value.reason is PauseReason.INBOX_UNAVAILABLE


async def test_a_stat_sees_what_a_change_changes(folders: Folders, tmp_path: Path) -> None:
    path = tmp_path / "pic.png"
    path.write_bytes(b"1234")
    before = await folders.stat(path)
    assert before is not None
    path.write_bytes(b"4321")
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))
    after = await folders.stat(path)

    assert after is not None
    assert (after.size, after.mtime_ns, after.inode) == (before.size, before.mtime_ns, before.inode)
    assert after != before


async def test_a_path_through_a_file_is_nothing(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert await folders.stat(tmp_path / "file" / "pic.png") is None
    assert await folders.identity(tmp_path / "file" / "pic.png") is None


async def test_a_directory_is_told_from_another_of_the_same_name(folders: Folders, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    missing = await folders.directory_identity(inbox)
    inbox.mkdir()
    first = await folders.directory_identity(inbox)
    inbox.rename(tmp_path / "aside")
    inbox.mkdir()
    second = await folders.directory_identity(inbox)

    assert missing is None
    assert first != second


async def test_events_reach_a_local_disk(folders: Folders, tmp_path: Path) -> None:
    assert isinstance(await folders.events_reach(tmp_path), bool)


async def test_what_a_folder_says_of_itself_can_be_printed(folders: Folders, tmp_path: Path) -> None:
    gone = tmp_path / "f\udce4r immer"
    with pytest.raises(FolderAway) as caught:
        await folders.prove(gone, 1)

    assert str(caught.value).encode("utf-8")


async def test_a_scan_that_is_cancelled_in_the_middle_ends_quietly(folders: Folders, job: Job) -> None:
    for number in range(2000):
        (job.folder.inbox / f"{number}.png").touch()
    for _ in range(50):
        scanning = asyncio.create_task(_scanned(folders, job.folder.inbox))
        # The thread is inside the directory by then, or just about to be.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        scanning.cancel()
        await asyncio.wait({scanning})

        assert scanning.cancelled()


async def _scanned(folders: Folders, inbox: Path) -> int:
    return sum([len(batch) async for batch in folders.scan(inbox, recursive=False)])
