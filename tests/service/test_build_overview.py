"""What is told of how it goes, from a real job database and real folders."""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from expandd.adapters.clock import SystemClock
from expandd.adapters.files.scan import MOST_AGES, FolderCounter, counted
from expandd.adapters.locks import locked, this_process
from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.commands import Hold, HoldKind, Verb
from expandd.domain.events import JobMoved
from expandd.domain.job import FolderSnapshot, Job, JobState, StateChange
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import NO_LIMIT, ClusterSettings, Settings
from expandd.service.reports.ledger import Price
from expandd.service.reports.overview import Ordered, Overview, build_overview, overview_of, sentence, span
from expandd.service.reports.overview_text import lines
from expandd.service.reports.plan import totals
from expandd.service.reports.snapshot import (
    ActivePause,
    Due,
    InboxNow,
    Snapshot,
    last_snapshot,
    live_snapshot,
    write_snapshot,
)
from expandd.service.reports.status_table import table
from tests.support.configurations import loaded
from tests.support.jobs import a_job_in
from tests.support.manual_clock import START
from tests.support.shown import an_overview

S = JobState
ODD = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    text = "state_dir: state\nbudget: {day: 10}\nfolders: [{root: hot, offsets: {top: 1}, budget: {month: 3}}]\n"
    settings = loaded(tmp_path, text)
    settings.state_dir.mkdir()
    return settings


async def store_with(settings: Settings, *jobs: Job, commands: tuple[Hold, ...] = ()) -> None:
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    for job in jobs:
        await store.add(job.with_(folder=FolderSnapshot.of(settings.folders[0])))
    for command in commands:
        await store.set_hold(command)
    store.close()


def seen(settings: Settings) -> Overview:
    return build_overview(settings, FolderCounter())


def a_snapshot(settings: Settings, **changes: object) -> Snapshot:
    inbox = settings.folders[0].inbox
    pause = ActivePause(
        inbox=None, pause="spending", reason=PauseReason.NO_CREDITS, why="none left", since=5.0, again_at=2e10
    )
    facts = {
        "at": time.time(),
        "process": this_process(),
        "pauses": (pause,),
        "inboxes": (InboxNow(inbox=inbox, waiting=7, more=True, missed=2, watched=False, ready=(Path(ODD),)),),
        "due": (Due("job-1", 9.0),),
        "credits": Decimal("12.5"),
        "credits_at": 4.0,
        "price": Decimal("1.5"),
    }
    return Snapshot(**{**facts, **changes})  # type: ignore[arg-type]  # keywords of any type


async def test_jobs_are_counted_where_they_are(settings: Settings) -> None:
    now = time.time() - 60
    await store_with(
        settings,
        a_job_in(S.ACCEPTED, "job-1", at=now),
        a_job_in(S.UNKNOWN, "job-2", at=now, held=True, note="nobody knows"),
        a_job_in(S.DONE, "job-3", at=now, closed=True),
        a_job_in(S.FAILED, "job-4", at=now, closed=True),
        a_job_in(S.DONE, "job-5", at=now - 3 * 86400, closed=True),
    )
    inbox, error = settings.folders[0].inbox, settings.folders[0].error
    for name in ("a.png", ODD, ".hidden", "b.png.part"):
        (inbox / name).touch()
    for name in ("bad.gif", "bad.gif.error.json", "own.error.json"):
        (error / name).touch()
    overview = seen(settings)
    folder = overview.folders[0]

    assert (folder.waiting, folder.in_progress, folder.held, folder.done, folder.failed) == (2, 1, 1, 1, 1)
    assert folder.in_error == 2
    assert folder.oldest is not None
    assert folder.aged == 2
    assert [job.id for job in overview.held] == ["job-2"]
    assert [job.id for job in overview.done] == ["job-3", "job-5"]
    assert overview.pace.per_hour == 1
    assert overview.pace.seconds_left is None, "nothing goes on while it does not run"
    assert overview.money.day_left is not None
    assert folder.month_left == 0


async def test_dismissed_errors_are_counted_apart(
    settings: Settings,
) -> None:
    error = settings.folders[0].error
    jobs = [
        a_job_in(S.FAILED, f"job-{number}", closed=True, archived_to=error / name, dismissed=dismissed)
        for number, (name, dismissed) in enumerate(
            (("a.png", True), ("b.png", False), ("c.png", True), ("c.png", False))
        )
    ]
    gone = a_job_in(S.FAILED, "job-9", closed=True, archived_to=error / "gone.png", dismissed=True)
    await store_with(settings, *jobs, gone)
    for name in ("a.png", "b.png", "c.png"):
        (error / name).touch()
    overview = seen(settings)

    assert [job.id for job in overview.failed] == ["job-3", "job-1"]
    assert (overview.folders[0].in_error, overview.folders[0].dismissed) == (3, 1)


