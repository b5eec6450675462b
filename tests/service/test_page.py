"""Proves what the page shows and takes commands for, over real HTTP."""

from __future__ import annotations

import asyncio
import io
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.commands import Verb
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.events import JobMoved
from expandd.domain.image import Size
from expandd.domain.job import JobState, StateChange
from expandd.domain.offsets import Offsets
from expandd.domain.pauses import PauseReason
from expandd.service.observability.logs import set_up
from expandd.service.page.drawings import canvas, days_plot, hours_plot, round_up
from expandd.service.page.images import Gone, Kind, Prefetch, Thumbnails
from expandd.service.page.reader import DatabaseRecords
from expandd.service.page.site import MOST, Live, event
from expandd.service.page.text import added, clock, lasting
from expandd.service.page.view import folder_key
from expandd.service.reports.overview import Pause, short_name
from tests.support.configurations import loaded
from tests.support.images import png_claiming
from tests.support.jobs import EXPECTED, a_camera_job, a_job_in
from tests.support.manual_clock import START
from tests.support.shown import FakeRecords, a_folder, done_job, failed_job, shown

INBOX = Path("/srv/hot/inbox")
EVIL = "<img src=x onerror=alert(1)>.png"


def pause(reason: PauseReason, inbox: Path | None = INBOX) -> Pause:
    return Pause(inbox=inbox, reason=reason, why="somebody has paused it", since=START, remedy="By itself.")


# --- what it shows ---


async def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    records = FakeRecords()
    evil = Fault(FaultCode.UNREADABLE, '"><script>alert(2)</script>', "<b>bold</b>")
    records.know(
        done_job(tmp_path, "job-1", EVIL.replace("/", "")),
        failed_job("job-2", relative=Path(EVIL), fault=evil),
        a_job_in(JobState.CLAIMED, "job-3", relative=Path(EVIL), note=EVIL),
        a_job_in(JobState.UNKNOWN, "job-4", relative=Path("new\nline\x1b[31m\udcff.png"), held=True),
    )
    folder = a_folder(Path("/srv/<script>alert(3)</script>/inbox"), preset_name="'\"<i>")
    records.now = replace(records.now, folders=(folder,))
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text

    assert "<img src=x" not in text
    assert "alert(2)</script>" not in text
    assert "<script>alert(3)" not in text
    assert "<b>bold" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in text
    assert "new\\nline\\x1b[31m\\xff.png" in text
    # Nothing inline: what the headers forbid is not there either.
    assert not re.search(r"<script(?! src=)|<style| style=| on\w+=\"", text)


async def test_no_link_of_a_result_and_no_path_outside_the_hot_folder_leaves_the_house(tmp_path: Path) -> None:
    records = FakeRecords()
    job = done_job(tmp_path)
    told = Fault(FaultCode.FAILED_AT_API, "See https://links.example/secret?sig=1.", "token=abcdefgh12345")
    note = "GET https://links.example/secret?sig=1 did not answer"
    records.know(job, failed_job("job-2", fault=told), a_job_in(JobState.RENDERED, "job-3", note=note))
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text

    assert job.link
    assert job.link not in text
    assert "sig=1" not in text
    assert "abcdefgh12345" not in text
    assert str(tmp_path) not in text


async def test_images_are_small_and_are_asked_for_by_job_and_kind_alone(tmp_path: Path) -> None:
    records = FakeRecords()
    records.know(done_job(tmp_path))
    async with shown(records=records) as page:
        answers = [await page.http.get(f"/jobs/job-1/{kind}.webp") for kind in ("source", "result")]
        strange = [
            await page.http.get(path)
            for path in (
                "/jobs/job-9/source.webp",
                "/jobs/job-1/../../etc/passwd",
                "/jobs/..%2f..%2fetc%2fpasswd/source.webp",
                "/jobs/job-1/target.webp",
                "/jobs/job-1/source.png",
                "/static/../view.py",
                "/static/..%2fview.py",
                "/static/%2fetc%2fpasswd",
                "//etc/passwd",
            )
        ]

    sizes = []
    for number, answer in enumerate(answers):
        (tmp_path / f"{number}.webp").write_bytes(answer.content)
        with Image.open(tmp_path / f"{number}.webp") as image:
            sizes.append((image.format, image.size))
    assert answers[0].headers["content-type"] == "image/webp"
    assert sizes == [("WEBP", (100, 80)), ("WEBP", (EXPECTED.width, EXPECTED.height))]
    assert {answer.status_code for answer in strange} == {404}


