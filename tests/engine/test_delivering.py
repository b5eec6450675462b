from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expandd.domain.errors import Later, LinkDead
from expandd.domain.job import JobState
from expandd.domain.settings import Originals
from tests.support.fake_api import Fate, Refuse
from tests.support.fakes import an_image
from tests.support.workshop import A_WHILE, Workshop

S = JobState


async def test_a_full_outbox_waits_and_nothing_is_paid_again(make_workshop: Callable[..., Workshop]) -> None:
    workshop = make_workshop(folders=2)
    workshop.start()
    workshop.drop("pic.png", folder=0)
    await workshop.reached("pic.png", S.RENDERED)
    outbox = workshop.hot[0].outbox
    outbox.rmdir()
    workshop.drop("other.png", folder=1)
    await workshop.closed("other.png")
    await workshop.advance(3 * A_WHILE)
    waiting = workshop.recorder.states_of("pic.png")[-1]
    kept = len(list(workshop.spool.path("x").parent.iterdir()))
    outbox.mkdir()
    await workshop.closed("pic.png")

    assert waiting is S.DOWNLOADED
    assert kept == 1
    assert workshop.names("outbox", 0) == ["pic.png"]
    assert len(workshop.api.paid_for("pic.png")) == 1
    assert len(workshop.api.called("download")) == 2


async def test_a_done_folder_that_is_away_waits_with_the_result_delivered(workshop: Workshop) -> None:
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.RENDERED)
    workshop.hot[0].done.rmdir()
    await workshop.advance(600.0)
    delivered, deleted = workshop.names("outbox"), list(workshop.api.deleted)
    workshop.hot[0].done.mkdir()
    await workshop.closed("pic.png")

    assert delivered == ["pic.png"]
    assert deleted == []
    assert workshop.names("done") == ["pic.png"]


async def test_a_subfolder_is_mirrored_also_where_a_file_without_an_ending_has_its_name(
    make_workshop: Callable[..., Workshop],
) -> None:
    workshop = make_workshop(recursive=True)
    workshop.start()
    workshop.drop("album")
    await workshop.closed("album")
    (workshop.hot[0].outbox / "photos").write_bytes(b"somebody's")
    workshop.drop("album/one.png")
    workshop.drop("photos/two.png")
    await workshop.closed("one.png", "two.png", within=120.0)

    assert workshop.names("outbox") == ["album.png", "album/one.png", "photos", "photos-2/two.png"]
    assert workshop.names("done") == ["album", "album-2/one.png", "photos/two.png"]


async def test_a_name_taken_by_somebody_at_the_last_moment_is_left_alone(workshop: Workshop) -> None:
    class Racing:
        """The real folders; somebody puts a file under the chosen name just before the result gets there."""

        def __init__(self) -> None:
            self.raced = False

        async def publish(self, downloaded: Path, target: Path, sha256: str) -> bool:
            if not self.raced:
                self.raced = True
                target.write_text("somebody's")
            return await real.publish(downloaded, target, sha256)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    real = workshop.folders
    workshop.folders = Racing()  # type: ignore[assignment] # the rest is the real one's
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert (workshop.hot[0].outbox / "pic.png").read_text() == "somebody's"
    assert workshop.names("outbox") == ["pic-2.png", "pic.png"]


async def test_a_torn_download_is_repeated_and_never_delivered(workshop: Workshop) -> None:
    workshop.api.results["pic.png"].append(b"pict")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("download")) == 2
    assert len(workshop.api.paid) == 1
    assert (workshop.hot[0].outbox / "pic.png").read_bytes() == an_image(140, 100, note="made of 'pic.png'")


async def test_a_page_instead_of_an_image_is_never_delivered(workshop: Workshop) -> None:
    workshop.api.results["pic.png"].extend([b"<html>sorry</html>"] * 6)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.paid) == 1
    assert (workshop.hot[0].outbox / "pic.png").read_bytes() == an_image(140, 100, note="made of 'pic.png'")