async def test_only_what_goes_on_counts_for_when_all_is_done(settings: Settings) -> None:
    now = time.time()
    took = [a_job_in(S.DONE, f"done-{number}", at=now - 60, closed=True) for number in range(2)]
    each = [
        replace(
            job, state_changes=(StateChange(S.SUBMITTING, 0.0), StateChange(S.RENDERED, 8.0), *job.state_changes[-1:])
        )
        for job in took
    ]
    waited = (StateChange(S.SUBMITTING, 0.0), StateChange(S.RENDERED, 9e4), *took[0].state_changes[-1:])
    outage = [replace(each[0], id=f"done-{9 + tries}", state_changes=waited, tries=tries) for tries in range(3)]
    paid = a_job_in(S.ACCEPTED, "paid", at=now - 60)
    held = a_job_in(S.UNKNOWN, "held", at=now - 60, held=True)
    await store_with(settings, *each, *outage, a_job_in(S.UPLOADED, "unpaid", at=now - 60), paid, held)
    for number in range(5):
        (settings.folders[0].inbox / f"{number}.png").touch()
    unlimited = replace(settings, budget=NO_LIMIT, folders=(replace(settings.folders[0], budget=NO_LIMIT),))
    inbox = settings.folders[0].inbox
    live = InboxNow(inbox=inbox, waiting=5, more=False, missed=0, watched=True, unfinished=2)

    def goes_on(reason: PauseReason | None, settings: Settings = unlimited) -> tuple[float | None, int]:
        pause = ActivePause(
            inbox=inbox, pause="it", reason=reason or PauseReason.BURST, why="", since=now, again_at=None
        )
        pauses = (pause,) if reason else ()
        write_snapshot(settings.state_dir, a_snapshot(settings, pauses=pauses, inboxes=(live,)))
        pace = seen(settings).pace
        return pace.seconds_left, pace.stalled

    with locked(settings.state_dir / "lock", "it"):
        told = [goes_on(None), goes_on(PauseReason.BURST), goes_on(PauseReason.INBOX_UNAVAILABLE)]
        spent = goes_on(None, settings)

    assert told == [(2.0 * 5, 2), (2.0, 6), (None, 7)], "8 s each, 4 at once; 2 of 5 are not whole, 1 is paid for"
    assert spent == (2.0, 6), "the month's budget of 3 is used up"


async def test_overview_without_the_daemon_shows_pauses_and_missing_disks(
    settings: Settings,
) -> None:
    folder = settings.folders[0]
    await store_with(settings, commands=(Hold(kind=HoldKind.PAUSED, at=5.0, inbox=folder.inbox),))
    (folder.inbox / "PAUSE.txt").touch()
    by_file = seen(settings).pauses
    (folder.inbox / "PAUSE.txt").unlink()
    folder.inbox.rmdir()
    overview = seen(settings)

    assert [pause.reason for pause in by_file] == [PauseReason.PAUSED, PauseReason.PAUSED]
    assert sentence(by_file[0], 9.0).endswith(f"A person has paused this. `expandd resume {folder.inbox}` lifts it.")
    assert sentence(by_file[1], 9.0).endswith(
        "PAUSE.txt lies in the inbox and pauses this folder. Take it away and it goes on."
    )
    assert [pause.reason for pause in overview.pauses] == [PauseReason.PAUSED, PauseReason.INBOX_UNAVAILABLE]
    assert not overview.folders[0].counted
    assert "does not run" in next(lines(overview))


def test_where_other_hosts_go_on_nothing_waits_for_this_one_to_run_again() -> None:
    ordered = (Ordered(verb=Verb.PAUSE, about="", at=START),)
    alone = "\n".join(lines(an_overview(running="", ordered=ordered)))
    joined = "\n".join(lines(an_overview(running="", ordered=ordered, joined=True)))

    assert "nothing is picked up" in alone
    assert "It is carried out when expandd runs again." in alone
    assert "does not run on this host. Others go on without it" in joined
    assert "It is carried out as soon as it can be." in joined