async def test_missing_or_hostile_image_is_a_sentence_on_the_page(tmp_path: Path) -> None:
    gone, linked, bomb, other = (done_job(tmp_path / name, f"job-{name}") for name in "abcd")
    for job in (gone, linked, bomb, other):
        assert job.target is not None
    assert gone.target is not None
    assert linked.target is not None
    assert bomb.target is not None
    assert other.target is not None
    gone.target.unlink()
    linked.target.unlink()
    linked.target.symlink_to("/etc/hostname")
    bomb.target.write_bytes(png_claiming(60000, 60000))
    other.target.write_bytes((tmp_path / "a" / "done" / "image.png").read_bytes())
    records = FakeRecords()
    records.know(gone, linked, bomb, other)
    async with shown(records=records) as page:
        answers = [await page.http.get(f"/jobs/{job.id}/result.webp") for job in (gone, linked, bomb, other)]
        alive = await page.http.get("/")

    assert alive.status_code == 200
    for answer in answers:
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert "no longer" in answer.text


async def test_an_image_once_shown_stays_when_its_file_is_taken_away(tmp_path: Path) -> None:
    records = FakeRecords()
    job = done_job(tmp_path)
    records.know(job)
    async with shown(records=records) as page:
        first = await page.http.get("/jobs/job-1/result.webp")
        assert job.target is not None
        job.target.unlink()
        again = await page.http.get("/jobs/job-1/result.webp")

    assert first.content == again.content


async def test_a_result_that_is_taken_away_at_once_was_made_small_before(tmp_path: Path) -> None:
    job = done_job(tmp_path)
    assert job.target is not None
    assert job.archived_to is not None
    records, prefetch = FakeRecords(), Prefetch()
    records.know(job)
    async with PillowImages(processes=1) as images:
        thumbnails = Thumbnails(images)
        for state in (JobState.ACCEPTED, JobState.DELIVERED):
            prefetch(JobMoved(job.with_(state=state), None))
        await prefetch.make(thumbnails)
        job.target.unlink()
        job.archived_to.unlink()

        assert await thumbnails.thumbnail(job, Kind.SOURCE)
        assert await thumbnails.thumbnail(job, Kind.RESULT)


async def test_the_newest_images_are_kept_within_their_bytes(tmp_path: Path) -> None:
    jobs = [done_job(tmp_path / str(number), f"job-{number}") for number in range(3)]
    async with PillowImages(processes=1) as images:
        size = len(await Thumbnails(images).thumbnail(jobs[0], Kind.RESULT))
        thumbnails = Thumbnails(images, most_bytes=2 * size)
        for job in jobs:
            await thumbnails.thumbnail(job, Kind.RESULT)
        for job in jobs:
            assert job.target is not None
            job.target.unlink()

        assert len(thumbnails) == 2
        assert await thumbnails.thumbnail(jobs[2], Kind.RESULT)
        with pytest.raises(Gone, match="no longer there"):
            await thumbnails.thumbnail(jobs[0], Kind.RESULT)


async def test_images_have_words_that_say_their_sizes(tmp_path: Path) -> None:
    records = FakeRecords()
    records.know(done_job(tmp_path))
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text

    assert 'aria-label="Original of image.png, 100×80 px, on the canvas of its result"' in text
    assert 'aria-label="Result image.png, 140×100 px, adds 10 px above and below, 20 px left and right"' in text


async def test_a_copy_that_the_api_saw_is_told_and_whether_the_originals_pixels_are_back(tmp_path: Path) -> None:
    records, targets = FakeRecords(), {"target": tmp_path / "a.jpg", "archived_to": tmp_path / "b.jpg"}
    failed = a_camera_job("job-2", finished=None, finish_failed="token=abcdefgh12345 <b>", **targets)
    records.know(a_camera_job("job-1", **targets), failed)
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text

    assert "6000×4000 → 6040×4020 px" in text
    assert text.count("The API saw 4096×2731 px; the original&#39;s own pixels are put back") == 1
    assert text.count("The API saw 4096×2731 px<") == 1
    assert "6000×4000 → 4124×2745 px" in text
    assert "it could not be finished" in text
    assert "abcdefgh12345" not in text
    assert "<b>" not in text


async def test_metrics_are_there_only_when_there_are_some() -> None:
    async with shown() as page:
        assert (await page.http.get("/metrics")).status_code == 404
    async with shown(metrics=lambda: (b"expandd_up 1\n", "text/plain; version=0.0.4")) as page:
        answer = await page.http.get("/metrics")

    assert answer.text == "expandd_up 1\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


