from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from expandd.adapters.config.values import ignore
from expandd.domain.errors import FaultCode
from expandd.domain.events import (
    FileIgnored,
    FileSettled,
    FileUnfinished,
    JobMoved,
    PauseEnded,
    PauseStarted,
    WatchRenewed,
)
from expandd.domain.job import JobState
from expandd.domain.settings import Watch
from tests.support.fakes import an_image
from tests.support.workshop import Workshop

S = JobState


async def test_a_file_that_goes_on_growing_is_not_taken(workshop: Workshop) -> None:
    workshop.start()
    path = workshop.drop("pic.png", b"image 100x")
    with path.open("ab") as writer:
        for byte in b"80 turned 1 ":
            await workshop.advance(1.5)
            writer.write(bytes([byte]))
            writer.flush()
        taken_meanwhile = workshop.recorder.of(JobMoved)
        writer.write(b"\n")
    await workshop.closed("pic.png")

    assert taken_meanwhile == []
    assert workshop.recorder.of(FileUnfinished) == []
    assert workshop.names("outbox") == ["pic.png"]


async def test_the_settle_time_counts_from_the_close_that_an_event_told_of(workshop: Workshop) -> None:
    workshop.start()
    path = workshop.drop("pic.png", b"image 100x")
    await workshop.advance(1.0)
    path.write_bytes(an_image())
    workshop.watcher.hint(path)
    await workshop.reached("pic.png", S.CLAIMED, within=workshop.hot[0].settle)

    assert workshop.images.expected


