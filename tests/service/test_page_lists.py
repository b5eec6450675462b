"""Proves what the page lists and hands out: files in full size, all results and errors, the ledger."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from unicodedata import normalize

from expandd.adapters.store.sql.queries import LedgerLine
from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat
from expandd.domain.job import Job, JobState
from expandd.domain.settings import ImagePrice
from expandd.service.page.images import MOST
from expandd.service.page.job_view import ERRORS, LISTED, RESULTS, Asked
from expandd.service.page.reader import DatabaseRecords
from expandd.service.reports.overview import Money
from expandd.service.reports.snapshot import LoopFailing
from tests.support.configurations import loaded
from tests.support.jobs import a_job_in, a_result
from tests.support.shown import LOOPBACK, FakeRecords, a_folder, done_job, failed_job, shown


def as_delivered(base: Path, job_id: str = "job-1", name: str = "image.png") -> Job:
    """A job that knows the bytes that lie on the disk."""
    job = done_job(base, job_id, name)
    assert job.target is not None
    assert job.archived_to is not None
    result, original = job.target.read_bytes(), job.archived_to.read_bytes()
    source = replace(
        job.source,
        sha256=hashlib.sha256(original).hexdigest(),
        identity=replace(job.source.identity, size=len(original)),
    )
    return job.with_(source=source, result=a_result(sha256=hashlib.sha256(result).hexdigest(), bytes=len(result)))


# --- files in full size ---


async def test_a_result_and_its_original_are_handed_out_whole_and_by_types_of_our_own(tmp_path: Path) -> None:
    job = as_delivered(tmp_path, name="<b>ü.png")
    assert job.target is not None
    assert job.archived_to is not None
    assert job.result is not None
    tiff = job.with_(id="job-2", result=replace(job.result, format=ImageFormat.TIFF))
    records = FakeRecords()
    records.know(job, tiff)
    async with shown(records=records) as page:
        many = await asyncio.gather(*(page.http.get("/jobs/job-1/result") for _ in range(MOST + 4)))
        shown_one = await page.http.get("/jobs/job-1/result")
        saved = await page.http.get("/jobs/job-1/source?download")
        not_shown = await page.http.get("/jobs/job-2/result")
        head = await page.http.head("/jobs/job-1/result")

    assert {answer.content for answer in (*many, shown_one)} == {job.target.read_bytes()}
    assert saved.content == job.archived_to.read_bytes()
    assert shown_one.headers["content-type"] == "image/png"
    assert shown_one.headers["x-content-type-options"] == "nosniff"
    assert shown_one.headers["content-disposition"] == "inline; filename*=UTF-8''%3Cb%3E%C3%BC.png"
    assert saved.headers["content-disposition"].startswith("attachment; ")
    assert not_shown.headers["content-disposition"].startswith("attachment; ")
    assert not_shown.headers["content-type"] == "image/tiff"
    assert (head.status_code, head.content) == (200, b"")


async def test_what_lies_in_the_place_of_a_jobs_file_is_not_handed_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"PIKTID_PASSWORD=hunter2")
    linked, hard, other, gone = (as_delivered(tmp_path / name, f"job-{name}") for name in "abcd")
    for job in (linked, hard, other, gone):
        assert job.target is not None
        job.target.unlink()
    assert linked.target is not None
    assert hard.target is not None
    assert other.target is not None
    linked.target.symlink_to(secret)
    os.link(secret, hard.target)
    other.target.write_bytes(b"<script>" + b" " * 50)
    # As long as the result was, and still none of ours.
    assert other.result is not None
    as_long = other.with_(id="job-e", result=replace(other.result, bytes=58))
    strange = ("/jobs/job-9/result", "/jobs/job-a/target", "/jobs/..%2f..%2fetc%2fpasswd/result", "/jobs/job-a/result/")
    records = FakeRecords()
    records.know(linked, hard, other, gone, as_long, failed_job("job-f"))
    async with shown(records=records) as page:
        answers = [await page.http.get(f"/jobs/job-{name}/result") for name in "abcdef"]
        answers += [await page.http.get(path) for path in strange]
        alive = await page.http.get("/jobs/job-a/source")

    assert {answer.status_code for answer in answers} == {404}
    assert not [answer for answer in answers if b"hunter2" in answer.content or b"<script>" in answer.content]
    assert alive.status_code == 200


# --- lists ---


async def test_all_that_is_over_is_listed_page_by_page_and_found_by_a_part_of_its_name(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    settings.state_dir.mkdir()
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    names = [f"pic {number:02}.png" for number in range(LISTED + 2)] + [normalize("NFD", "Börse.png"), "100%_.png"]
    for number, name in enumerate(names):
        done = a_job_in(JobState.DONE, f"job-{number:02}", at=1e9 + number, relative=Path("sub", name))
        await store.add(done.with_(closed=True, target=Path("/out", name)))
    await store.add(a_job_in(JobState.DONE, "skipped", closed=True, target=None, relative=Path("pic 99.png")))
    await store.add(failed_job("bad", relative=Path("pic 98.png")))
    store.close()
    records = DatabaseRecords(lambda: settings)

    async def found(kind: str, **query: str) -> list[str]:
        return [job.id for job in (await records.over(Asked.of(kind, query))).jobs]

    first, second = [await records.over(Asked.of(RESULTS, {"page": page})) for page in ("1", "2")]
    assert [job.id for job in (*first.jobs, *second.jobs)] == [f"job-{n:02}" for n in reversed(range(LISTED + 4))]
    assert (first.more, second.more) == (True, False)
    assert await found(RESULTS, name="BÖRSE") == [f"job-{LISTED + 2}"]
    assert await found(RESULTS, name="%_") == [f"job-{LISTED + 3}"]
    assert await found(RESULTS, name="pic 0", page="-1") == [f"job-{n:02}" for n in reversed(range(10))]
    assert await found(ERRORS, name="pic") == ["bad"]
    records.close()


async def test_the_lists_show_names_as_text_and_lead_on(tmp_path: Path) -> None:
    records = FakeRecords()
    seen = failed_job("job-3", relative=Path("seen.png"), dismissed=True, archived_to=tmp_path / "seen.png")
    records.know(
        done_job(tmp_path, name="<i>.png"), failed_job(relative=Path("<b>.png"), archived_to=tmp_path / "b"), seen
    )
    async with shown(records=records) as page:
        results = (await page.http.get("/results", params={"name": "<u>", "page": "2"})).text
        errors = (await page.http.get("/errors")).text
        pressed = await page.press("retry", job="job-2", back="errors")
        elsewhere = await page.press("retry", job="job-2", back="//evil.example", at="evil")

    assert "&lt;i&gt;.png" in results
    assert not [tag for tag in ("<i>", "<b>", "<u>") if tag in results + errors]
    assert 'href="/results?name=%3Cu%3E" rel="prev"' in results
    assert errors.count(">Dismiss<") == 1
    assert "Dismissed." in errors
    assert pressed.headers["location"] == "/errors?said=retry"
    assert elsewhere.headers["location"] == "/?said=retry"


async def test_the_ledger_is_told_by_month_and_can_be_taken_along() -> None:
    line = {"inbox": Path("/srv/hot/inbox"), "paid": 1200, "delivered": 4, "failed": 3, "unknown": 0, "saved": 2}
    days = ("2001-08-30", "2001-08-31", "2001-09-01")
    records = FakeRecords(lines=tuple(LedgerLine(day=day, **line) for day in days))  # type: ignore[arg-type]  # as above
    price = replace(records.now.money, cost=ImagePrice(Decimal("0.2"), "EUR"))
    records.now = replace(records.now, folders=(a_folder(Path("/srv/hot/inbox"), label="print"),), money=price)
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text
        taken = await page.http.get("/ledger.csv")
    rows = [row.split("</td>")[0] for row in text.partition('id="months"')[2].partition("</details>")[0].split("<tr>")]

    assert "Aug 2001" in rows[-1]
    assert rows[-1].endswith("2\u202f400")
    # What this month has come to the overview knows better than a ledger that is read now and then.
    assert rows[2].endswith("40")
    assert taken.headers["content-type"] == "text/csv; charset=utf-8"
    assert taken.headers["content-disposition"].startswith("attachment")
    assert taken.text.splitlines()[1] == "2001-08,print,2400,8,6,0,4,480.0,EUR"
    assert "480.0 EUR" in text


# --- words ---


async def test_label_and_title_replace_paths_and_program_name() -> None:
    inbox = Path("/srv/print/in")
    folder = a_folder(inbox, label=r"\\nas\print", directories=(inbox, Path("/srv/print/out")))
    told = Fault(FaultCode.UNREADABLE, "/srv/print/in/a.png cannot be read.", "Look at /srv/print/out.")
    records = FakeRecords()
    records.know(failed_job(fault=told, folder=replace(failed_job().folder, inbox=inbox)))
    records.now = replace(records.now, folders=(folder,))
    async with shown(records=records, page=replace(LOOPBACK, title="Studio · Nord <i>")) as page:
        text = (await page.http.get("/")).text

    assert "/srv/print" not in text
    assert r"\\nas\print\in/a.png cannot be read." in text
    assert r"Look at \\nas\print\out." in text
    assert "<title>Ready · Studio · Nord &lt;i&gt;</title>" in text


async def test_what_is_wrong_with_the_daemon_itself_is_told_and_no_secret_with_it() -> None:
    records = FakeRecords()
    loop = LoopFailing("poller", 5.0, "token=abcdefgh12345 was refused")
    records.now = replace(records.now, failing=(loop,), told_at=records.now.at - 90, lost_log_lines=2)
    async with shown(records=records) as page:
        halts = (await page.http.get("/")).text.partition('id="halts"')[2].partition("</section>")[0]

    assert "Something in expandd itself fails: poller" in halts
    assert "expandd gives no sign of life" in halts
    assert "2 lines were lost" in halts
    assert "abcdefgh12345" not in halts


async def test_long_list_of_errors_says_how_many_are_listed() -> None:
    money = Money(paid_today=3, paid_this_month=40, day_left=None, month_left=0, credits=None, credits_at=None)
    records = FakeRecords()
    records.know(*(failed_job(f"job-{number}") for number in range(20)))
    records.now = replace(
        records.now, money=money, folders=(a_folder(Path("/srv/hot/inbox"), in_error=44, dismissed=3),)
    )
    async with shown(records=records) as page:
        text = (await page.http.get("/")).text
        await page.press("retry", folder="all")
        await page.press("dismiss", job="job-7")

    assert "20 of 41 errors are listed here" in text
    assert "no limit" not in text
    assert text.count("0 left") == 2
    assert [(order.verb.value, order.job_id) for order in records.commands] == [("retry", ""), ("dismiss", "job-7")]