# --- what it takes commands for ---


async def test_a_command_about_a_job_is_left_for_the_daemon() -> None:
    verbs = (Verb.RETRY, Verb.CANCEL, Verb.PAID, Verb.NOT_PAID)
    records = FakeRecords()
    records.know(failed_job("job-2"))
    async with shown(records=records) as page:
        answers = [await page.press(verb.value, job="job-2") for verb in verbs]
        again = await page.http.get(answers[0].headers["location"])

    assert [(command.verb, command.job_id, command.inbox) for command in records.commands] == [
        (v, "job-2", None) for v in verbs
    ]
    assert re.search(r'role="status" class="said">It is tried again', again.text)


async def test_a_command_about_a_folder_names_it_by_its_key_and_all_by_all() -> None:
    verbs = (Verb.PAUSE, Verb.RESUME, Verb.RELEASE)
    async with shown() as page:
        for verb in verbs:
            await page.press(verb.value, folder=folder_key(INBOX))
            words = await page.press(verb.value, {"Accept": "text/plain"}, folder="all")
            assert words.status_code == 200
            assert words.text.strip().endswith(".")

        ordered = [(command.verb, command.inbox) for command in page.records.commands]
        assert ordered == [(verb, inbox) for verb in verbs for inbox in (INBOX, None)]


async def test_what_the_page_does_not_offer_cannot_be_ordered() -> None:
    forms = (
        {"verb": "redo", "job": "job-2"},
        {"verb": "retry", "job": "job-9"},
        {"verb": "cancel", "folder": "all"},
        {"verb": "pause", "job": "job-2"},
        {"verb": "pause", "folder": "/srv/hot/inbox"},
        {"verb": "pause"},
        {"verb": "rm -rf", "folder": "all"},
    )
    records = FakeRecords()
    records.know(failed_job("job-2"))
    async with shown(records=records) as page:
        codes = [(await page.press(form.pop("verb"), None, **form)).status_code for form in forms]

        assert codes == [409, 404, 409, 409, 409, 409, 400]
        assert page.records.commands == []


async def test_what_a_person_must_lift_has_its_button_and_what_lifts_itself_has_none() -> None:
    records = FakeRecords()
    reasons = (PauseReason.PAUSED, PauseReason.BURST, PauseReason.API_UNREACHABLE)
    records.now = replace(records.now, pauses=tuple(pause(reason) for reason in reasons))
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text
    pauses = text.partition('id="halts"')[2].partition("</section>")[0]

    assert re.findall(r'name="verb" value="([^"]+)"', pauses) == ["resume", "release"]
    assert pauses.count("hot waits") == 3


@pytest.mark.parametrize(
    ("folders", "in_progress", "headline"),
    [((), 0, "All done"), ((INBOX,), 0, "hot waits: the folder is away"), ((INBOX,), 2, "Expanding 2 images")],
)
async def test_all_is_not_done_while_a_folder_is_away(
    tmp_path: Path, folders: tuple[Path, ...], in_progress: int, headline: str
) -> None:
    records = FakeRecords()
    records.know(done_job(tmp_path))
    there = (a_folder(INBOX, in_progress=in_progress), a_folder(Path("/srv/print/in")))
    away = tuple(pause(PauseReason.INBOX_UNAVAILABLE, folder) for folder in folders)
    records.now = replace(records.now, folders=there, pauses=away)
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text
    row = text.partition('id="folders"')[2].partition("</tr>")[2].partition("</tr>")[0]

    assert f"<title>{headline} · expandd</title>" in text
    assert ("Somebody has paused it." in row) == bool(folders)


# --- what is sent live ---


async def test_what_changes_is_sent_and_only_that() -> None:
    async with shown() as page, page.http.stream("GET", "/live") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        async with asyncio.timeout(20):
            first = await _parts(lines, until="plots")
            page.records.know(failed_job("job-2", relative=Path("bad.png")))
            second = await _parts(lines, until="failed")

    assert {"head", "halts", "results", "folders"} <= first.keys()
    assert set(second) - {"beat"} == {"failed"}
    assert re.fullmatch(r"\d\d:\d\d\n", first["beat"] if "beat" in first else second["beat"])
    assert "bad.png" in second["failed"]


async def test_there_is_no_sign_of_life_while_nobody_can_tell_how_it_goes() -> None:
    async def draw() -> dict[str, str]:
        return {}

    live = Live(draw, set_up(io.StringIO(), pretty=False))
    looking = live.listen()
    sent = [await anext(looking), await anext(looking)]
    await looking.aclose()

    assert sent[1].startswith(b": ")