async def test_a_change_that_keeps_size_and_mtime_is_noticed_by_ctime(workshop: Workshop) -> None:
    workshop.start()
    path = workshop.drop("pic.png")
    await workshop.advance(1.5)
    before = path.stat()
    path.write_bytes(an_image(note="gip.png"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await workshop.advance(1.5)
    taken_meanwhile = workshop.recorder.of(JobMoved)
    await workshop.closed("pic.png")

    assert path.name == "pic.png"
    assert taken_meanwhile == []
    assert (workshop.hot[0].done / "pic.png").read_bytes() == an_image(note="gip.png")


@pytest.mark.parametrize("content", [b"", b"ima"])
async def test_an_unfinished_file_waits_for_its_rest(workshop: Workshop, content: bytes) -> None:
    workshop.start()
    path = workshop.drop("pic.png", content)
    await workshop.advance(300.0)
    told = workshop.recorder.of(FileUnfinished)
    path.write_bytes(an_image())
    await workshop.closed("pic.png", within=120.0)

    assert len(told) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_an_unfinished_file_is_given_up_after_the_longest_time(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("half.png", b"imag")
    await workshop.advance(workshop.hot[0].settle_max - 5.0)
    before = workshop.names("inbox")
    await workshop.closed("half.png", within=30.0)

    assert before == ["half.png"]
    assert workshop.names("error") == ["half.png", "half.png.error.json"]
    fault = workshop.recorder.latest("half.png").fault
    assert fault is not None
    assert fault.code is FaultCode.NOT_WHOLE


async def test_an_unfinished_file_holds_up_nobody(workshop: Workshop) -> None:
    workshop.start()
    for number in range(300):
        (workshop.hot[0].inbox / f"half-{number}.png").write_bytes(b"imag")
    workshop.drop("whole.png")
    await workshop.closed("whole.png", within=180.0)

    assert len(workshop.names("inbox")) == 300


async def test_file_that_is_no_image_goes_to_error_once_settled(
    workshop: Workshop,
) -> None:
    workshop.start()
    workshop.drop("letter.txt", b"Dear studio, ...")
    await workshop.closed("letter.txt", within=5.0)

    assert workshop.names("error") == ["letter.txt", "letter.txt.error.json"]
    assert workshop.api.calls == []


async def test_a_preset_that_changes_nothing_is_an_error_before_anything_is_uploaded(
    make_workshop: Callable[..., Workshop],
) -> None:
    from expandd.domain.offsets import Sides  # noqa: PLC0415 - one test needs it

    workshop = make_workshop(preset=Sides())
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert workshop.names("error") == ["pic.png", "pic.png.error.json"]
    assert workshop.api.calls == []


@pytest.mark.parametrize("name", [".hidden.png", "Thumbs.db", "pic.png.part", "~$pic.png", "pic.png.crdownload"])
async def test_names_that_are_never_picked_up_stay_and_are_told_once(workshop: Workshop, name: str) -> None:
    workshop.start()
    workshop.drop(name)
    await workshop.advance(1800.0)

    assert (workshop.hot[0].inbox / name).exists()
    assert [str(event.relative) for event in workshop.recorder.of(FileIgnored)] == [name]


async def test_a_download_is_picked_up_once_it_has_its_final_name(workshop: Workshop) -> None:
    workshop.start()
    path = workshop.drop("pic.png.part")
    await workshop.advance(60.0)
    final = path.with_name("pic.png")
    path.rename(final)
    workshop.watcher.hint(final)
    await workshop.closed("pic.png", within=60.0)

    assert workshop.names("outbox") == ["pic.png"]


async def test_links_pipes_and_sockets_are_left_alone(workshop: Workshop, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_bytes(an_image())
    inbox = workshop.hot[0].inbox
    (inbox / "link.png").symlink_to(elsewhere)
    (inbox / "dangling.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(inbox / "pipe.png")
    (inbox / "folder.png").mkdir()
    workshop.start()
    await workshop.advance(600.0)

    assert {str(event.relative) for event in workshop.recorder.of(FileIgnored)} == {
        "link.png",
        "dangling.png",
        "pipe.png",
    }
    assert elsewhere.read_bytes() == an_image()
    assert workshop.images.inspected == 0


async def test_a_hint_of_a_directory_in_a_flat_inbox_says_that_it_is_ignored(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(1.0)
    (workshop.hot[0].inbox / "folder").mkdir()
    workshop.watcher.hint(workshop.hot[0].inbox / "folder")
    told = await workshop.event(lambda event: isinstance(event, FileIgnored))

    assert isinstance(told, FileIgnored)
    assert "a directory" in told.why


async def test_a_folder_moved_in_is_scanned_although_its_files_made_no_events(
    make_workshop: Callable[..., Workshop], tmp_path: Path
) -> None:
    workshop = make_workshop(recursive=True, scan_interval=600.0)
    workshop.start()
    await workshop.advance(10.0)
    album = workshop.hot[0].inbox.with_name("album")
    album.mkdir()
    (album / "pic.png").write_bytes(an_image())
    album.rename(workshop.hot[0].inbox / "album")
    workshop.watcher.hint(workshop.hot[0].inbox / "album")
    await workshop.closed("pic.png", within=60.0)

    assert workshop.names("outbox") == ["album/pic.png"]


async def test_a_file_that_no_event_announced_is_found_by_the_scan_and_counted(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    (workshop.hot[0].inbox / "pic.png").write_bytes(an_image())
    settled = await workshop.event(lambda event: isinstance(event, FileSettled), within=120.0)

    assert isinstance(settled, FileSettled)
    assert settled.missed


async def test_what_the_first_scan_finds_is_no_miss(workshop: Workshop) -> None:
    workshop.drop("pic.png")
    workshop.start()
    settled = await workshop.event(lambda event: isinstance(event, FileSettled))

    assert isinstance(settled, FileSettled)
    assert not settled.missed


async def test_an_inbox_whose_events_stay_away_is_polled_from_the_third_miss_on(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    for number in range(3):
        (workshop.hot[0].inbox / f"pic-{number}.png").write_bytes(an_image())
        await workshop.advance(120.0)
    (workshop.hot[0].inbox / "pic-3.png").write_bytes(an_image())
    began = workshop.clock.monotonic()
    await workshop.event(lambda event: isinstance(event, FileSettled) and event.relative.name == "pic-3.png")

    assert len(workshop.recorder.of(WatchRenewed)) == 1
    assert workshop.clock.monotonic() - began < 10.0


@pytest.mark.parametrize("watch", [Watch.AUTO, Watch.EVENTS, Watch.POLL])
async def test_however_an_inbox_is_watched_a_file_is_found(
    make_workshop: Callable[..., Workshop], watch: Watch
) -> None:
    workshop = make_workshop(watch=watch)
    workshop.start()
    await workshop.advance(10.0)
    (workshop.hot[0].inbox / "pic.png").write_bytes(an_image())
    await workshop.closed("pic.png", within=180.0)

    assert bool(workshop.watcher.renewals) is (watch is not Watch.POLL)


async def test_an_inbox_that_is_made_again_is_watched_again(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    inbox = workshop.hot[0].inbox
    inbox.rename(inbox.with_name("renamed aside"))
    await workshop.event(lambda event: isinstance(event, PauseStarted), within=30.0)
    inbox.mkdir()
    (inbox / ".expandd").mkdir()
    (inbox / "pic.png").write_bytes(an_image())
    await workshop.closed("pic.png", within=120.0)

    assert workshop.watcher.renewals == 2
    assert len(workshop.recorder.of(PauseEnded)) == 1


async def test_an_inbox_swapped_between_two_checks_is_watched_again(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    inbox = workshop.hot[0].inbox
    inbox.rename(inbox.with_name("renamed aside"))
    inbox.mkdir()
    (inbox / "pic.png").write_bytes(an_image())
    await workshop.closed("pic.png", within=30.0)

    assert workshop.watcher.renewals == 2
    assert len(workshop.recorder.of(WatchRenewed)) == 1
    assert workshop.recorder.of(PauseStarted) == []


async def test_a_watch_that_is_known_to_be_dead_is_renewed(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    workshop.watcher.dead.add(workshop.hot[0].inbox)
    await workshop.event(lambda event: isinstance(event, WatchRenewed), within=30.0)

    assert workshop.watcher.renewals == 2


async def test_a_hint_of_the_inbox_itself_means_scan(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(scan_interval=3600.0)
    workshop.start()
    await workshop.advance(10.0)
    (workshop.hot[0].inbox / "pic.png").write_bytes(an_image())
    workshop.watcher.hint(workshop.hot[0].inbox)
    await workshop.closed("pic.png", within=60.0)

    assert [event.missed for event in workshop.recorder.of(FileSettled)] == [False]


async def test_a_flood_of_hints_ends_in_a_scan_and_loses_nothing(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    inbox = workshop.hot[0].inbox
    for number in range(3_000):
        workshop.watcher.hint(inbox / f"ghost-{number}.png")
    (inbox / "pic.png").write_bytes(an_image())
    await workshop.closed("pic.png", within=60.0)

    assert [event.missed for event in workshop.recorder.of(FileSettled)] == [False]


async def test_a_file_that_vanishes_while_it_settles_is_forgotten(workshop: Workshop) -> None:
    workshop.start()
    path = workshop.drop("pic.png")
    await workshop.advance(1.0)
    path.unlink()
    await workshop.advance(60.0)

    assert workshop.engine.finished
    assert workshop.recorder.of(JobMoved) == []


async def test_an_image_that_cannot_be_opened_just_now_is_looked_at_again(workshop: Workshop) -> None:
    workshop.images.busy = 3
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png", within=60.0)

    assert workshop.images.inspected == 4


async def test_a_file_that_changes_while_it_is_inspected_settles_anew(workshop: Workshop) -> None:
    def write_on(path: Path) -> None:
        workshop.images.meanwhile = None
        path.write_bytes(an_image(note="the last word"))

    workshop.images.meanwhile = write_on
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert (workshop.hot[0].done / "pic.png").read_bytes() == an_image(note="the last word")
    assert len(workshop.api.called("upload")) == 1


async def test_a_settle_time_of_zero_does_not_spin(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(settle=0.0, workers=1)
    workshop.start()
    names = [f"pic-{number:02d}.png" for number in range(40)]
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert workshop.names("outbox") == names


async def test_hundreds_of_rejected_files_all_reach_the_error_folder(workshop: Workshop) -> None:
    for number in range(120):
        (workshop.hot[0].inbox / f"note-{number:03d}.txt").write_bytes(b"no image")
    workshop.start()
    await workshop.finished()

    assert len(workshop.names("error")) == 240
    assert workshop.names("inbox") == []


async def test_an_unreadable_moment_of_a_subfolder_is_no_outage(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(recursive=True, scan_interval=10.0)
    workshop.start()
    album = workshop.hot[0].inbox / "album"
    for _ in range(5):
        workshop.drop("album/pic.png")
        await workshop.advance(1.0)
        shutil.rmtree(album)
        await workshop.advance(20.0)

    assert workshop.recorder.of(PauseStarted) == []


async def test_many_inboxes_are_looked_at_no_oftener_than_a_few(make_workshop: Callable[..., Workshop]) -> None:
    looks: dict[int, int] = {}
    for folders in (20, 50):
        workshop = make_workshop(folders=folders)
        workshop.start()
        await workshop.advance(60.0)
        before = workshop.watcher.asked
        await workshop.advance(600.0)
        looks[folders] = workshop.watcher.asked - before

    assert 0 < looks[50] <= 1.1 * looks[20]


async def test_a_subfolder_is_removed_once_all_that_was_in_it_is_over(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(recursive=True, scan_interval=10.0)
    inbox = workshop.hot[0].inbox
    workshop.start()
    workshop.drop("album/one/a.png")
    workshop.drop("album/one/b.png")
    workshop.drop("album/kept/c.png")
    workshop.drop("never/.keep", b"")
    (inbox / "album" / "one" / ".DS_Store").touch()
    (inbox / "album" / "kept" / "notes.part").touch()
    (inbox / "new").mkdir()
    await workshop.finished()

    assert workshop.names("outbox") == ["album/kept/c.png", "album/one/a.png", "album/one/b.png"]
    assert not (inbox / "album" / "one").exists()
    assert (inbox / "album" / "kept" / "notes.part").exists()
    assert (inbox / "new").is_dir(), "nobody has put anything into it yet"
    assert (inbox / "never" / ".keep").exists()

    (inbox / "album" / "kept" / "notes.part").unlink()
    workshop.drop("album/kept/d.png")
    await workshop.finished()

    assert not (inbox / "album").exists(), "it is empty as well, when the last one in it is"


async def test_a_subfolder_that_still_changes_is_not_removed(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(recursive=True, settle=20.0, scan_interval=600.0)
    album = workshop.hot[0].inbox / "album"
    workshop.start()
    workshop.drop("album/a.png")
    await workshop.closed("a.png")
    for number in range(5):
        await workshop.advance(15.0)
        (album / f"{number}.png.part").touch()
        (album / f"{number}.png.part").unlink()
        workshop.engine.inboxes[0].is_over(Path("album/a.png"))
    there = album.is_dir()
    await workshop.advance(60.0)

    assert there
    assert not album.exists()


async def test_a_link_in_the_place_of_an_emptied_subfolder_is_left_alone(
    make_workshop: Callable[..., Workshop], tmp_path: Path
) -> None:
    workshop = make_workshop(recursive=True, settle=20.0)
    album, elsewhere = workshop.hot[0].inbox / "album", tmp_path / "elsewhere"
    elsewhere.mkdir()
    workshop.start()
    workshop.drop("album/a.png")
    await workshop.closed("a.png")
    album.rename(album.with_name("aside"))
    album.symlink_to(elsewhere)
    await workshop.advance(120.0)

    assert album.is_symlink()
    assert elsewhere.is_dir()


async def test_what_ignore_names_is_left_where_it_is(make_workshop: Callable[..., Workshop]) -> None:
    rules = ignore(["*.nef", "drafts/", "!keep.nef"])
    workshop = make_workshop(recursive=True, ignore=rules)
    workshop.start()
    for name in ("a.NEF", "drafts/b.png", "keep.nef", "c.png"):
        workshop.drop(name)
    await workshop.finished()

    assert workshop.names("outbox") == ["c.png", "keep.png"]
    assert workshop.names("inbox") == ["a.NEF", "drafts/b.png"]
    whys = {str(event.relative): event.why for event in workshop.recorder.of(FileIgnored)}
    assert whys.keys() == {"a.NEF", "drafts/b.png"}
    assert "*.nef" in whys["a.NEF"]
    assert "drafts/" in whys["drafts/b.png"]


# --- in which order ---


def claimed(workshop: Workshop) -> list[str]:
    """The names of files as they were taken, one after the other."""
    return [str(event.job.relative) for event in workshop.recorder.of(JobMoved) if event.job.state is S.CLAIMED]


async def test_files_there_before_the_start_come_by_age_then_by_name(workshop: Workshop) -> None:
    ages = {"new.png": 900, "b.png": 500, "a.png": 500, "old.png": 100}
    for name, age in ages.items():
        os.utime(workshop.drop(name), (age, age))
    workshop.start()
    await workshop.closed(*ages)

    assert claimed(workshop) == ["old.png", "a.png", "b.png", "new.png"]


async def test_files_that_come_while_it_runs_come_as_they_came_whatever_their_age(workshop: Workshop) -> None:
    workshop.start()
    await workshop.advance(10.0)
    names = [f"{number}.png" for number in (3, 1, 4, 0, 2)]
    for age, name in enumerate(names):
        os.utime(workshop.drop(name), (900 - age, 900 - age))
    await workshop.closed(*names)

    assert claimed(workshop) == names


async def test_a_file_waits_only_for_the_short_inspection_of_an_older_one(workshop: Workshop) -> None:
    workshop.images.short["old.png"] = asyncio.Event()
    workshop.images.slow["old.png"] = asyncio.Event()
    os.utime(workshop.drop("old.png"), (100, 100))
    workshop.drop("new.png")
    workshop.start()
    await workshop.advance(10.0)
    before = claimed(workshop)
    workshop.images.short["old.png"].set()
    await workshop.closed("new.png")
    workshop.images.slow["old.png"].set()
    await workshop.closed("old.png")

    assert before == []
    assert claimed(workshop) == ["new.png", "old.png"]