async def test_a_dead_link_is_replaced_by_the_one_that_history_names(workshop: Workshop) -> None:
    workshop.api.script("download", Refuse(LinkDead("404")), Refuse(LinkDead("404")))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert len(workshop.api.called("history")) >= 1
    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_a_link_host_that_is_away_for_an_hour_costs_nothing(workshop: Workshop) -> None:
    workshop.api.away["download"] = Later("the link host does not answer")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(3600.0)
    del workshop.api.away["download"]
    await workshop.closed("pic.png")

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]


async def test_a_notification_that_cannot_be_deleted_is_left_to_expire(workshop: Workshop) -> None:
    workshop.api.away["delete"] = Later("not now")
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")

    assert 5 <= len(workshop.api.called("delete")) <= 12
    assert workshop.names("done") == ["pic.png"]


async def test_a_result_of_another_size_than_asked_for_is_delivered_and_marked(workshop: Workshop) -> None:
    workshop.api.results["pic.png"].append(an_image(139, 100))
    workshop.start()
    workshop.drop("pic.png")
    await workshop.closed("pic.png")
    result = workshop.recorder.latest("pic.png").result

    assert result is not None
    assert result.differs
    assert workshop.names("outbox") == ["pic.png"]


async def test_an_error_folder_that_is_away_keeps_the_file_in_work(workshop: Workshop) -> None:
    workshop.api.fate = Fate(error="no luck")
    workshop.hot[0].error.rmdir()
    workshop.start()
    workshop.drop("pic.png")
    await workshop.advance(600.0)
    kept = workshop.in_work()
    workshop.hot[0].error.mkdir()
    await workshop.closed("pic.png")

    assert kept == ["pic.png"]
    assert workshop.names("error") == ["pic.png", "pic.png.error.json"]


@pytest.mark.parametrize("originals", list(Originals))
async def test_job_waits_while_its_inbox_is_unmounted_after_delivery(
    make_workshop: Callable[..., Workshop], originals: Originals
) -> None:
    workshop = make_workshop(originals=originals)
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    away = workshop.hot[0].inbox.with_name("unmounted")
    workshop.hot[0].inbox.rename(away)
    await workshop.advance(600.0)
    waiting = workshop.recorder.states_of("pic.png")[-1]
    away.rename(workshop.hot[0].inbox)
    await workshop.closed("pic.png")

    assert waiting is S.DELIVERED
    assert workshop.names("done") == (["pic.png"] if originals is Originals.MOVE else [])
    assert workshop.in_work() == []
    assert len(workshop.api.paid) == 1


@pytest.mark.parametrize("harm", ["damaged", "gone"])
async def test_damaged_bytes_in_the_spool_are_fetched_again_and_never_delivered(workshop: Workshop, harm: str) -> None:
    outbox = workshop.hot[0].outbox
    workshop.start()
    workshop.drop("pic.png")
    await workshop.reached("pic.png", S.ACCEPTED)
    outbox.rename(outbox.with_name("away"))
    await workshop.reached("pic.png", S.DOWNLOADED)
    downloaded = workshop.spool.path(workshop.recorder.latest("pic.png").id)
    if harm == "gone":
        downloaded.unlink()
    else:
        downloaded.write_bytes(b"worn out")
    outbox.with_name("away").rename(outbox)
    await workshop.closed("pic.png")

    assert len(workshop.api.paid) == 1
    assert workshop.names("outbox") == ["pic.png"]
    assert b"worn out" not in (outbox / "pic.png").read_bytes()


async def test_names_that_only_look_the_same_are_two_files_and_so_are_their_results(workshop: Workshop) -> None:
    """Composed and decomposed letters (a Mac sends the latter), and names that differ in case alone."""
    names = ["caf\u00e9.png", "cafe\u0301.png", "PIC.png", "pic.png"]
    workshop.start()
    for name in names:
        workshop.drop(name)
    await workshop.closed(*names)

    assert workshop.names("outbox") == sorted(names)
    assert workshop.names("done") == sorted(names)
    assert len(workshop.api.paid) == 4