async def _parts(lines: object, until: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    name = ""
    async for line in lines:  # type: ignore[attr-defined]  # httpx types no stream of lines
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
            parts[name] = ""
        elif line.startswith("data: "):
            parts[name] += line.removeprefix("data: ") + "\n"
        elif not line and name == until:
            break
    return parts


async def test_only_so_many_may_look_at_once_and_a_place_is_free_again() -> None:
    async with shown() as page:
        sockets = [await _look(page.url) for _ in range(MOST)]
        full = await page.http.get("/live")
        for _, writer in sockets:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(20):
            while True:
                async with page.http.stream("GET", "/live") as stream:
                    if stream.status_code == 200:
                        break

    assert full.status_code == 503


async def _look(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    await reader.readuntil(b"retry:")
    return reader, writer


def test_an_event_keeps_its_lines_apart() -> None:
    assert (
        event("head", "<p>\nevent: evil\n\n</p>")
        == b"event: head\ndata: <p>\ndata: event: evil\ndata: \ndata: </p>\n\n"
    )


# --- words and drawings ---


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        (Offsets(top=36, bottom=36, left=36, right=36), "adds 36 px all around"),
        (Offsets(top=7, bottom=8), "adds 7 px above, 8 px below"),
        (Offsets(left=5, right=5, top=-3), "adds 5 px left and right; cuts 3 px above"),
    ],
)
def test_what_was_added_is_said_shortly(offsets: Offsets, words: str) -> None:
    assert added(offsets) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (59, "59 s"),
        (90, "2 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (90000, "1 d 1 h"),
        (9e6, "104 d"),
    ],
)
def test_durations_are_said_in_their_largest_units(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


def test_another_day_is_said_with_its_date() -> None:
    assert re.fullmatch(r"\d\d:\d\d", clock(START, START))
    assert re.fullmatch(r"\d{1,2} \w+ \d\d:\d\d", clock(START - 3 * 86400, START))


@pytest.mark.parametrize(
    ("inbox", "name"), [("/srv/stories/inbox", "stories"), ("/srv/print/in", "print"), ("/srv/drop-here", "drop-here")]
)
def test_a_folder_is_called_what_people_call_it(inbox: str, name: str) -> None:
    assert short_name(Path(inbox)) == name


def test_the_source_lies_on_its_canvas_where_it_lies_in_the_result() -> None:
    grown = canvas(Size(100, 80), Offsets(left=100))
    cut = canvas(Size(100, 100), Offsets(left=-50, right=50))

    assert (grown.width, grown.height, grown.shape) == (1000, 400, "wide")
    assert (grown.source.x, grown.source.width, grown.kept) == (500, 500, grown.source)
    assert (cut.source.x, cut.source.width, cut.kept.x, cut.kept.width) == (-500, 1000, 0, 500)


async def test_the_past_is_read_from_the_store_and_plotted_by_hour_and_day(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    settings.state_dir.mkdir()
    store, now = SqliteJobStore(settings.state_dir / "journal.sqlite"), time.time()
    for number, (state, at) in enumerate(((JobState.DONE, now), (JobState.DONE, now - 7200), (JobState.FAILED, now))):
        await store.add(
            a_job_in(state, f"job-{number}", at=at - 10, closed=True, state_changes=(StateChange(state, at),))
        )
    await store.add(
        a_job_in(JobState.DONE, "old", closed=True, state_changes=(StateChange(JobState.DONE, now - 40 * 86400),))
    )
    store.close()
    records = DatabaseRecords(lambda: settings)
    past, known = await records.past(), await records.job("job-1")
    records.close()
    by_hour = hours_plot(past.hours, now)
    by_day = days_plot(past.ledger, now, paid_today=7, budget=10)

    assert known is not None
    assert await DatabaseRecords(lambda: settings).job("job-9") is None
    assert (by_hour.total, by_hour.failed, len(by_hour.bars)) == (2, 1, 24)
    assert (by_hour.bars[-1].count, by_hour.bars[-1].failed, by_hour.bars[-3].count) == (1, 1, 1)
    assert (by_day.bars[-1].count, by_day.top, by_day.limit, len(by_day.bars)) == (7, 10, 0.0, 30)


@pytest.mark.parametrize(("count", "top"), [(1, 1), (3, 5), (7, 10), (11, 20), (99, 100), (101, 200)])
def test_a_scale_ends_at_a_round_number(count: int, top: int) -> None:
    assert round_up(count) == top