def test_an_overview_knows_whether_other_hosts_go_on(settings: Settings) -> None:
    several = replace(settings, cluster=ClusterSettings(database_file=Path("/etc/url")), folders=())
    alone = replace(settings, folders=())
    today = SystemClock().today()
    overviews = [
        overview_of(one, None, (), running="", snapshot=None, today=today, now=START) for one in (alone, several)
    ]

    assert [overview.joined for overview in overviews] == [False, True]


async def test_what_the_running_daemon_tells_counts_only_while_it_runs(settings: Settings) -> None:
    write_snapshot(settings.state_dir, a_snapshot(settings))
    assert live_snapshot(settings.state_dir) == ("", None)
    assert seen(settings).pauses == ()
    with locked(settings.state_dir / "lock", "it"):
        overview = seen(settings)
        text = "\n".join(lines(overview))
        write_snapshot(settings.state_dir, a_snapshot(settings, process="process 1 on another"))
        of_another = seen(settings)

    assert overview.running == this_process()
    assert overview.pauses[0].why == "none left"
    assert "none left" in text
    assert overview.money.credits == Decimal("12.5")
    assert (overview.folders[0].watched, overview.folders[0].missed) == (False, 2)
    assert of_another.pauses == ()


def test_a_snapshot_comes_back_as_it_was_and_is_for_its_owner_alone(settings: Settings) -> None:
    snapshot = a_snapshot(settings)
    write_snapshot(settings.state_dir, snapshot)

    assert last_snapshot(settings.state_dir) == snapshot
    assert (settings.state_dir / "snapshot.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"at": 1}', '{"at": "x"}', "\x00"])
def test_a_snapshot_that_makes_no_sense_is_none(settings: Settings, text: str) -> None:
    (settings.state_dir / "snapshot.json").write_text(text)

    assert last_snapshot(settings.state_dir) is None


def test_a_large_backlog_is_counted_whole_and_aged_in_part(settings: Settings) -> None:
    for number in range(MOST_AGES + 10):
        os.mknod(settings.folders[0].inbox / f"{number}.png")
    found = counted(settings.folders[0])

    assert (found.waiting, found.aged) == (MOST_AGES + 10, MOST_AGES)


async def test_what_lies_too_deep_in_a_flat_inbox_is_said_and_does_not_count_as_waiting(settings: Settings) -> None:
    await store_with(settings)
    inbox = settings.folders[0].inbox
    for name in ("wedding/a.png", "wedding/day 2/b.png", "wedding/c.part", "zoo/d.png", ".git/e.png", "f.png"):
        (inbox / name).parent.mkdir(parents=True, exist_ok=True)
        (inbox / name).touch()
    overview = seen(settings)
    words = (
        "2 folders with 3 files in the inbox (wedding, …), not scanned (set `recursive: true`, or move the files up)"
    )

    assert overview.folders[0].waiting == 1
    assert words in "\n".join(lines(overview))
    assert f"{inbox}: {words}." in totals(Counter(), overview, settings)
    assert counted(replace(settings.folders[0], recursive=True)).waiting == 4


def test_price_is_learnt_from_falling_credits() -> None:
    price = Price(None)
    learnt = []
    for number, (left, paid) in enumerate([("100", 4), ("94", 4), ("88", 1), ("300", 2), ("297", 90), ("99", 0)]):
        # One answer is looked at again and again, and counts once.
        price.observe(Decimal(left), float(number))
        price.observe(Decimal(left), float(number))
        learnt.append(price.latest)
        for _ in range(paid):
            price(JobMoved(a_job_in(S.ACCEPTED), S.SUBMITTING))

    assert learnt == [None, None, Decimal("1.5"), Decimal("1.5"), Decimal("1.5"), Decimal("2.13")]


def test_the_table_of_a_terminal_shows_folders_pauses_and_what_needs_a_person(settings: Settings) -> None:
    settings.folders[0].inbox.rmdir()
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table(seen(settings)))
    text = console.export_text()

    assert "does not run" in text
    assert " ".join(text.split()).count("Mount it or make it again") == 1
    assert "hot" in text
    assert "0?" in text


def test_every_reason_says_what_lifts_it() -> None:
    assert all(reason.title and reason.remedy for reason in PauseReason)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (99, "99 s"), (100, "2 min"), (3600, "1 h"), (7500, "2 h 5 min"), (200000, "2 days")],
)
def test_a_span_is_told_as_a_person_would(seconds: float, words: str) -> None:
    assert span(seconds) == words
