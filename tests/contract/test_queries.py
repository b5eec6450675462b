"""All that is asked of a job database has the same answer from each kind of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expandd.adapters.store.postgres.administration import import_file
from expandd.adapters.store.postgres.job_store import PostgresJobStore
from expandd.adapters.store.postgres.job_store import reading as reading_postgres
from expandd.adapters.store.postgres.job_store import write_commands as write_commands_postgres
from expandd.adapters.store.sql.queries import ALL, Names, Queries
from expandd.adapters.store.sqlite.job_store import SqliteJobStore, write_commands
from expandd.adapters.store.sqlite.job_store import reading as reading_sqlite
from expandd.domain.commands import Command, Hold, HoldKind, Verb
from expandd.domain.errors import DatabaseAway
from expandd.domain.image import Size
from expandd.domain.job import Job, JobState
from expandd.domain.settings import Duplicates
from expandd.domain.spending import Cap, Today
from tests.support.jobs import OFFSETS, a_job, a_job_in, a_result, a_snapshot, a_source
from tests.support.manual_clock import START
from tests.support.postgres import Server

S = JobState
DAY = 86400.0
TODAY = Today(
    day="2027-01-15", day_began=START, month_began=START - 14 * DAY, day_ends=START + DAY, month_ends=START + 17 * DAY
)
ODD = Path(os.fsdecode(b"caf\xe9/100%_\xc3\x84RGER.png"))
OTHER = a_snapshot(Path("/srv/other"))


def _jobs() -> list[Job]:
    open_ones = [
        a_job_in(state, f"open-{state.value}", target=Path("/out") / state.value, held=state is S.RENDERED)
        for state in (S.CLAIMED, S.UPLOADED, S.SUBMITTING, S.ACCEPTED, S.UNKNOWN, S.RENDERED, S.DOWNLOADED)
    ]
    over = [
        a_job_in(state, f"over-{state.value}-{number}", at=START - number * 5 * DAY, closed=True, relative=ODD)
        for state in (S.DONE, S.FAILED, S.RETURNED)
        for number in range(3)
    ]
    errors = [
        a_job_in(S.FAILED, f"error-{number}", closed=True, dismissed=number != 1, archived_to=Path("/error") / name)
        for number, name in enumerate(("a", "b", "a", "a"))
    ]
    sourced = a_source(sha256="cd" * 32)
    return [
        *open_ones,
        *over,
        *errors,
        a_job_in(S.DONE, "elsewhere", closed=True, folder=OTHER, source=sourced, duplicate_of="over-done-0"),
        a_job_in(
            S.ACCEPTED,
            "same",
            source=a_source(sha256="ef" * 32),
            folder=a_snapshot(duplicates=Duplicates.SKIP),
        ),
        a_job_in(S.DONE, "differs", closed=True, result=a_result(size=Size(1, 2))),
        a_job_in(S.DONE, "reused", closed=True, reused_from="elsewhere", source=sourced),
    ]


CAP = Cap(inbox=a_snapshot().inbox, since=START, day="2027-01-15", most=2)
ASKED: dict[str, Callable[[Queries], Any]] = {
    "job": lambda asked: asked.job("over-done-1"),
    "by_image_id": lambda asked: asked.by_image_id("image-of-over-done-1"),
    "open_jobs": lambda asked: asked.open_jobs(),
    "the oldest open jobs": lambda asked: asked.open_jobs(3),
    "unknown": lambda asked: asked.unknown(),
    "held": lambda asked: asked.held(ALL),
    "done": lambda asked: asked.done(2),
    "failed": lambda asked: asked.failed(2),
    "over": lambda asked: asked.over(S.DONE, "", 1, 2),
    "a name in any case": lambda asked: asked.over(S.FAILED, "ärger", 0, ALL),
    "a name with the letters of LIKE": lambda asked: asked.over(S.DONE, "0%_Ä", 0, ALL),
    "a result's name": lambda asked: asked.over(S.DONE, "hot/OUTBOX/im", 0, ALL),
    "dismissed": lambda asked: sorted(asked.dismissed()),
    "done_in": lambda asked: asked.done_in(OTHER.inbox),
    "done in all": lambda asked: asked.done_in(None),
    "failed_in": lambda asked: asked.failed_in(a_snapshot().inbox),
    "differing": lambda asked: asked.differing(ALL),
    "paid_before": lambda asked: asked.paid_before("cd" * 32, OFFSETS, "reused"),
    "paid_here": lambda asked: asked.paid_here(a_job("new", folder=OTHER, source=a_source(sha256="cd" * 32))),
    "ids": lambda asked: asked.named(Names(ids=frozenset({"reused", "image-of-over-done-1"})), ALL),
    "paths": lambda asked: asked.named(Names(paths=frozenset({a_snapshot().inbox / ODD, Path("/error/a")})), ALL),
    "tails": lambda asked: asked.named(Names(tails=frozenset({Path(ODD.name), Path("a")})), 100),
    "counts": lambda asked: sorted(asked.counts(START - DAY), key=repr),
    "spent": lambda asked: sorted(asked.spent(TODAY), key=repr),
    "duplicates": lambda asked: asked.duplicates(START),
    "ledger": lambda asked: asked.ledger("2027-01-01"),
    "hours": lambda asked: asked.hours(START - 20 * DAY),
    "paid_now": lambda asked: asked.paid_now(a_job("new", source=a_source(sha256="ef" * 32))),
    "in_flight": lambda asked: asked.in_flight(),
    "is_reached": lambda asked: asked.is_reached(CAP),
    "holds": lambda asked: asked.holds(),
    "accepted_elsewhere": lambda asked: asked.accepted_elsewhere(a_job_in(S.UNKNOWN, owner="x", at=START + 100.0)),
}


async def test_each_question_has_one_answer(postgres: Server, tmp_path: Path) -> None:
    path, url = tmp_path / "journal.sqlite", postgres.database()
    hold = Hold(kind=HoldKind.PAUSED, at=2.25, inbox=OTHER.inbox, relative=ODD)
    with closing(SqliteJobStore(path)) as in_a_file, closing(PostgresJobStore(url)) as at_a_server:
        for store in (in_a_file, at_a_server):
            for job in _jobs():
                await store.add(job)
            await store.set_hold(hold)
            await store.set_hold(replace(hold, at=3.5))
            # What is forgotten counts on.
            assert await store.prune(START - 6 * DAY) == 3
    with reading_sqlite(path) as first, reading_postgres(url) as second:
        assert first is not None
        assert second is not None
        answers = {name: (ask(first), ask(second)) for name, ask in ASKED.items()}

    assert {name: both for name, both in answers.items() if both[0] != both[1]} == {}
    assert [name for name, both in answers.items() if not both[0]] == []


def _told(store: Queries, jobs: list[Job]) -> tuple[Any, ...]:
    return [store.job(job.id) for job in jobs], store.commands(), {name: ask(store) for name, ask in ASKED.items()}


async def test_what_a_host_had_alone_is_taken_over_whole_and_once(postgres: Server, tmp_path: Path) -> None:
    path, url = tmp_path / "journal.sqlite", postgres.database("template0")
    jobs = [*_jobs(), *(a_job_in(state, f"each-{state.value}", target=None) for state in S)]
    with closing(SqliteJobStore(path)) as store:
        for job in jobs:
            await store.add(job)
        await store.prune(START - 6 * DAY)
        await store.set_hold(Hold(kind=HoldKind.PAUSED, at=2.25, inbox=OTHER.inbox, relative=ODD))
    write_commands(path, [Command(verb=Verb.RETRY, at=1.5, job_id="open-claimed", relative=ODD)])
    with reading_sqlite(path) as alone:
        assert alone is not None
        before = _told(alone, jobs)
    counts = import_file(url, path)
    with reading_postgres(url) as shared:
        after = _told(shared, jobs)
    write_commands_postgres(url, [Command(verb=Verb.RETRY, at=2.5)])
    with pytest.raises(DatabaseAway, match="holds jobs already"):
        import_file(url, path.with_name("journal.sqlite.imported"))

    assert before == after
    assert counts == {"jobs": len(jobs) - 3, "payments": counts["payments"], "commands": 1, "holds": 1, "ledger": 1}
    assert sorted(left.name for left in tmp_path.iterdir()) == ["journal.sqlite.imported"]
    with reading_postgres(url) as shared:
        assert [command.number for command in shared.commands()] == [1, 2]


def test_each_question_is_asked() -> None:
    """`commands` is told by the suite of the store."""
    questions = {name for name in vars(Queries) if not name.startswith("_")}

    assert questions - ASKED.keys() == {"named", "commands"}
